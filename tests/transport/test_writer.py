"""Data that a socket does not take at once: it is queued, written in order, and counted by its outcome."""

from __future__ import annotations

import asyncio

import pytest

from fastws.hub import fan_out, tick
from fastws.hub.channel import Chunk
from fastws.hub.ports import ENQUEUED, GONE
from fastws.server.server import Server
from fastws.vocabulary.publication import Publication
from tests.serving import Serve
from tests.transport.pipes import connect, say

FRAME = b'\x81\x0d{"event":"e"}'


def chunk(policy: str = "disconnect") -> Chunk:
    return Chunk("c", policy, [FRAME], FRAME, ["e"])


def publish(server: Server, channel: str, *events: str) -> None:
    for event in events:
        server.hub.deliver(Publication(channel, event, "x"))


async def test_a_client_that_has_read_meanwhile_gets_the_chunk_directly(serve: Serve) -> None:
    pipe, connection = connect(await serve(), "c")
    pipe.take(0)
    connection.write_control(FRAME)
    assert connection.send(FRAME)
    pipe.take()
    assert connection.enqueue(chunk()) is ENQUEUED
    assert pipe.events == ["subscription_succeeded", "e", "e"]


async def test_a_closed_client_queues_and_refuses_nothing(serve: Serve) -> None:
    pipe, connection = connect(await serve(), "c")
    pipe.take(0)
    connection.write_control(FRAME)
    connection.end(1000, "", label="test")
    assert connection.enqueue(chunk()) is GONE
    pipe.take()
    assert pipe.events == ["subscription_succeeded", "e", 1000]


async def test_queued_data_is_written_in_order_when_the_client_reads(serve: Serve) -> None:
    server = await serve()
    pipe, connection = connect(server, "c")
    pipe.take(0)
    for event in ("1", "2", "3"):
        publish(server, "c", event)
        server.hub.flush()
    say(connection, {"action": "ping"})
    assert connection.waiting is not None
    pipe.take()
    assert connection.waiting is None
    assert pipe.events == ["subscription_succeeded", "1", "2", "3", "pong"]


@pytest.fixture
def _slices_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "SLICE", 2)
    monkeypatch.setattr(tick, "WRITES_PER_TURN", 2)


@pytest.mark.usefixtures("_slices_of_two")
async def test_requests_of_others_leave_a_long_write_phase_in_its_slices(serve: Serve) -> None:
    server = await serve()
    crowd = [connect(server, "big")[0] for _ in range(6)]
    pipe, connection = connect(server, "mine")
    other, target = connect(server, "theirs")
    publish(server, "big", "e")
    await asyncio.sleep(0)
    publish(server, "mine", "before")
    publish(server, "theirs", "before")
    for message in (
        {"action": "subscribe", "channel": "new"},
        {"action": "unsubscribe", "channel": "big"},
        {"action": "send", "connectionId": target.id, "event": "direct"},
        {"action": "unsubscribe", "channel": "mine"},
        {"action": "send", "connectionId": connection.id, "event": "to oneself"},
    ):
        say(connection, message)
    assert pipe.events == [
        "subscription_succeeded",
        "subscription_succeeded",
        "unsubscribe_succeeded",
        "send_success",
        "before",
        "unsubscribe_succeeded",
        "to oneself",
        "send_success",
    ]
    assert other.events == ["subscription_succeeded", "before", "direct"]
    assert sum("e" in member.events for member in crowd) == 2
    await server.cluster.close(target.id)
    assert sum("e" in member.events for member in crowd) == 2
    server.hub.flush()
    assert all(member.events == ["subscription_succeeded", "e"] for member in crowd)


@pytest.mark.usefixtures("_slices_of_two")
async def test_a_late_notice_does_not_wait_for_other_channels(serve: Serve) -> None:
    """Nothing newer on its channel may overtake it in the turns that another channel still needs."""
    server = await serve()
    for _ in range(6):
        connect(server, "big")
    pipe, _ = connect(server, "c")
    publish(server, "big", "e")
    await asyncio.sleep(0)
    publish(server, "c", "1")
    server.hub.gap("c")
    publish(server, "c", "2")
    server.hub.flush()
    assert pipe.events == ["subscription_succeeded", "1", "gap", "2"]


async def test_a_client_closed_by_the_flush_before_a_direct_message_does_not_get_it(serve: Serve) -> None:
    server = await serve(max_queue_messages=1)
    pipe, slow = connect(server, "c")
    asker, connection = connect(server)
    pipe.take(0)
    connection_id = slow.id
    for number in range(40):
        publish(server, "c", str(number))
        server.hub.flush()
        if slow.is_gone:
            break
        if slow.waiting is not None and slow.waiting[0]:
            slow.outbox._since -= 1.0  # type: ignore[union-attr] # it has been behind for a second
            break
    publish(server, "c", "too much")
    say(connection, {"action": "send", "connectionId": connection_id, "event": "direct"})
    assert slow.is_gone
    assert [(m["sent"], m["failed"]) for m in asker.messages] == [(0, 1)]


@pytest.mark.usefixtures("_slices_of_two")
async def test_a_client_in_several_channels_gets_one_write_a_turn_of_a_flush_over_several(serve: Serve) -> None:
    server = await serve()
    pipe, _ = connect(server, "a", "b", "c")
    connect(server, "a")
    before = len(pipe.writes)
    for name in ("a", "b", "c"):
        publish(server, name, name)
    await asyncio.sleep(0)
    assert pipe.events[3:] == ["a"]
    await asyncio.sleep(0)
    assert pipe.events[3:] == ["a", "b", "c"]
    assert len(pipe.writes) == before + 2


@pytest.mark.parametrize("policy", ["disconnect", "drop_oldest", "drop_newest", "conflate"])
async def test_a_queue_that_overflows_is_counted_once_each_time(serve: Serve, policy: str) -> None:
    server = await serve(max_queue_messages=2, max_queue_bytes=5000, slow_policy=(policy,))
    pipe, connection = connect(server, "c")
    rounds = 1 if policy == "disconnect" else 2
    for number in range(1, rounds + 1):
        pipe.take(0)
        connection.write_control(FRAME)
        assert connection.outbox is not None
        connection.outbox._since -= 1.0  # it has not read for a second
        server.hub.deliver(Publication("c", "too large for any queue", "x" * 6000))
        server.hub.flush()
        publish(server, "c", "1", "2")
        server.hub.flush()
        assert server.counters.slow_consumers[policy] == number - 1
        for event in ("3", "4"):
            publish(server, "c", event)
            server.hub.flush()
        assert server.counters.slow_consumers == {policy: number}
        pipe.take()
    assert connection.is_gone is (policy == "disconnect")


async def test_a_direct_message_that_is_refused_is_no_slow_policy(serve: Serve) -> None:
    server = await serve(max_queue_messages=1)
    pipe, connection = connect(server)
    pipe.take(0)
    connection.write_control(FRAME)
    publication = Publication("", "direct")
    assert [connection.session.deliver_direct(publication) for _ in range(2)] == [True, False]
    assert server.counters.slow_consumers == {}
    assert server.counters.dropped == {"direct": 1}


async def test_a_bulk_publisher_is_read_again_as_soon_as_its_slow_subscriber_has_read(serve: Serve) -> None:
    server = await serve()
    pipe, _ = connect(server, "c")
    publishing, publisher = connect(server)
    pipe.take(0)
    say(publisher, {"action": "send", "channel": "c", "event": "e", "data": "x" * 70_000})
    server.hub.flush()
    assert not publishing.is_reading
    pipe.take()
    assert publishing.is_reading
    assert publisher.publisher_pause is None


@pytest.mark.parametrize("how", ["reads", "closes"])
async def test_only_clients_whose_socket_is_blocked_are_looked_at_for_the_queue_metrics(serve: Serve, how: str) -> None:
    server = await serve()
    (pipe, connection), (_, other) = connect(server, "c"), connect(server, "c")
    assert server.roster.blocked == set()
    pipe.take(0)
    publish(server, "c", "1")
    server.hub.flush()
    assert server.roster.blocked == {connection}
    assert other in server.roster
    if how == "reads":
        pipe.take()
    else:
        connection.end(1000, "", label="test")
        connection.pause_writing()
    assert server.roster.blocked == set()
