"""A process that reaches the primary but no Sentinel, or all Sentinels but not the primary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from fastws.brokers.history import HistoryRule, HistoryRules
from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.topology.sentinel import SentinelWatch
from fastws.brokers.redis.wire.timeouts import RedisTimeouts
from fastws.config import Config
from fastws.errors import BrokerUnavailable
from fastws.redis_address import RedisAddress
from tests.brokers.recording_hub import GAP, RecordingHub, passes, subscribed
from tests.brokers.redis.topology.test_sentinel import heard, published
from tests.brokers.tcp_proxy import TcpProxy
from tests.redis_sentinel import SERVICE, SentinelSetUp

TIMEOUTS = RedisTimeouts(
    linger_seconds=0.2,
    probe_seconds=0.1,
    role_seconds=0.2,
    answer_seconds=0.5,
    probe_late_seconds=1.0,
    probe_lost_seconds=1.5,
)
RULES = [("kept:**", HistoryRule(1000, 300))]


@asynccontextmanager
async def running(url: str, behind: TcpProxy | None = None) -> AsyncIterator[tuple[RedisBroker, RecordingHub]]:
    """A broker that reaches the primary directly, or through the proxy `behind`."""
    hub = RecordingHub()
    broker = RedisBroker(hub, Config(redis_url=url), timeouts=TIMEOUTS, rules=HistoryRules(RULES))
    if behind is not None:
        watch = watch_of(broker)
        watch._address = Translated(watch._address, behind)  # type: ignore[assignment]
    await broker.start()
    try:
        yield broker, hub
    finally:
        await broker.stop()


def watch_of(broker: RedisBroker) -> SentinelWatch:
    watch = broker.topology._server.watch  # type: ignore[attr-defined]
    assert isinstance(watch, SentinelWatch)
    return watch


@dataclass
class Translated:
    """A SentinelAddress in a network that translates the address of one primary, and no other."""

    of: object
    proxy: TcpProxy

    @property
    def service(self) -> str:
        return SERVICE

    def at(self, host: str, port: int) -> RedisAddress:
        found: RedisAddress = self.of.at(host, self.proxy.port if port == self.proxy.target_port else port)  # type: ignore[attr-defined]
        return found


async def listening(broker: RedisBroker, hub: RecordingHub) -> None:
    """Subscribe to a channel with a history and one without."""
    await subscribed(broker, hub, "kept:a", "plain")
    assert broker.history is not None
    broker.history.recover("kept:a", None, lambda _: None, lambda _: None)
    await heard(broker, hub, "kept:a", 1)


async def test_cut_off_from_the_sentinels_it_keeps_the_primary_and_finds_the_next_one_afterwards(
    sentinel_set_up: SentinelSetUp,
) -> None:
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(TcpProxy(sentinel.port)) for sentinel in sentinel_set_up.sentinels]
        hosts = ",".join(f"127.0.0.1:{proxy.port}" for proxy in proxies)
        broker, hub = await stack.enter_async_context(running(f"redis+sentinel://{hosts}/{SERVICE}"))
        await listening(broker, hub)
        for proxy in proxies:
            proxy.is_silent = True
        await passes(lambda: not any(sentinel.primary for sentinel in watch_of(broker)._sentinels))
        await heard(broker, hub, "kept:a", 2)
        await heard(broker, hub, "plain", 2)
        assert (hub.heard["kept:a"], hub.heard["plain"]) == ([1, 2], [2])

        killed = sentinel_set_up.primary
        killed.kill()
        await passes(lambda: sentinel_set_up.primary_port != killed.port)
        await passes(lambda: not broker.is_up)
        with pytest.raises(BrokerUnavailable):
            await published(broker, "plain", 3)
        for proxy in proxies:
            proxy.is_silent = False
        await heard(broker, hub, "kept:a", 4)
        await heard(broker, hub, "plain", 4)
        assert (hub.heard["kept:a"], hub.heard["plain"]) == ([1, 2, 4], [2, GAP, 4])
    await asyncio.to_thread(sentinel_set_up.repair)


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_cut_off_from_the_primary_it_waits_for_it_or_follows_the_next_one(
    sentinel_set_up: SentinelSetUp,
    is_replaced: bool,
) -> None:
    primary = sentinel_set_up.primary
    async with (
        TcpProxy(primary.port) as proxy,
        running(sentinel_set_up.url, proxy) as (broker, hub),
        running(sentinel_set_up.url) as (other, other_hub),
    ):
        await listening(broker, hub)
        await subscribed(other, other_hub, "plain")
        proxy.is_silent = True
        await passes(lambda: not broker.is_up)
        with pytest.raises(BrokerUnavailable):
            await published(broker, "plain", 2)
        # Nobody else notices.
        assert (await published(other, "kept:a", 2))[1] == 0
        assert await published(other, "plain", 2) == (1, 0)
        assert broker.counters.broker_failovers == 0
        if is_replaced:
            sentinel_set_up.start_failover()
        else:
            await passes(lambda: not broker.listener.is_up)
            proxy.is_silent = False
        await heard(broker, hub, "kept:a", 3)
        await heard(broker, hub, "plain", 3)
        assert (hub.heard["kept:a"], hub.heard["plain"]) == ([1, 2, 3], [GAP, 3])
        assert broker.counters.broker_failovers == is_replaced
    await asyncio.to_thread(sentinel_set_up.repair)
