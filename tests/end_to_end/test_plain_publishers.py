"""Plain publishers on channels with a history, over server processes that are killed, paused and cut off from Redis."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.hostile.server_process import ServerProcess, token_of
from tests.redis_server import RedisServer
from tests.serving import PATIENCE_SECONDS

FLAGS = ("--history", "**=5000/60", "--log-format", "json", "--max-queue-messages", "20000")
# The channel, and the name on which plain publishers publish.
CHANNELS = {"workspace:w1": "workspace:w1", "news": "fastws:channel:news"}


class Follower:
    """A client of one process that hears one channel and checks that nothing is missing and nothing comes twice."""

    def __init__(self, socket: ClientConnection, channel: str) -> None:
        self.socket = socket
        self.channel = channel
        self.position: tuple[int, str] = (0, "")
        self.numbers: list[int] = []
        self.gaps = 0

    async def subscribe(self, **past: object) -> dict[str, Any]:
        await self.socket.send(json.dumps({"action": "subscribe", "channel": self.channel, **past}))
        reply: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), PATIENCE_SECONDS))
        assert reply["type"] == "subscription_succeeded", reply
        self.position = (reply["offset"] - reply.get("replayed", 0), reply["epoch"])
        return reply

    async def hear(self) -> None:
        """The next message, which must be the next offset, or a gap."""
        message = json.loads(await asyncio.wait_for(self.socket.recv(), PATIENCE_SECONDS))
        if message.get("type") == "gap":
            self.gaps += 1
            self.position = (message["offset"], message["epoch"])
            return
        offset, epoch = self.position
        assert message["offset"] == offset + 1, (message, self.position)
        self.position = (offset + 1, epoch)
        self.numbers.append(message["data"]["n"])

    async def hear_up_to(self, number: int) -> None:
        while not self.numbers or self.numbers[-1] != number:
            await self.hear()

    def has_heard(self, numbers: Iterable[int]) -> None:
        """Check that it has heard exactly `numbers`, in order, without a gap."""
        assert (self.gaps, self.numbers) == (0, list(numbers))


@asynccontextmanager
async def following(process: ServerProcess, channel: str) -> AsyncIterator[Follower]:
    token = token_of("u1", channels=["**"], workspaces=["w1"])
    url = f"ws://127.0.0.1:{process.port}/?token={token}"
    async with connect(url, proxy=None, compression=None, max_queue=None, ping_interval=None) as socket:
        await socket.recv()
        yield Follower(socket, channel)


class Backend:
    """A plain publisher of numbered messages."""

    def __init__(self, server: RedisServer, channel: str) -> None:
        self.server = server
        self.name = CHANNELS[channel]
        self.last = 0

    def publish(self, count: int) -> None:
        with self.server.client() as client:
            for _ in range(count):
                self.last += 1
                client.publish(self.name, json.dumps({"event": "e", "data": {"n": self.last}}))


@pytest.fixture
def channel() -> str:
    """The channel of most tests. Those in which the form of the messages matters have both."""
    return "workspace:w1"


both_forms = pytest.mark.parametrize("channel", CHANNELS)


class Pair:
    """Two processes with a follower each. The first one numbers."""

    def __init__(self, first: ServerProcess, second: ServerProcess, one: Follower, two: Follower) -> None:
        self.first, self.second, self.one, self.two = first, second, one, two


@asynccontextmanager
async def a_pair(server: RedisServer, backend: Backend, channel: str) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        first = stack.enter_context(ServerProcess("--redis-url", server.url, *FLAGS))
        one = await stack.enter_async_context(following(first, channel))
        await one.subscribe()
        backend.publish(1)
        await one.hear_up_to(1)
        second = stack.enter_context(ServerProcess("--redis-url", server.url, *FLAGS))
        two = await stack.enter_async_context(following(second, channel))
        await two.subscribe(offset=0, epoch=one.position[1])
        await two.hear_up_to(1)
        yield Pair(first, second, one, two)


@both_forms
async def test_every_process_hears_the_same_offsets(own_redis_server: RedisServer, channel: str) -> None:
    backend = Backend(own_redis_server, channel)
    async with a_pair(own_redis_server, backend, channel) as pair:
        await asyncio.to_thread(backend.publish, 500)
        for follower in (pair.one, pair.two):
            await follower.hear_up_to(501)
            follower.has_heard(range(1, 502))
        assert pair.one.position == pair.two.position
        pair.first.assert_clean_log()
        pair.second.assert_clean_log()


@both_forms
async def test_nothing_is_lost_or_heard_twice_when_the_numbering_process_is_killed(
    own_redis_server: RedisServer, channel: str
) -> None:
    backend = Backend(own_redis_server, channel)
    async with a_pair(own_redis_server, backend, channel) as pair:
        publishing = asyncio.create_task(asyncio.to_thread(backend.publish, 2000))
        await pair.two.hear_up_to(500)
        pair.first.process.kill()
        await publishing
        await pair.two.hear_up_to(2001)
        pair.two.has_heard(range(1, 2002))
        async with following(pair.second, channel) as returned:
            reply = await returned.subscribe(offset=1500, epoch=pair.two.position[1])
            assert (reply["recovered"], reply["replayed"]) == (True, 501)
        pair.second.assert_clean_log()


async def test_identical_messages_are_each_heard_once_when_the_numbering_process_is_killed(
    own_redis_server: RedisServer, channel: str
) -> None:
    backend = Backend(own_redis_server, channel)
    async with a_pair(own_redis_server, backend, channel) as pair:

        def publish_the_same() -> None:
            with own_redis_server.client() as client:
                for _ in range(1000):
                    client.publish(backend.name, '{"event":"e","data":{"n":0}}')

        publishing = asyncio.create_task(asyncio.to_thread(publish_the_same))
        await pair.two.hear_up_to(0)
        pair.first.process.kill()
        await publishing
        backend.publish(1)
        await pair.two.hear_up_to(2)
        pair.two.has_heard([1, *[0] * 1000, 2])


async def test_a_paused_process_that_goes_on_numbers_nothing_twice(own_redis_server: RedisServer, channel: str) -> None:
    backend = Backend(own_redis_server, channel)
    async with a_pair(own_redis_server, backend, channel) as pair:
        publishing = asyncio.create_task(asyncio.to_thread(backend.publish, 2000))
        await pair.two.hear_up_to(300)
        pair.first.signal(signal.SIGSTOP)
        await publishing
        await pair.two.hear_up_to(2001)
        pair.first.signal(signal.SIGCONT)
        await pair.one.hear_up_to(2001)
        await asyncio.to_thread(backend.publish, 300)
        for follower in (pair.one, pair.two):
            await follower.hear_up_to(2301)
            follower.has_heard(range(1, 2302))


@both_forms
async def test_who_takes_over_can_be_killed_too(own_redis_server: RedisServer, channel: str) -> None:
    backend = Backend(own_redis_server, channel)
    async with a_pair(own_redis_server, backend, channel) as pair, AsyncExitStack() as stack:
        third = stack.enter_context(ServerProcess("--redis-url", own_redis_server.url, *FLAGS))
        three = await stack.enter_async_context(following(third, channel))
        await three.subscribe()
        pair.first.process.kill()
        pair.first.wait()
        await asyncio.to_thread(backend.publish, 10)
        await pair.two.hear_up_to(11)
        pair.second.process.kill()
        pair.second.wait()
        await asyncio.to_thread(backend.publish, 10)
        await three.hear_up_to(21)
        three.has_heard(range(2, 22))


def listeners(server: RedisServer) -> list[str]:
    """The ids of the connections with subscriptions, in the order of their age."""
    with server.client() as client:
        found = client.client_list(_type="pubsub")
    return [entry["id"] for entry in sorted(found, key=lambda entry: int(entry["id"]))]


def kill(server: RedisServer, ids: Iterable[str]) -> None:
    with server.client() as client:
        for each in ids:
            client.client_kill_filter(_id=each)


async def test_one_process_that_is_cut_off_misses_nothing_while_another_listens(
    own_redis_server: RedisServer, channel: str
) -> None:
    backend = Backend(own_redis_server, channel)
    async with a_pair(own_redis_server, backend, channel) as pair:
        for _ in range(5):
            publishing = asyncio.create_task(asyncio.to_thread(backend.publish, 200))
            kill(own_redis_server, listeners(own_redis_server)[:1])
            await publishing
            for follower in (pair.one, pair.two):
                await follower.hear_up_to(backend.last)
        for follower in (pair.one, pair.two):
            follower.has_heard(range(1, 1002))


async def test_a_gap_is_told_when_nobody_listened(own_redis_server: RedisServer, channel: str) -> None:
    backend = Backend(own_redis_server, channel)
    async with a_pair(own_redis_server, backend, channel) as pair:
        before = pair.one.position
        kill(own_redis_server, listeners(own_redis_server))
        for follower in (pair.one, pair.two):
            while not follower.gaps:
                await follower.hear()
            assert follower.position[1] != before[1]
        assert pair.one.position[1] == pair.two.position[1]
        first = backend.last + 1
        await asyncio.to_thread(backend.publish, 100)
        for follower in (pair.one, pair.two):
            await follower.hear_up_to(first + 99)
            assert follower.numbers[-100:] == list(range(first, first + 100))
            assert follower.gaps == 1
        async with following(pair.first, channel) as returned:
            assert (await returned.subscribe(offset=before[0], epoch=before[1]))["recovered"] is False


async def test_a_redis_that_comes_back_empty_is_a_gap(own_redis_server: RedisServer, channel: str) -> None:
    backend = Backend(own_redis_server, channel)
    async with a_pair(own_redis_server, backend, channel) as pair:
        own_redis_server.kill()
        await asyncio.to_thread(own_redis_server.start)
        for follower in (pair.one, pair.two):
            while not follower.gaps:
                await follower.hear()
        first = backend.last + 1
        await asyncio.to_thread(backend.publish, 100)
        for follower in (pair.one, pair.two):
            await follower.hear_up_to(first + 99)
            assert follower.numbers[-100:] == list(range(first, first + 100))


async def test_a_redis_that_comes_back_whole_is_a_gap_because_nobody_listened(
    own_redis_server: RedisServer, channel: str
) -> None:
    backend = Backend(own_redis_server, channel)
    async with a_pair(own_redis_server, backend, channel) as pair:
        with own_redis_server.client() as client:
            client.save()
        own_redis_server.kill()
        await asyncio.to_thread(own_redis_server.start)
        for follower in (pair.one, pair.two):
            while not follower.gaps:
                await follower.hear()
        assert pair.one.position == pair.two.position


async def test_a_feed_is_heard_for_its_seconds_after_its_last_client(
    own_redis_server: RedisServer, channel: str
) -> None:
    backend = Backend(own_redis_server, channel)
    with ServerProcess("--redis-url", own_redis_server.url, *FLAGS) as process:
        async with following(process, "other") as other, following(process, channel) as follower:
            await other.subscribe()
            await follower.subscribe()
            await asyncio.to_thread(backend.publish, 3)
            await follower.hear_up_to(3)
        # A channel without plain publishers does not stay subscribed that long.
        process.wait_until(lambda: b"fastws:channel:other" not in own_redis_server.channels())
        await asyncio.to_thread(backend.publish, 3)
        async with following(process, channel) as returned:
            reply = await returned.subscribe(offset=follower.position[0], epoch=follower.position[1])
            # Those that it has not heard yet come live.
            assert reply["recovered"] is True
            await returned.hear_up_to(6)
            returned.has_heard([4, 5, 6])


async def test_a_position_is_not_recovered_when_the_only_process_was_replaced(
    own_redis_server: RedisServer, channel: str
) -> None:
    backend = Backend(own_redis_server, channel)
    with ServerProcess("--redis-url", own_redis_server.url, *FLAGS) as process:
        async with following(process, channel) as follower:
            await follower.subscribe()
            await asyncio.to_thread(backend.publish, 3)
            await follower.hear_up_to(3)
    backend.publish(1)
    with ServerProcess("--redis-url", own_redis_server.url, *FLAGS) as process:
        async with following(process, channel) as returned:
            reply = await returned.subscribe(offset=follower.position[0], epoch=follower.position[1])
            assert reply["recovered"] is False
            await asyncio.to_thread(backend.publish, 1)
            await returned.hear_up_to(5)


@both_forms
async def test_an_ephemeral_message_has_no_offset(own_redis_server: RedisServer, channel: str) -> None:
    backend = Backend(own_redis_server, channel)
    async with a_pair(own_redis_server, backend, channel) as pair:
        with own_redis_server.client() as client:
            client.publish(backend.name, '{"event":"typing","data":1,"ephemeral":true}')
        for follower in (pair.one, pair.two):
            message = json.loads(await asyncio.wait_for(follower.socket.recv(), PATIENCE_SECONDS))
            assert (message["event"], "offset" in message) == ("typing", False)


@both_forms
async def test_own_publications_and_plain_messages_have_one_numbering(
    own_redis_server: RedisServer, channel: str
) -> None:
    backend = Backend(own_redis_server, channel)
    async with a_pair(own_redis_server, backend, channel) as pair:
        publishing = asyncio.create_task(asyncio.to_thread(backend.publish, 200))
        for number in range(10_000, 10_020):
            answer = await asyncio.to_thread(pair.second.publish, channel, {"n": number})
            assert answer["offset"] > 0
        await publishing
        while len(pair.one.numbers) < 221:
            await pair.one.hear()
        while len(pair.two.numbers) < 221:
            await pair.two.hear()
        assert pair.one.numbers == pair.two.numbers
        assert sorted(pair.one.numbers) == [*range(1, 202), *range(10_000, 10_020)]


async def test_old_backends_hear_what_is_published_through_fastws(own_redis_server: RedisServer) -> None:
    with (
        ServerProcess("--redis-url", own_redis_server.url, *FLAGS) as process,
        own_redis_server.client() as client,
        client.pubsub(ignore_subscribe_messages=True) as old,
    ):
        old.subscribe("workspace:w1")
        old.get_message(timeout=PATIENCE_SECONDS)
        process.publish("workspace:w1", {"n": 1})
        heard = None
        while heard is None:
            heard = old.get_message(timeout=PATIENCE_SECONDS)
        assert json.loads(heard["data"])["data"] == {"n": 1}
