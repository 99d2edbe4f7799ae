"""A primary that becomes a replica without closing a connection: it is left, whoever notices first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.role import STRAYS, RedisRole
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.handshake import primary_of
from fastws.errors import BrokerUnavailable
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import GAP, AwaitedReceipt, RecordingHub, passes, subscribed
from tests.brokers.redis.test_broker import running
from tests.brokers.small_cluster import Process
from tests.brokers.tcp_proxy import TcpProxy
from tests.brokers.test_redis_failures import SHORT_TIMEOUTS, is_refused, publish_until_heard
from tests.ports import free_port
from tests.redis_server import RedisServer

ASKS_OFTEN = replace(SHORT_TIMEOUTS, role_seconds=0.1)
NEVER_ASKS = replace(SHORT_TIMEOUTS, role_seconds=float("inf"))


@pytest.fixture
def other_redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.close()


def demote(server: RedisServer, primary: RedisServer | None = None) -> None:
    """Make it a replica; its connections stay."""
    with server.client() as client:
        client.replicaof("127.0.0.1", str(primary.port if primary else free_port()))


def promote(server: RedisServer) -> None:
    with server.client() as client:
        client.replicaof("NO", "ONE")


def login(server: RedisServer, *rules: str) -> str:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", *rules)
    return server.url.replace("unix://", "unix://app:pw@")


@pytest.mark.parametrize(
    ("reply", "primary"),
    [
        ([b"slave", b"10.0.0.1", 6380, b"connect", -1], "10.0.0.1:6380"),
        ([b"master", 0, []], None),
        ([b"sentinel", [b"main"]], None),
        ([b"slave"], None),
        ([], None),
        (b"# Replication\r\nrole:slave\r\nmaster_host:h\r\nmaster_port:1\r\n", "h:1"),
        (b"# Replication\r\nrole:master\r\nconnected_slaves:1\r\n", None),
        (None, None),
    ],
)
def test_reply_of_a_replica_names_its_primary(reply: object, primary: str | None) -> None:
    assert primary_of(reply) == primary


@pytest.mark.parametrize("rules", [(), ("-role",)], ids=["ROLE", "INFO"])
async def test_demoted_primary_is_left_until_the_address_leads_to_a_primary(
    own_redis_server: RedisServer, other_redis_server: RedisServer, rules: tuple[str, ...]
) -> None:
    login(own_redis_server, *rules)
    login(other_redis_server, *rules)
    async with TcpProxy(own_redis_server.port) as proxy:
        url = proxy.url.replace("redis://", "redis://app:pw@")
        async with running(url, ASKS_OFTEN) as (broker, hub):
            await subscribed(broker, hub, "admin")
            await publish_until_heard(broker, hub, "admin", "before")
            demote(own_redis_server, other_redis_server)
            await passes(lambda: not broker.is_up and not broker.listener.is_up and not broker.commander.is_up)
            await is_refused(broker)
            proxy.target_port = other_redis_server.port
            async with running(other_redis_server.url) as (elsewhere, there):
                await subscribed(elsewhere, there, "admin")
                await publish_until_heard(broker, hub, "admin", "after")
                await there.until(lambda: "after" in there.heard["admin"])
            assert hub.heard["admin"] == ["before", GAP, "after"]
            await passes(lambda: broker.is_up)
            assert f"fastws:probe:{broker.node_id}".encode() in other_redis_server.channels()


async def test_replica_that_becomes_the_primary_again_is_taken_again(own_redis_server: RedisServer) -> None:
    async with running(own_redis_server.url, ASKS_OFTEN) as (broker, hub):
        await subscribed(broker, hub, "admin")
        demote(own_redis_server)
        await passes(lambda: not broker.listener.is_up and not broker.commander.is_up)
        promote(own_redis_server)
        await publish_until_heard(broker, hub, "admin", "after")
        assert hub.heard["admin"] == [GAP, "after"]


async def test_replica_is_not_entered_and_named(own_redis_server: RedisServer) -> None:
    primary = free_port()
    with own_redis_server.client() as client:
        client.replicaof("127.0.0.1", str(primary))
    with capture_logs() as logs:
        async with running(own_redis_server.url, SHORT_TIMEOUTS) as (broker, _):
            assert not broker.is_up
            await is_refused(broker)
    reasons = {entry["reason"] for entry in logs if entry["event"] == "redis unavailable"}
    assert reasons == {f"it is a replica of 127.0.0.1:{primary}"}


async def test_write_that_is_refused_as_read_only_is_enough(own_redis_server: RedisServer) -> None:
    process = Process(own_redis_server.url, timeouts=NEVER_ASKS)
    await process.broker.start()
    try:
        # The first beat has asked.
        process.broker.monitor._role_asked_at = asyncio.get_running_loop().time()
        await subscribed(process.broker, process.hub, "admin")
        demote(own_redis_server)
        with pytest.raises(BrokerUnavailable):
            await process.broker.commander.call(b"SET", b"fastws:x", b"1")
        assert not process.broker.is_up
        await passes(lambda: not process.broker.commander.is_up and not process.broker.listener.is_up)
        promote(own_redis_server)
        await process.hub.until(lambda: process.hub.heard["admin"] == [GAP])
    finally:
        await process.broker.stop()


async def test_redis_that_does_not_say_is_taken_for_a_primary_and_logged_once(own_redis_server: RedisServer) -> None:
    url = login(own_redis_server, "-role", "-info")
    with capture_logs() as logs:
        async with running(url, SHORT_TIMEOUTS) as (broker, hub):
            await subscribed(broker, hub, "admin")
            for _ in range(3):
                broker.monitor.role.ask()
            receipt = AwaitedReceipt()
            broker.publish(Publication("admin", "e", 1), receipt)
            assert await receipt.outcome() == (1, 0)
            for _ in range(2):  # the refusal of ROLE, then that of INFO
                await broker.commander.call(b"PING")
            assert broker.counters.broker_reconnects == 0
    lines = [entry for entry in logs if entry["event"] == "cannot determine the role of redis"]
    assert [line["log_level"] for line in lines] == ["warning"]


@asynccontextmanager
async def apart(first: RedisServer, second: RedisServer) -> AsyncIterator[tuple[RedisBroker, RecordingHub]]:
    """A broker whose listener is on `first`, a replica, and whose commands go to `second`, its primary."""
    async with TcpProxy(first.port) as proxy, running(proxy.url, NEVER_ASKS) as (broker, hub):
        await subscribed(broker, hub, "admin")
        demote(first, second)
        proxy.target_port = second.port
        broker.commander.give_up("the test")
        yield broker, hub


async def test_listener_follows_to_the_redis_that_commands_go_to(
    own_redis_server: RedisServer, other_redis_server: RedisServer
) -> None:
    """Even where a replica passes everything on, so that nothing seems to be wrong."""
    async with apart(own_redis_server, other_redis_server) as (broker, hub):
        await hub.until(lambda: GAP in hub.heard["admin"])
        await publish_until_heard(broker, hub, "admin", "after")
        assert b"fastws:channel:admin" in other_redis_server.channels()
        await passes(lambda: own_redis_server.channels() == set())


def test_stray_listener_is_found_once_for_each_connection() -> None:
    role = RedisRole(RedisCommander("c", lambda: None, lambda reason: None), lambda reason: None)
    assert [role.is_stray(0) for _ in range(STRAYS - 1)] == [False] * (STRAYS - 1)
    assert not role.is_stray(1)
    assert [role.is_stray(0) for _ in range(2 * STRAYS)] == [False] * (STRAYS - 1) + [True] + [False] * STRAYS
    role.connected()
    assert [role.is_stray(0) for _ in range(STRAYS)] == [False] * (STRAYS - 1) + [True]
    assert not role.is_stray(None)
