"""What every history promises: the table of positions, asked of memory, of the tail of a process and of another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
import redis

from fastws.brokers.history import HistoryRule, HistoryRules, MemoryHistory
from fastws.brokers.memory import MemoryBroker
from fastws.brokers.redis.broker import RedisBroker
from fastws.codec.registry import decoded
from fastws.config import Config
from fastws.errors import FastWSError, Unrecoverable
from fastws.hub.ports import Receipt
from fastws.vocabulary.positions import Page, Past, Position, Recovery
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import PATIENCE_SECONDS, AwaitedReceipt
from tests.redis_cluster import RedisCluster
from tests.redis_sentinel import SentinelSetUp
from tests.redis_server import RedisServer

CHANNEL = "c"


class KeptReceipt(AwaitedReceipt):
    """Knows the position, too."""

    position: Position

    def kept(self, position: Position) -> None:
        self.position = position


class Hub:
    """Subscribers that are only counted; `heard` is what they got."""

    def __init__(self) -> None:
        self.subscribers = 0
        self.heard: list[int | None] = []
        self.gaps: list[Position | None] = []

    def deliver(self, publication: Publication, receipt: Receipt | None = None) -> None:
        self.heard.append(publication.offset)
        if receipt is not None:
            receipt.done(self.subscribers, 0)

    def gap(self, channel: str, position: Position | None = None) -> None:
        self.gaps.append(position)

    def fail(self, channel: str, error: FastWSError) -> None:
        raise AssertionError(error)

    def count(self, channel: str) -> int:
        return self.subscribers


class Side:
    """A broker with a history. `now` is the time of the one in memory."""

    def __init__(self, kind: str, url: str | None, rule: HistoryRule, limit: int) -> None:
        self.kind = kind
        self.hub = Hub()
        self.now = 0.0
        self.broker: MemoryBroker | RedisBroker
        self.history: Any
        if url is None:
            self.history = MemoryHistory(
                HistoryRules([(None, rule)]),
                max_bytes=10**9,
                recover_limit=limit,
                count=self.hub.count,
                gap=self.hub.gap,
                clock=lambda: self.now,
            )
            self.broker = MemoryBroker(self.hub, history=self.history)
        else:
            self.broker = RedisBroker(
                self.hub, Config(redis_url=url, recover_limit=limit), rules=HistoryRules([(None, rule)])
            )
            self.history = self.broker.history

    async def subscribe(self, past: Past = None) -> Recovery:
        """Become a subscriber."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Recovery | FastWSError] = loop.create_future()

        def no_late_position(position: Position) -> None:
            raise AssertionError(position)

        def ready() -> None:
            self.history.recover(CHANNEL, past, answered.set_result, no_late_position)

        self.broker.listen(CHANNEL, ready)
        async with asyncio.timeout(PATIENCE_SECONDS):
            recovery = await answered
        assert isinstance(recovery, Recovery)
        self.hub.subscribers += 1
        return recovery

    async def publish(self, count: int) -> None:
        for number in range(1, count + 1):
            receipt = KeptReceipt()
            self.broker.publish(Publication(CHANNEL, "e", {"n": number}), receipt)
            await receipt.outcome()
            assert receipt.position.offset == number

    async def ask(self, call: Callable[[Callable[[Any], None]], None]) -> Any:
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call(answered.set_result)
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await answered

    async def page(self, position: Position | None, *, limit: int = 100, is_reverse: bool = False) -> Any:
        return await self.ask(
            lambda answer: self.history.page(CHANNEL, position, limit, is_reverse=is_reverse, answer=answer)
        )


class Sides:
    """Where publications are made, and where subscribers ask."""

    def __init__(self, publishing: Side, asked: Side) -> None:
        self.publishing = publishing
        self.asked = asked

    async def published(self, count: int) -> str:
        """Publish `count` messages on a new channel. Returns the epoch."""
        recovery = await self.publishing.subscribe()
        assert recovery.position is not None
        assert recovery.position.offset == 0
        await self.publishing.publish(count)
        return recovery.position.epoch


Make = Callable[[HistoryRule, int], Awaitable[Sides]]


@asynccontextmanager
async def running(side: Side) -> AsyncIterator[Side]:
    await side.broker.start()
    try:
        yield side
    finally:
        await side.broker.stop()


class Place(NamedTuple):
    """Where histories are kept: `redis_url`, None for memory, and clients of the servers that have the keys."""

    url: str | None
    clients: list[Callable[[], redis.Redis]]


def _redis(request: pytest.FixtureRequest) -> Place:
    server: RedisServer = request.getfixturevalue("redis_server")
    return Place(server.url, [server.client])


def _two_servers(request: pytest.FixtureRequest) -> Place:
    servers = [request.getfixturevalue("redis_server"), request.getfixturevalue("another_redis_server")]
    return Place(",".join(server.url for server in servers), [server.client for server in servers])


def _sentinel(request: pytest.FixtureRequest) -> Place:
    set_up: SentinelSetUp = request.getfixturevalue("sentinel_set_up")
    return Place(set_up.url, [set_up.primary.client])


def _cluster(request: pytest.FixtureRequest) -> Place:
    cluster: RedisCluster = request.getfixturevalue("redis_cluster")
    primaries = [node for node in cluster.running if node.is_primary()]
    return Place(cluster.url, [partial(redis.Redis, "127.0.0.1", node.port, protocol=2) for node in primaries])


PLACES: dict[str, Callable[[pytest.FixtureRequest], Place]] = {
    "memory": lambda request: Place(None, []),
    "redis": _redis,
    "two servers": _two_servers,
    "sentinel": _sentinel,
    "cluster": _cluster,
}


@pytest.fixture(
    params=["memory", *(f"{place}, {asked}" for place in list(PLACES)[1:] for asked in ("same process", "another"))]
)
def kind(request: pytest.FixtureRequest) -> str:
    """The place, and whether the process is asked that has published."""
    found: str = request.param
    return found


@pytest.fixture
def place(request: pytest.FixtureRequest, kind: str) -> Iterator[Place]:
    found = PLACES[kind.partition(",")[0]](request)
    yield found
    for connect in found.clients:
        with connect() as client:
            client.flushall()


@pytest.fixture
async def make(kind: str, place: Place) -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:

        async def made(rule: HistoryRule, limit: int = 1000) -> Sides:
            side = await stack.enter_async_context(running(Side(kind, place.url, rule, limit)))
            if not kind.endswith("another"):
                return Sides(side, side)
            return Sides(side, await stack.enter_async_context(running(Side(kind, place.url, rule, limit))))

        yield made


def offsets(recovery: Recovery | Page) -> list[int | None]:
    assert [decoded(p.data)["n"] for p in recovery.publications] == [p.offset for p in recovery.publications]
    return [publication.offset for publication in recovery.publications]


@pytest.mark.parametrize(
    ("limit", "published", "asked_from", "replayed", "outcome"),
    [
        (1000, 0, 0, 0, "recovered"),
        (1000, 10, 8, 2, "recovered"),
        (1000, 20, 8, 0, "too_old"),
        (1000, 20, 108, 0, "never_was"),
        (1000, 7, 7, 0, "recovered"),
        (1000, 4, 0, 4, "recovered"),
        (1000, 20, 10, 10, "recovered"),
        (1000, 20, 9, 0, "too_old"),
        (2, 10, 5, 0, "too_many"),
        (2, 10, 8, 2, "recovered"),
        (0, 10, 9, 0, "too_many"),
        (0, 10, 10, 0, "recovered"),
    ],
)
async def test_the_table_of_positions(
    make: Make, limit: int, published: int, asked_from: int, replayed: int, outcome: str
) -> None:
    sides = await make(HistoryRule(10, 60.0), limit)
    epoch = await sides.published(published)
    recovery = await sides.asked.subscribe(Position(asked_from, epoch))
    assert (recovery.position, recovery.outcome) == (Position(published, epoch), outcome)
    assert offsets(recovery) == list(range(published + 1 - replayed, published + 1))


async def test_a_position_of_another_epoch_is_not_continued_and_begins_none(make: Make) -> None:
    sides = await make(HistoryRule(10, 60.0), 1000)
    epoch = await sides.published(3)
    for _ in range(2):
        recovery = await sides.asked.subscribe(Position(3, "none"))
        assert (recovery.position, recovery.outcome, offsets(recovery)) == (Position(3, epoch), "wrong_epoch", [])


async def test_the_last_publications_come_without_a_promise(make: Make) -> None:
    sides = await make(HistoryRule(10, 60.0), 4)
    await sides.published(20)
    for asked, expected in ((2, [19, 20]), (0, []), (99, [17, 18, 19, 20])):
        recovery = await sides.asked.subscribe(asked)
        assert (recovery.outcome, offsets(recovery)) == (None, expected)


async def test_seconds_after_the_last_publication_all_are_gone_but_not_the_position(make: Make, place: Place) -> None:
    sides = await make(HistoryRule(10, 0.3), 1000)
    epoch = await sides.published(10)
    sides.asked.now += 0.3
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (recovery := await sides.asked.subscribe(Position(8, epoch))).outcome != "too_old":
            assert offsets(recovery) == [9, 10]
            await asyncio.sleep(0.02)
    assert offsets(recovery) == []
    for connect in place.clients:
        with connect() as client:
            assert not list(client.scan_iter("*:stream"))
    recovery = await sides.asked.subscribe(Position(10, epoch))
    assert (recovery.position, recovery.outcome) == (Position(10, epoch), "recovered")
    # A new publication does not bring back the expired ones.
    sides.publishing.broker.publish(Publication(CHANNEL, "e", {"n": 11}), receipt := KeptReceipt())
    await receipt.outcome()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (found := offsets(await sides.asked.subscribe(5))) != [11]:
            assert found == []


async def test_a_subscriber_hears_what_follows_its_replay(make: Make) -> None:
    sides = await make(HistoryRule(10, 60.0), 1000)
    epoch = await sides.published(4)
    recovery = await sides.asked.subscribe(Position(1, epoch))
    assert offsets(recovery) == [2, 3, 4]
    sides.asked.hub.heard.clear()
    for number in (5, 6):
        receipt = KeptReceipt()
        sides.publishing.broker.publish(Publication(CHANNEL, "e", {"n": number}), receipt)
        await receipt.outcome()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(sides.asked.hub.heard) < 2:
            await asyncio.sleep(0.01)
    assert sides.asked.hub.heard == [5, 6]
    assert sides.asked.hub.gaps == []


async def test_pages_are_the_same(make: Make) -> None:
    sides = await make(HistoryRule(10, 60.0), 1000)
    epoch = await sides.published(20)
    side = sides.asked
    expected: list[tuple[int | None, int, bool, list[int] | None]] = [
        (None, 100, False, list(range(11, 21))),
        (None, 3, False, [11, 12, 13]),
        (None, 3, True, [20, 19, 18]),
        (13, 3, False, [14, 15, 16]),
        (10, 1, False, [11]),
        (20, 5, False, []),
        (18, 3, True, [17, 16, 15]),
        (11, 3, True, []),
        (9, 3, False, None),
        (0, 3, True, None),
        (10, 3, True, None),
        (21, 3, False, None),
        (2**53 - 1, 3, False, None),
        (2**53 - 1, 3, True, None),
    ]
    for offset, limit, is_reverse, found in expected:
        position = None if offset is None else Position(offset, epoch)
        page = await side.page(position, limit=limit, is_reverse=is_reverse)
        if found is None:
            assert isinstance(page, Unrecoverable), offset
        else:
            assert (offsets(page), page.position) == (found, Position(20, epoch))
    assert isinstance(await side.page(Position(15, "none")), Unrecoverable)


async def test_a_cleared_history_begins_again(make: Make) -> None:
    sides = await make(HistoryRule(10, 60.0), 1000)
    epoch = await sides.published(5)
    begun = await sides.asked.ask(lambda answer: sides.asked.history.clear(CHANNEL, answer))
    assert begun.offset == 0
    assert begun.epoch != epoch
    async with asyncio.timeout(PATIENCE_SECONDS):
        while begun not in sides.publishing.hub.gaps:
            await asyncio.sleep(0.01)
    recovery = await sides.asked.subscribe(Position(5, epoch))
    assert (recovery.position, recovery.outcome) == (begun, "wrong_epoch")
