"""What the broker makes of the changes that a topology reports: nodes move, channels move, nodes are lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from fastws.brokers.history import HistoryRule, HistoryRules
from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.node import RedisNode
from fastws.brokers.redis.topology.port import MakeNode
from fastws.brokers.redis.wire.timeouts import RedisTimeouts
from fastws.config import Config
from fastws.errors import BrokerUnavailable
from fastws.redis_address import parse_address
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import GAP, AwaitedReceipt, RecordingHub, passes, subscribed
from tests.redis_server import RedisServer

QUICK = RedisTimeouts(linger_seconds=0.2, probe_seconds=0.1, answer_seconds=1.0)


class TwoServers:
    """A topology whose map is set by the test: the channels in `second` lie on the second server."""

    def __init__(self, first: RedisNode, second: RedisNode) -> None:
        self.home = first
        self.nodes: Sequence[RedisNode] = (first, second)
        self.channel_nodes = self.nodes
        self.second: set[str] = set()
        self.servers = ""

    def node_of(self, channel: str) -> RedisNode:
        return self.nodes[channel in self.second]

    def other_feed_nodes(self, channel: str) -> Sequence[RedisNode]:
        return ()

    async def start(self) -> None:
        for node in self.nodes:
            node.start()

    async def wait_until_known(self) -> None:
        """Return at once."""

    async def stop(self) -> None:
        await asyncio.gather(*(node.stop() for node in self.nodes))


@asynccontextmanager
async def on_two_servers(
    first: RedisServer, second: RedisServer, rules: Sequence[tuple[str | None, HistoryRule | None]] = ()
) -> AsyncIterator[tuple[RedisBroker, RecordingHub, TwoServers]]:
    def make(config: Config, make_node: MakeNode) -> TwoServers:
        return TwoServers(make_node(parse_address(first.url), ""), make_node(parse_address(second.url), "second"))

    hub = RecordingHub()
    broker = RedisBroker(
        hub, Config(redis_url=first.url), timeouts=QUICK, make_topology=make, rules=HistoryRules(rules)
    )
    assert isinstance(broker.topology, TwoServers)
    await broker.start()
    try:
        yield broker, hub, broker.topology
    finally:
        await broker.stop()


async def published(broker: RedisBroker, channel: str, value: object) -> tuple[int, int]:
    receipt = AwaitedReceipt()
    broker.publish(Publication(channel, "e", value), receipt)
    return await receipt.outcome()


async def test_each_channel_is_on_its_own_node(redis_server: RedisServer, own_redis_server: RedisServer) -> None:
    async with on_two_servers(redis_server, own_redis_server) as (broker, hub, topology):
        topology.second = {"b"}
        await subscribed(broker, hub, "a", "b")
        assert redis_server.channels() & {b"fastws:channel:a", b"fastws:channel:b"} == {b"fastws:channel:a"}
        assert own_redis_server.channels() & {b"fastws:channel:a", b"fastws:channel:b"} == {b"fastws:channel:b"}
        assert await published(broker, "a", 1) == (1, 0)
        assert await published(broker, "b", 2) == (1, 0)
        assert hub.heard == {"a": [1], "b": [2]}


async def test_a_lost_node_costs_its_own_channels_alone(
    redis_server: RedisServer, own_redis_server: RedisServer
) -> None:
    async with on_two_servers(redis_server, own_redis_server) as (broker, hub, topology):
        topology.second = {"b"}
        await subscribed(broker, hub, "a", "b")
        own_redis_server.kill()
        await passes(lambda: not broker.subscriptions.is_confirmed("b"))
        assert broker.subscriptions.is_confirmed("a")
        assert await published(broker, "a", 1) == (1, 0)
        with pytest.raises(BrokerUnavailable):
            await published(broker, "b", 2)
        own_redis_server.start()
        await passes(lambda: broker.subscriptions.is_confirmed("b") and topology.nodes[1].commander.is_up)
        assert await published(broker, "b", 3) == (1, 0)
        assert hub.heard == {"a": [1], "b": [GAP, 3]}


async def test_a_lost_listener_resolves_the_receipts_of_its_own_node_alone(
    redis_server: RedisServer, own_redis_server: RedisServer
) -> None:
    async with on_two_servers(redis_server, own_redis_server) as (broker, hub, topology):
        topology.second = {"b"}
        await subscribed(broker, hub, "a", "b")
        first, second = AwaitedReceipt(), AwaitedReceipt()
        broker.publish(Publication("a", "e", 1), first)
        broker.publish(Publication("b", "e", 2), second)
        broker.listener_lost(topology.nodes[1])
        assert await first.outcome() == (1, 0)
        assert await second.outcome() == (0, 1)


async def test_a_channel_that_moves_is_heard_on_its_new_node_after_one_gap(
    redis_server: RedisServer, own_redis_server: RedisServer
) -> None:
    async with on_two_servers(redis_server, own_redis_server) as (broker, hub, topology):
        await subscribed(broker, hub, "a", "b")
        topology.second = {"b"}
        broker.moved()
        broker.moved()
        assert broker.subscriptions.is_confirmed("a")
        assert not broker.subscriptions.is_confirmed("b")
        await passes(lambda: broker.subscriptions.is_confirmed("b"))
        await passes(lambda: b"fastws:channel:b" not in redis_server.channels())
        assert await published(broker, "b", 1) == (1, 0)
        assert hub.heard == {"b": [GAP, 1]}


async def test_subscribers_who_wait_while_their_channel_moves_are_accepted_by_the_new_node(
    redis_server: RedisServer, own_redis_server: RedisServer
) -> None:
    async with on_two_servers(redis_server, own_redis_server) as (broker, _, topology):
        ready = asyncio.Event()
        broker.listen("b", ready.set)
        topology.second = {"b"}
        broker.moved()
        assert not ready.is_set()
        await asyncio.wait_for(ready.wait(), 30.0)
        assert b"fastws:channel:b" in own_redis_server.channels()


async def test_a_publication_on_its_way_while_its_channel_moves_counts_as_missed(
    redis_server: RedisServer, own_redis_server: RedisServer
) -> None:
    async with on_two_servers(redis_server, own_redis_server) as (broker, hub, topology):
        await subscribed(broker, hub, "b")
        receipt = AwaitedReceipt()
        broker.publish(Publication("b", "e", 1), receipt)
        topology.second = {"b"}
        broker.moved()
        sent, failed = await receipt.outcome()
        assert sent + failed == 1


async def test_a_node_that_moves_to_another_server_confirms_there_after_one_gap(
    redis_server: RedisServer, own_redis_server: RedisServer
) -> None:
    hub = RecordingHub()
    broker = RedisBroker(hub, Config(redis_url=redis_server.url), timeouts=QUICK)
    await broker.start()
    try:
        await subscribed(broker, hub, "a")
        broker.topology.home.move(parse_address(own_redis_server.url), "the test")
        assert not broker.is_up
        await passes(lambda: broker.is_up and broker.subscriptions.is_confirmed("a"))
        assert await published(broker, "a", 1) == (1, 0)
        assert hub.heard == {"a": [GAP, 1]}
        assert b"fastws:channel:a" in own_redis_server.channels()
    finally:
        await broker.stop()


async def test_a_node_that_moves_does_not_wait_for_the_attempt_at_its_old_address(
    redis_server: RedisServer, own_redis_server: RedisServer
) -> None:
    own_redis_server.pause()
    hub = RecordingHub()
    broker = RedisBroker(hub, Config(redis_url=own_redis_server.url), timeouts=QUICK)
    await broker.start()
    try:
        attempts = [link.attempts for link in broker.topology.home._links]
        broker.topology.home.move(parse_address(redis_server.url), "the test")
        await passes(lambda: broker.is_up)
        assert [link.attempts for link in broker.topology.home._links] == [count + 1 for count in attempts]
    finally:
        await broker.stop()
        own_redis_server.resume()
