"""Redis dies, stalls, lies and comes back: nobody waits for ever, nothing comes twice, every gap is told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.numbered_publisher import VOUCH_SECONDS
from fastws.brokers.redis.wire.commander import MAX_WAITING
from fastws.brokers.redis.wire.link import (
    FIRST_DELAY_SECONDS,
    LEADING_SECONDS,
    LEADING_SPREAD_SECONDS,
    MAX_DELAY_SECONDS,
    MAX_FAILURES_WHEN_ALIVE,
)
from fastws.brokers.redis.wire.timeouts import DEFAULT_TIMEOUTS, RedisTimeouts
from fastws.errors import BrokerUnavailable
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import (
    GAP,
    PATIENCE_SECONDS,
    AwaitedReceipt,
    RecordingHub,
    passes,
    subscribed,
    subscribed_at_once,
)
from tests.brokers.redis.test_broker import running
from tests.brokers.tcp_proxy import TcpProxy
from tests.redis_server import RedisServer

SHORT_TIMEOUTS = RedisTimeouts(
    answer_seconds=0.4,
    stall_seconds=0.1,
    ping_seconds=0.3,
    silence_seconds=1.2,
    probe_seconds=0.1,
    probe_late_seconds=0.5,
    probe_lost_seconds=1.0,
    linger_seconds=0.2,
)


# All of it runs out while the process is held up, and nothing of it on a machine that is merely busy.
EASILY_HELD_UP = replace(
    SHORT_TIMEOUTS,
    answer_seconds=1.4,
    ping_seconds=1.0,
    silence_seconds=1.5,
    probe_late_seconds=1.2,
    probe_lost_seconds=1.4,
)


async def is_refused(broker: RedisBroker, channel: str = "admin") -> None:
    """Publish, and expect a refusal."""
    receipt = AwaitedReceipt()
    broker.publish(Publication(channel, "e", "refused"), receipt)
    with pytest.raises(BrokerUnavailable):
        await receipt.outcome()


async def publish_until_heard(broker: RedisBroker, hub: RecordingHub, channel: str, value: object) -> None:
    """Publish until it is accepted, as a client does, each time when the broker is back and the channel confirmed."""
    while True:
        await passes(lambda: broker.is_up and broker.subscriptions.is_confirmed(channel))
        receipt = AwaitedReceipt()
        broker.publish(Publication(channel, "e", value), receipt)
        try:
            await receipt.outcome()
        except BrokerUnavailable:
            await asyncio.sleep(0)
        else:
            break
    await hub.until(lambda: value in hub.heard[channel])


async def test_redis_killed_and_restarted_empty(own_redis_server: RedisServer) -> None:
    """H2: one gap notice a channel, subscriptions made meanwhile restored, those given up meanwhile not."""
    async with running(own_redis_server.url, SHORT_TIMEOUTS) as (broker, hub):
        await subscribed(broker, hub, "stays", "leaves")
        await publish_until_heard(broker, hub, "stays", "before")
        own_redis_server.kill()
        await passes(lambda: not broker.is_up)
        await is_refused(broker)
        subscribed_at_once(broker, hub, "comes")
        hub.subscribers["leaves"] = 0
        broker.unlisten("leaves")
        own_redis_server.start()
        await publish_until_heard(broker, hub, "stays", "after")
        await publish_until_heard(broker, hub, "comes", "after")
        assert hub.heard["stays"] == ["before", GAP, "after"]
        assert hub.heard["comes"] == [GAP, "after"]
        await passes(lambda: broker.is_up)
        await passes(lambda: b"fastws:channel:leaves" not in own_redis_server.channels())
        assert {b"fastws:channel:stays", b"fastws:channel:comes"} <= own_redis_server.channels()


async def test_redis_that_is_not_there_at_the_start(own_redis_server: RedisServer) -> None:
    own_redis_server.kill()
    async with running(own_redis_server.url, SHORT_TIMEOUTS) as (broker, hub):
        assert not broker.is_up
        subscribed_at_once(broker, hub, "admin")
        await is_refused(broker)
        own_redis_server.start()
        await publish_until_heard(broker, hub, "admin", 1)
        assert hub.heard["admin"] == [GAP, 1]
        await passes(lambda: broker.is_up)


async def test_reconnecting_is_neither_hasty_nor_told_more_than_once(own_redis_server: RedisServer) -> None:
    """H2, H9: at most 2 attempts a second and process, one log line per state and reason.

    A connection that the proxy closes ends with or without a reset, as it has read the handshake before or not.
    """
    own_redis_server.kill()
    async with TcpProxy(own_redis_server.port) as proxy:
        with capture_logs() as logs:
            begun = time.monotonic()
            async with running(proxy.url, SHORT_TIMEOUTS):
                await passes(lambda: proxy.connects >= 14)
            connects, seconds = proxy.connects, time.monotonic() - begun
        warnings = [entry for entry in logs if entry["log_level"] == "warning"]
        assert connects <= 2 * (seconds + 1) + 8
        assert {entry["role"] for entry in warnings} == {"commands", "listener"}
        assert len({(entry["role"], entry["reason"]) for entry in warnings}) == len(warnings)


async def test_subscriber_connections_killed_twenty_times_during_traffic(own_redis_server: RedisServer) -> None:
    """H1: heard again each time, every hole in the sequence has its notice, nothing twice."""
    async with running(own_redis_server.url) as (broker, hub):
        await subscribed(broker, hub, "admin")
        number, is_over = 0, False

        async def traffic() -> None:
            nonlocal number
            while not is_over:
                broker.publish(Publication("admin", "e", number))
                number += 1
                await asyncio.sleep(0.0005)

        publisher = asyncio.create_task(traffic())
        for killed in range(1, 21):
            assert await asyncio.to_thread(own_redis_server.kill_clients, "pubsub") == 1
            await hub.until(lambda killed=killed: hub.heard["admin"].count(GAP) == killed)
            heard = len(hub.heard["admin"])
            await hub.until(lambda heard=heard: len(hub.heard["admin"]) > heard + 10)
        is_over = True
        await publisher
        await publish_until_heard(broker, hub, "admin", "last")
        heard = hub.heard["admin"]
        assert heard.count(GAP) == 20
        _assert_holes_are_told(heard[:-1])


def _assert_holes_are_told(heard: list[Any]) -> None:
    for before, after in pairwise(heard):
        assert GAP in (before, after) or after == before + 1
    numbers = [number for number in heard if number != GAP]
    assert numbers == sorted(set(numbers))


async def test_publisher_connections_killed_during_traffic_lose_only_what_was_refused(
    own_redis_server: RedisServer,
) -> None:
    async with running(own_redis_server.url) as (broker, hub):
        await subscribed(broker, hub, "admin")
        receipts = []
        for number in range(2_000):
            receipt = AwaitedReceipt()
            receipts.append(receipt)
            broker.publish(Publication("admin", "e", number), receipt)
            if number % 400 == 200:
                await asyncio.to_thread(own_redis_server.kill_clients, "normal")
            if number % 20 == 0:
                await asyncio.to_thread(own_redis_server.channels)  # Redis takes what was written before
        outcomes = await asyncio.gather(*(receipt.outcome() for receipt in receipts), return_exceptions=True)
        heard = hub.heard["admin"]
        assert heard == sorted(set(heard)), "in order and once"
        lost = {number for number, outcome in enumerate(outcomes) if isinstance(outcome, BrokerUnavailable)}
        assert set(range(2_000)) - set(heard) <= lost
        assert GAP not in heard


async def test_paused_redis_refuses_publications_in_time_and_goes_on_afterwards(
    own_redis_server: RedisServer,
) -> None:
    """SIGSTOP: the sockets are open and silent."""
    async with running(own_redis_server.url) as (broker, hub):
        await subscribed(broker, hub, "admin")
        own_redis_server.pause()
        await asyncio.gather(*(is_refused(broker) for _ in range(50)))
        await is_refused(broker)
        own_redis_server.resume()
        await publish_until_heard(broker, hub, "admin", "after")
        assert len([value for value in hub.heard["admin"] if value == "after"]) == 1
        await passes(lambda: broker.is_up)


async def test_refused_publication_never_comes_after_a_later_one(own_redis_server: RedisServer) -> None:
    """What the network still holds of an old connection is closed off in Redis before anything new is sent."""
    async with (
        TcpProxy(own_redis_server.port) as proxy,
        running(proxy.url, RedisTimeouts(answer_seconds=0.4)) as (broker, hub),
    ):
        await subscribed(broker, hub, "admin")
        proxy.withholds = True
        await is_refused(broker)
        proxy.withholds = False
        await publish_until_heard(broker, hub, "admin", "later")
        proxy.release.set()
        await publish_until_heard(broker, hub, "admin", "last")
        with own_redis_server.client() as client:
            await passes(lambda: len(client.client_list(_type="normal")) == 2)
        assert hub.heard["admin"] == ["later", "last"]


async def test_half_open_connection_is_found_out(own_redis_server: RedisServer) -> None:
    """H3: neither FIN nor RST, just silence."""
    async with (
        TcpProxy(own_redis_server.port) as proxy,
        running(proxy.url, SHORT_TIMEOUTS) as (broker, hub),
    ):
        await subscribed(broker, hub, "admin")
        proxy.is_silent = True
        await passes(lambda: not broker.listener.is_up)
        assert not broker.is_up
        proxy.is_silent = False
        await publish_until_heard(broker, hub, "admin", 1)
        assert hub.heard["admin"] == [GAP, 1]


def test_patience_of_a_real_server_keeps_the_promises() -> None:
    """Half-open within 10 s, refusals within 2 s, `/ready` after 3 s, no messages within 30 s, dead nodes 15 s, figures
    2 s old; a Redis that cuts us off is heard again within 1 s. One that is there again is noticed by all processes
    before one that publishes gives up waiting for their word on the numbering, with two attempts a second at most."""
    assert DEFAULT_TIMEOUTS.silence_seconds + DEFAULT_TIMEOUTS.probe_seconds < 10.0
    assert DEFAULT_TIMEOUTS.answer_seconds < 2.0
    assert DEFAULT_TIMEOUTS.probe_late_seconds == 3.0
    assert DEFAULT_TIMEOUTS.probe_lost_seconds + DEFAULT_TIMEOUTS.probe_seconds < 30.0
    assert DEFAULT_TIMEOUTS.node_expiry_seconds + 2 * DEFAULT_TIMEOUTS.heartbeat_seconds < 15.0
    assert 2 * DEFAULT_TIMEOUTS.heartbeat_seconds <= 2.0
    assert FIRST_DELAY_SECONDS * 2**MAX_FAILURES_WHEN_ALIVE <= 0.8
    assert LEADING_SECONDS + LEADING_SPREAD_SECONDS < VOUCH_SECONDS
    assert 1 / (LEADING_SECONDS + LEADING_SPREAD_SECONDS / 2) + 1 / (MAX_DELAY_SECONDS / 2) <= 2.0


async def test_redis_that_answers_but_delivers_nothing_is_left(own_redis_server: RedisServer) -> None:
    """H4: PING is answered, messages are not delivered; only the probe notices."""
    async with (
        TcpProxy(own_redis_server.port) as proxy,
        running(proxy.url, SHORT_TIMEOUTS) as (broker, hub),
    ):
        await subscribed(broker, hub, "admin")
        proxy.keeps_messages_back = True
        await passes(lambda: not broker.is_up)
        connects = proxy.connects
        await passes(lambda: proxy.connects >= connects + 2)
        proxy.keeps_messages_back = False
        await passes(lambda: broker.is_up)
        await publish_until_heard(broker, hub, "admin", 1)
        assert hub.heard["admin"][-2:] == [GAP, 1]


async def test_output_buffer_cut_is_a_gap(own_redis_server: RedisServer) -> None:
    """H6: this process does not read for a while, Redis cuts it off; what arrived before is delivered, then a gap."""
    with own_redis_server.client() as client:
        client.config_set("client-output-buffer-limit", "pubsub 1mb 1mb 0")
        async with running(own_redis_server.url) as (broker, hub):
            await subscribed(broker, hub, "admin")
            for number in range(400):
                client.publish("fastws:channel:admin", b'{"event":"e","data":[%d,"%b"]}' % (number, b"x" * 100_000))
            await hub.until(lambda: GAP in hub.heard["admin"])
            client.publish("fastws:channel:admin", b'{"event":"e","data":"after"}')
            await hub.until(lambda: "after" in hub.heard["admin"])
            numbers = [value[0] for value in hub.heard["admin"][:-2]]
            assert numbers == list(range(len(numbers)))
            assert hub.heard["admin"][-2:] == [GAP, "after"]


async def test_process_that_was_held_up_itself_does_not_blame_redis(own_redis_server: RedisServer) -> None:
    async with running(own_redis_server.url, EASILY_HELD_UP) as (broker, hub):
        await subscribed(broker, hub, "admin")
        for number in (1, 2):
            receipt = AwaitedReceipt()
            broker.publish(Publication("admin", "e", number), receipt)
            await asyncio.sleep(0)
            if number == 1:
                time.sleep(2 * EASILY_HELD_UP.silence_seconds)
            assert await receipt.outcome() == (1, 0)
        assert broker.counters.broker_reconnects == 0
        assert hub.heard["admin"] == [1, 2]


async def test_client_pause_delays_messages_but_loses_and_doubles_none(own_redis_server: RedisServer) -> None:
    """H13: what others publish during a pause arrives afterwards, in order, once; the loop goes on meanwhile."""
    async with running(own_redis_server.url) as (broker, hub):
        await subscribed(broker, hub, "admin")

        def publish_a_hundred() -> None:
            with own_redis_server.client() as client:
                for number in range(100):
                    client.publish("fastws:channel:admin", b'{"event":"e","data":%d}' % number)

        with own_redis_server.client() as client:
            client.execute_command("CLIENT", "PAUSE", "3000", "ALL")
        publishing = asyncio.create_task(asyncio.to_thread(publish_a_hundred))
        await is_refused(broker)
        await publishing
        await hub.until(lambda: 99 in hub.heard["admin"])
        assert [value for value in hub.heard["admin"] if value != "refused"] == list(range(100))


async def test_wrong_password_is_told_once_and_the_right_one_lets_us_in(own_redis_server: RedisServer) -> None:
    own_redis_server.require_password("first")
    url = own_redis_server.url
    with own_redis_server.client() as client:
        client.config_set("requirepass", "second")
        own_redis_server.password = "second"
    with capture_logs() as logs:
        async with running(url, SHORT_TIMEOUTS) as (broker, _):
            assert not broker.is_up
            await is_refused(broker)
            with own_redis_server.client() as client:
                client.config_set("requirepass", "first")
            await passes(lambda: broker.is_up)
            own_redis_server.password = "first"
    reasons = {entry["reason"] for entry in logs if entry["log_level"] == "warning"}
    assert any(reason.startswith("WRONGPASS") for reason in reasons)
    assert len([entry for entry in logs if entry["log_level"] == "warning"]) == 2
    assert not any("first" in str(entry) or "second" in str(entry) for entry in logs)


@pytest.mark.parametrize(
    "answer",
    [
        "-NOAUTH Authentication required.",
        "-LOADING Redis is loading the dataset in memory",
        "-READONLY You can't write against a read only replica.",
        "-MOVED 3999 127.0.0.1:6381",
        "-OOM command not allowed when used memory > 'maxmemory'.",
        "-MASTERDOWN Link with MASTER is down",
        "HTTP/1.1 400 Bad Request",
        "$-7",
    ],
)
async def test_whatever_redis_answers_it_is_tried_again(own_redis_server: RedisServer, answer: str) -> None:
    """H9: first as the answer to everything on open connections and new ones, then Redis is itself again."""
    async with (
        TcpProxy(own_redis_server.port) as proxy,
        running(proxy.url, SHORT_TIMEOUTS) as (broker, hub),
    ):
        await subscribed(broker, hub, "admin")
        proxy.answer = answer.encode() + b"\r\n"
        await is_refused(broker)
        await passes(lambda: not broker.is_up)
        proxy.answer = None
        await publish_until_heard(broker, hub, "admin", "after")
        await passes(lambda: broker.is_up)


async def test_user_that_may_not_publish_hears_so_at_once(own_redis_server: RedisServer) -> None:
    with own_redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "listener", "on", ">pw", "+@all", "-publish", "&*", "~*")
    url = own_redis_server.url.replace("unix://", "unix://listener:pw@")
    # By no time limit, of which this one has none to speak of.
    async with running(url, RedisTimeouts(answer_seconds=2 * PATIENCE_SECONDS)) as (broker, hub):
        await subscribed(broker, hub, "admin")
        await is_refused(broker)
        with own_redis_server.client() as client:
            client.publish("fastws:channel:admin", b'{"event":"e","data":"heard"}')
        await hub.until(lambda: "heard" in hub.heard["admin"])


async def test_backlog_is_bounded(own_redis_server: RedisServer) -> None:
    async with running(own_redis_server.url) as (broker, _):
        own_redis_server.pause()
        receipts = [AwaitedReceipt() for _ in range(30_000)]
        for receipt in receipts:
            broker.publish(Publication("admin", "e", "x" * 100), receipt)
        refused_at_once = sum(receipt.future.done() for receipt in receipts)
        # What waited before, as the payload of the probe, is no more than a few.
        assert len(receipts) - MAX_WAITING <= refused_at_once <= len(receipts) - MAX_WAITING + 10
        futures = (receipt.future for receipt in receipts)
        outcomes = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), PATIENCE_SECONDS)
        assert all(isinstance(outcome, BrokerUnavailable) for outcome in outcomes)
