"""Several plain Redis servers: channels are spread, and one that is away costs its own channels alone."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from fastws.backend import AsyncRedisBroadcaster, RedisBroadcaster
from fastws.brokers.history import HistoryRule, HistoryRules
from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.topology.several_servers import SeveralServers
from fastws.brokers.redis.wire.timeouts import RedisTimeouts
from fastws.config import Config
from fastws.errors import BrokerUnavailable
from fastws.vocabulary.positions import Position
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import GAP, AwaitedReceipt, RecordingHub, passes, subscribed
from tests.brokers.redis.test_broker import running
from tests.brokers.small_cluster import processes
from tests.redis_server import RedisServer

JOBS = "botrix:jobs:updates"
QUICK = RedisTimeouts(linger_seconds=0.2, probe_seconds=0.1, answer_seconds=1.0)


class Pair:
    """Two servers. `first` holds the data of the cluster."""

    def __init__(self) -> None:
        servers = [RedisServer(), RedisServer()]
        for server in servers:
            server.start()
        self.first, self.second = sorted(servers, key=lambda server: server.tcp_url)

    @property
    def url(self) -> str:
        return f"{self.second.tcp_url},{self.first.tcp_url}"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.first.close()
    pair.second.close()


def channels_of(broker: RedisBroker, count: int = 1) -> tuple[list[str], list[str]]:
    """Channels on the first server, and on the second."""
    topology = broker.topology
    assert isinstance(topology, SeveralServers)
    names = [f"chat:{number}" for number in range(64)]
    found = tuple([name for name in names if topology.node_of(name) is node][:count] for node in topology.nodes)
    return found[0], found[1]


async def published(broker: RedisBroker, channel: str, value: object) -> tuple[int, int]:
    receipt = AwaitedReceipt()
    broker.publish(Publication(channel, "e", value), receipt)
    return await receipt.outcome()


async def test_channels_are_spread_alike_whatever_the_order(pair: Pair) -> None:
    turned = f"{pair.first.tcp_url},{pair.second.tcp_url}"
    async with running(pair.url, QUICK) as (broker, hub), running(turned, QUICK) as (other, _):
        (one,), (two,) = channels_of(broker)
        assert channels_of(other) == ([one], [two])
        await subscribed(broker, hub, one, two)
        assert f"fastws:channel:{one}".encode() in pair.first.channels()
        assert f"fastws:channel:{two}".encode() in pair.second.channels()
        await published(other, one, 1)
        await published(other, two, 2)
        await hub.until(lambda: hub.heard == {one: [1], two: [2]})
        assert str(other.topology.home) == f"redis://127.0.0.1:{pair.first.port}/0"


async def test_a_backend_with_the_same_list_publishes_on_the_right_server(pair: Pair) -> None:
    async with running(pair.url, QUICK) as (broker, hub):
        (one,), (two,) = channels_of(broker)
        await subscribed(broker, hub, one, two)
        with RedisBroadcaster([pair.first.tcp_url, pair.second.tcp_url]) as backend:
            backend.publish(one, "e", 1)
            backend.publish(two, "e", 2)
            messages = [{"channel": channel, "event": "e", "data": n} for n, channel in enumerate([two, one] * 600)]
            outcomes = backend.publish_many(messages)
            assert [outcome["sent"] for outcome in outcomes] == [1] * 1200
        async with AsyncRedisBroadcaster(pair.url) as backend:
            await backend.publish(one, "e", "last")
            assert [outcome["sent"] for outcome in await backend.publish_many(messages[:2])] == [1, 1]
        await hub.until(lambda: len(hub.publications) == 1205)
        assert hub.heard[one] == [1, *range(1, 1200, 2), "last", 1]
        assert hub.heard[two] == [2, *range(0, 1200, 2), 0]


async def test_one_that_is_away_costs_its_own_channels_alone(pair: Pair) -> None:
    async with running(pair.url, QUICK) as (broker, hub):
        (one,), (two,) = channels_of(broker)
        await subscribed(broker, hub, one, two)
        pair.second.kill()
        try:
            await passes(lambda: [node.is_up for node in broker.nodes] == [True, False] or None)
            assert broker.is_up
            with pytest.raises(BrokerUnavailable):
                await published(broker, two, 1)
            assert await published(broker, one, 2) == (1, 0)
        finally:
            pair.second.start()
        await passes(lambda: broker.subscriptions.is_confirmed(two))
        assert await published(broker, two, 3) == (1, 0)
        assert hub.heard == {one: [2], two: [GAP, 3]}


async def test_histories_lie_with_their_channels(pair: Pair) -> None:
    hub = RecordingHub()
    rules = [("chat:**", HistoryRule(10, 60))]
    broker = RedisBroker(hub, Config(redis_url=pair.url, history_bytes=1001), timeouts=QUICK, rules=HistoryRules(rules))
    await broker.start()
    try:
        (one,), (two,) = channels_of(broker)
        history = broker.history
        assert history is not None
        for channel in (one, two):
            receipt = AwaitedReceipt()
            broker.publish(Publication(channel, "e", 1), receipt)
            await receipt.outcome()
            assert isinstance(receipt.position, Position)
            assert receipt.position.offset == 1
        assert set(await history.channels()) == {one, two}
        assert await history.tops([two, one, "none"]) == [1, 1, None]
        for server, channel in ((pair.first, one), (pair.second, two)):
            with server.client() as client:
                assert set(client.scan_iter("fastws:{*}:meta")) == {f"fastws:{{{channel}}}:meta".encode()}
                client.flushall()
    finally:
        await broker.stop()


async def test_feeds_are_heard_on_all_servers(pair: Pair) -> None:
    async with running(pair.url, QUICK) as (broker, hub):
        await subscribed(broker, hub, JOBS)
        for number, server in enumerate((pair.first, pair.second)):
            with server.client() as client:
                await passes(lambda client=client: client.pubsub_numsub(JOBS)[0][1] == 1)
                client.publish(JOBS, f'{{"job_id": "{number}", "status": "done"}}')
        await hub.until(lambda: len(hub.publications) == 2)
        await published(broker, JOBS, {"job_id": "2", "status": "done"})
        await hub.until(lambda: len(hub.publications) == 3)
        hub.subscribers[JOBS] = 0
        broker.unlisten(JOBS)
        await passes(lambda: all(JOBS.encode() not in server.channels() for server in (pair.first, pair.second)))
        assert len(hub.publications) == 3


@pytest.mark.parametrize("is_own", [True, False])
async def test_a_feed_has_a_gap_whichever_server_was_away(pair: Pair, is_own: bool) -> None:
    async with running(pair.url, QUICK) as (broker, hub):
        await subscribed(broker, hub, JOBS)
        own = broker.topology.node_of(JOBS)
        is_first = (own is broker.topology.nodes[0]) is is_own
        server = pair.first if is_first else pair.second
        await passes(lambda: JOBS.encode() in server.channels())
        server.kill_clients("pubsub")
        await hub.until(lambda: hub.heard[JOBS] == [GAP])
        await passes(lambda: JOBS.encode() in server.channels())
        assert hub.heard == {JOBS: [GAP]}


def faults(logs: Sequence[MutableMapping[str, Any]]) -> set[str]:
    return {log["node"] for log in logs if log["event"] == "redis_url differs between processes"}


async def test_a_process_with_another_list_is_logged(pair: Pair) -> None:
    async with processes(pair.url, "node_a", "node_b") as (one, two):
        await passes(lambda: one.cluster.registry.others and two.cluster.registry.others)
        with capture_logs() as logs:
            async with processes(pair.first.tcp_url, "node_c"):
                await passes(lambda: len([log for log in logs if "differs" in log["event"]]) >= 3)
        assert "node_c" in faults(logs)


async def test_a_process_with_another_first_server_is_logged_and_not_counted(pair: Pair) -> None:
    """Their registries are on different servers."""
    with capture_logs() as logs:
        async with processes(pair.second.tcp_url, "node_a") as (alone,), processes(pair.url, "node_b"):
            await passes(lambda: faults(logs))
            assert alone.cluster.registry.others == []
    assert faults(logs) == {"node_b"}


async def test_processes_with_one_list_announce_it_without_a_log_line(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastws.cluster.redis.server_list.ANNOUNCE_SECONDS", 0.0)
    with capture_logs() as logs:
        async with processes(pair.url, "node_a", "node_b") as (one, two):
            with pair.second.client() as client, client.pubsub(ignore_subscribe_messages=True) as listener:
                listener.subscribe("fastws:nodes")
                await passes(lambda: listener.get_message())
            await passes(lambda: one.cluster.registry.others and two.cluster.registry.others)
    assert faults(logs) == set()
