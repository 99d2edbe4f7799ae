"""Redis Sentinel: the primary is found and followed, through failovers, lies and silence."""

from __future__ import annotations

import asyncio
from importlib.resources import files

import pytest

from fastws.backend import RedisBroadcaster
from fastws.brokers.history import HistoryRule, HistoryRules
from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.topology.sentinel import SentinelWatch, candidates
from fastws.brokers.redis.wire.timeouts import RedisTimeouts
from fastws.config import Config
from fastws.errors import BrokerUnavailable
from fastws.redis_address import RedisAddress
from fastws.redis_places import SentinelAddress, parse_place
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import GAP, AwaitedReceipt, RecordingHub, passes, subscribed
from tests.brokers.redis.documented_user import denied, url_of_documented_user
from tests.brokers.redis.test_broker import running
from tests.redis_sentinel import SentinelSetUp
from tests.redis_server import RedisServer

A, B, C = ("a", 1), ("b", 1), ("c", 1)
QUICK = RedisTimeouts(linger_seconds=0.2, probe_seconds=0.1, role_seconds=0.2)


@pytest.mark.parametrize(
    ("votes", "known", "needs_majority", "expected"),
    [
        ([A, A, A], None, False, [A]),
        ([A, B, B], A, False, [B, A]),
        ([A, B, B], A, True, [B]),
        ([B, A, None], A, False, [A, B]),
        ([B, None, None], A, True, []),
        ([B, None, None], A, False, [B]),
        ([None, None, None], A, False, []),
        ([B, A], A, True, []),
        ([B], A, True, [B]),
        ([C, B, A], None, False, [C, B, A]),
    ],
)
def test_who_is_tried(
    votes: list[tuple[str, int] | None],
    known: tuple[str, int] | None,
    needs_majority: bool,
    expected: list[tuple[str, int]],
) -> None:
    assert candidates(votes, known, needs_majority=needs_majority) == expected


class Voter:
    def __init__(self) -> None:
        self.primary: tuple[str, int] | None = None


class DownNode:
    name = "test"
    is_up = False

    def __init__(self) -> None:
        self.moves: list[int] = []

    def move(self, address: RedisAddress, reason: str) -> None:
        self.moves.append(address.port)


@pytest.mark.parametrize("patience", [600.0, 0.0])
async def test_who_answers_first_does_not_decide_alone(monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
    """While no primary is usable, a Sentinel without a majority counts only once the others had time to answer."""
    monkeypatch.setattr("fastws.brokers.redis.topology.sentinel.PATIENCE_SECONDS", patience)

    async def works(*_: object) -> None:
        return None

    monkeypatch.setattr(SentinelWatch, "_why_not", works)
    place = parse_place("redis+sentinel://a,b,c/main")
    assert isinstance(place, SentinelAddress)
    node = DownNode()
    watch = SentinelWatch(place, node)  # type: ignore[arg-type]
    voters = [Voter(), Voter(), Voter()]
    watch._sentinels = voters  # type: ignore[assignment]
    voters[0].primary = ("liar", 1)
    assert await watch._follow() is not bool(patience), "looks again soon"
    assert node.moves == ([] if patience else [1])
    voters[1].primary = voters[2].primary = ("b", 2)
    assert await watch._follow()
    assert node.moves[-1] == 2


def port_of(broker: RedisBroker) -> int:
    return broker.topology.home.address.port


async def published(broker: RedisBroker, channel: str, value: object) -> tuple[int, int]:
    receipt = AwaitedReceipt()
    broker.publish(Publication(channel, "e", value), receipt)
    return await receipt.outcome()


async def heard(broker: RedisBroker, hub: RecordingHub, channel: str, value: object) -> None:
    """Publish until it is accepted, as a client does."""
    while True:
        await passes(lambda: broker.is_up and broker.subscriptions.is_confirmed(channel))
        try:
            await published(broker, channel, value)
        except BrokerUnavailable:
            await asyncio.sleep(0)
        else:
            break
    await hub.until(lambda: value in hub.heard[channel])


async def whole(set_up: SentinelSetUp) -> None:
    await asyncio.get_running_loop().run_in_executor(None, set_up.wait_until_whole)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_the_primary_is_found(sentinel_set_up: SentinelSetUp, protocol: int) -> None:
    async with running(f"{sentinel_set_up.url}?protocol={protocol}", QUICK) as (broker, hub):
        await subscribed(broker, hub, "a")
        assert await published(broker, "a", 1) == (1, 0)
        assert port_of(broker) == sentinel_set_up.primary_port
        assert broker.counters.broker_failovers == 0


async def test_the_documented_user_of_sentinels_has_all_rights_that_are_needed(sentinel_set_up: SentinelSetUp) -> None:
    page = (files("fastws") / "docs" / "redis.md").read_text()
    (rule,) = (line.split(" ") for line in page.splitlines() if line.startswith("ACL SETUSER "))
    for sentinel in sentinel_set_up.sentinels:
        with sentinel.client() as client:
            client.execute_command("ACL", "SETUSER", rule[2], "reset", *rule[3:])
    url = f"{sentinel_set_up.url}?sentinel_username=fastws&sentinel_password=PASSWORD"
    async with running(url, QUICK) as (broker, _):
        watch = broker.topology._server.watch  # type: ignore[attr-defined]
        await passes(lambda: broker.is_up and all(one.primary and one.listener._is_ready for one in watch._sentinels))


async def test_the_documented_user_of_redis_on_every_server_is_enough(sentinel_set_up: SentinelSetUp) -> None:
    for server in sentinel_set_up.servers:
        url_of_documented_user(server)
    url = sentinel_set_up.url.replace("://", "://fastws:PASSWORD@")
    async with running(url, QUICK) as (broker, hub):
        await subscribed(broker, hub, "a")
        before = port_of(broker)
        sentinel_set_up.start_failover()
        await passes(lambda: port_of(broker) != before)
        await heard(broker, hub, "a", 1)
        with RedisBroadcaster(url) as backend:
            outcome = await asyncio.to_thread(backend.publish, "a", "e", 2)
        assert outcome["sent"] == 1
        await hub.until(lambda: hub.heard["a"] == [GAP, 1, 2])
    await whole(sentinel_set_up)
    assert [denied(server) for server in sentinel_set_up.servers] == [[]] * 3


async def test_a_switch_is_followed_after_one_gap(sentinel_set_up: SentinelSetUp) -> None:
    async with running(sentinel_set_up.url, QUICK) as (broker, hub):
        await subscribed(broker, hub, "a")
        before = port_of(broker)
        sentinel_set_up.start_failover()
        await passes(lambda: port_of(broker) != before)
        await heard(broker, hub, "a", 1)
        assert hub.heard["a"] == [GAP, 1]
        assert broker.counters.broker_failovers == 1
    await whole(sentinel_set_up)


async def test_a_killed_primary_costs_channels_with_history_nothing(sentinel_set_up: SentinelSetUp) -> None:
    hub = RecordingHub()
    rules = [("kept:**", HistoryRule(1000, 300))]
    broker = RedisBroker(hub, Config(redis_url=sentinel_set_up.url), timeouts=QUICK, rules=HistoryRules(rules))
    await broker.start()
    try:
        await subscribed(broker, hub, "kept:a", "plain")
        assert broker.history is not None
        broker.history.recover("kept:a", None, lambda _: None, lambda _: None)
        for number in range(50):
            await published(broker, "kept:a", number)
        killed = sentinel_set_up.primary
        killed.kill()
        await passes(lambda: port_of(broker) != killed.port)
        await heard(broker, hub, "kept:a", 50)
        await heard(broker, hub, "plain", "later")
        assert hub.heard["kept:a"] == list(range(51))
        assert hub.heard["plain"] == [GAP, "later"]
        killed.start("--replicaof", "127.0.0.1", str(port_of(broker)))
    finally:
        await broker.stop()
    await whole(sentinel_set_up)


async def test_a_primary_demoted_with_its_connections_alive_is_left(sentinel_set_up: SentinelSetUp) -> None:
    """REPLICAOF kills no connection, and PUBLISH on a replica succeeds without reaching anybody else."""
    async with running(sentinel_set_up.url, QUICK) as (broker, hub):
        await subscribed(broker, hub, "a")
        demoted = port_of(broker)
        sentinel_set_up.replace_primary_by_hand()
        await passes(lambda: port_of(broker) != demoted)
        await heard(broker, hub, "a", 1)
        assert hub.heard["a"] == [GAP, 1]
        assert port_of(broker) == sentinel_set_up.primary_port
    await whole(sentinel_set_up)


async def test_a_sentinel_that_lies_is_outvoted(own_redis_server: RedisServer, sentinel_set_up: SentinelSetUp) -> None:
    """It watches another primary by the same name: redis-py would believe it, since it is asked first."""
    primary = sentinel_set_up.primary_port
    liar = sentinel_set_up.sentinels[0]
    liar.forget()
    liar.watch(own_redis_server.port)
    try:
        async with running(sentinel_set_up.url, QUICK) as (broker, hub):
            await subscribed(broker, hub, "a")
            await passes(lambda: broker.is_up and port_of(broker) == primary)
            assert await published(broker, "a", 1) == (1, 0)
    finally:
        liar.forget()
        liar.watch(primary)
    await whole(sentinel_set_up)


async def test_without_any_sentinel_the_known_primary_stays(sentinel_set_up: SentinelSetUp) -> None:
    async with running(sentinel_set_up.url, QUICK) as (broker, hub):
        await subscribed(broker, hub, "a")
        before = port_of(broker)
        for sentinel in sentinel_set_up.sentinels:
            sentinel.kill()
        watch = broker.topology._server.watch  # type: ignore[attr-defined]
        await passes(lambda: not any(sentinel.primary for sentinel in watch._sentinels))
        assert await published(broker, "a", 1) == (1, 0)
        assert (port_of(broker), hub.heard["a"]) == (before, [1])
    for sentinel in sentinel_set_up.sentinels:
        sentinel.start()
    await whole(sentinel_set_up)
