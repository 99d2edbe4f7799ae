"""The commander without a socket: order, limits, times, and what a lost connection does to each command."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis
import pytest

from fastws.brokers.redis.wire.commander import MAX_IN_FLIGHT, MAX_WAITING, MAX_WAITING_BYTES, RedisCommander
from fastws.brokers.redis.wire.resp import pack
from fastws.brokers.redis.wire.timeouts import RedisTimeouts
from fastws.errors import BrokerUnavailable, OutcomeUnknown
from tests.brokers.redis.stepped_loop import SteppedLoop

TIMES = RedisTimeouts()
OK = b"+OK\r\n"


class Wire:
    """A transport that keeps what is written, and that loses its connection when it is aborted."""

    def __init__(self, commander: RedisCommander) -> None:
        self.written = b""
        self._commander = commander

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self._commander.connection_lost(None)

    def commands(self) -> list[list[bytes]]:
        """What was written since the last call, as Redis reads it."""
        reader = hiredis.Reader()
        reader.feed(self.written)
        self.written = b""
        return list(iter(reader.gets, False))


class Life:
    """A commander, what it has called, and a loop whose time the test decides."""

    def __init__(self) -> None:
        self.loop = SteppedLoop()
        self.events: list[str] = []
        self.read_only: list[str] = []
        self.replies: list[Any] = []
        self.commander = RedisCommander(
            "fastws-1-commands",
            lambda: self.events.append("up"),
            lambda reason: self.events.append(f"down: {reason}"),
            TIMES,
            self.read_only.append,
        )
        self.wire = Wire(self.commander)

    def connect(self, client_id: int = 7) -> None:
        with self.loop.running():
            self.wire = Wire(self.commander)
            self.commander.connected(self.wire, client_id)  # type: ignore[arg-type] # it has what is used

    def send(self, *words: bytes | str, is_bound: bool = False) -> None:
        with self.loop.running():
            self.commander.send(pack(*words), self.replies.append, is_bound=is_bound)

    def receive(self, data: bytes) -> None:
        with self.loop.running():
            self.commander.data_received(data)

    def lose(self) -> None:
        with self.loop.running():
            self.commander.connection_lost(None)

    def wait(self, seconds: float) -> None:
        asyncio._set_running_loop(self.loop)  # type: ignore[attr-defined]
        try:
            self.loop.advance(seconds)
        finally:
            asyncio._set_running_loop(None)  # type: ignore[attr-defined]

    def kinds(self) -> list[type]:
        return [type(reply) for reply in self.replies]


@pytest.fixture
def life() -> Life:
    return Life()


def test_commands_of_one_iteration_are_one_write_and_get_their_replies_in_order(life: Life) -> None:
    life.connect()
    writes: list[bytes] = []
    life.wire.write = writes.append  # type: ignore[method-assign] # to see the single writes
    with life.loop.running():
        for word in (b"a", b"b", b"c"):
            life.commander.send(pack(b"ECHO", word), life.replies.append)
        assert writes == []
    assert writes == [pack(b"ECHO", b"a") + pack(b"ECHO", b"b") + pack(b"ECHO", b"c")]
    life.receive(b"$1\r\na\r\n$1\r\nb\r\n$1\r")
    assert life.replies == [b"a", b"b"]
    life.receive(b"\nc\r\n")
    assert life.replies == [b"a", b"b", b"c"]


def test_what_was_given_before_the_connection_is_sent_after_it_is_up(life: Life) -> None:
    life.send(b"SET", b"k", b"1")
    assert life.replies == []
    life.connect()
    assert life.events == ["up"]
    assert life.wire.commands() == [[b"SET", b"k", b"1"]]


def test_a_lost_connection_tells_what_was_sent_from_what_was_not(life: Life) -> None:
    life.connect()
    life.send(b"SET", b"sent", b"1")
    with life.loop.running():
        life.commander.pause_writing()
    life.send(b"SET", b"waiting", b"1")
    life.send(b"SET", b"bound", b"1", is_bound=True)
    life.lose()
    assert life.events == ["up", "down: closed by Redis"]
    assert life.kinds() == [OutcomeUnknown, BrokerUnavailable]
    life.connect(client_id=8)
    life.receive(b"$-1\r\n")  # the old connection is gone from Redis
    assert life.wire.commands()[-1] == [b"SET", b"waiting", b"1"]
    life.receive(OK)
    assert life.replies[-1] == b"OK"


def test_a_new_connection_with_the_number_of_the_old_one_does_not_close_itself(life: Life) -> None:
    """Another Redis, or one that has restarted, counts from the start."""
    life.connect(client_id=7)
    life.lose()
    life.connect(client_id=7)
    assert life.wire.commands() == []
    assert life.events == ["up", "down: closed by Redis", "up"]


def test_a_new_connection_first_closes_the_old_one_in_redis(life: Life) -> None:
    life.connect(client_id=7)
    life.send(b"SET", b"k", b"1")
    life.lose()
    life.connect(client_id=8)
    assert life.wire.commands() == [[b"CLIENT", b"LIST", b"ID", b"7"]]
    assert life.events == ["up", "down: closed by Redis"]
    line = b"id=7 addr=1 name=fastws-1-commands db=0"
    life.receive(b"$%d\r\n%b\r\n" % (len(line), line))
    assert life.wire.commands() == [[b"CLIENT", b"KILL", b"ID", b"7"]]
    assert not life.commander.is_up
    life.receive(b":1\r\n")
    assert life.commander.is_up


def test_a_client_with_another_name_is_not_closed(life: Life) -> None:
    life.connect(client_id=7)
    life.lose()
    life.connect(client_id=8)
    life.wire.commands()
    line = b"id=7 addr=1 name=somebody db=0"
    life.receive(b"$%d\r\n%b\r\n" % (len(line), line))
    assert life.wire.commands() == []
    assert life.commander.is_up


def test_without_an_answer_in_time_the_command_is_refused_and_the_connection_closed(life: Life) -> None:
    life.connect()
    life.send(b"SET", b"k", b"1")
    life.wait(TIMES.answer_seconds - 0.01)
    assert life.replies == []
    life.wait(0.01)
    assert life.kinds() == [OutcomeUnknown]
    assert life.events[-1] == f"down: no answer within {TIMES.answer_seconds} s"


def test_a_timer_that_was_delayed_by_this_process_waits_for_replies_in_the_socket(life: Life) -> None:
    life.connect()
    life.send(b"SET", b"k", b"1")
    life.loop.now += TIMES.answer_seconds + 5
    life.wait(0)
    assert life.replies == []
    life.receive(OK)
    life.wait(10)
    assert life.replies == [b"OK"]
    assert life.commander.is_up


def test_nothing_more_is_sent_to_a_redis_that_has_stalled(life: Life) -> None:
    life.connect()
    life.send(b"SET", b"first", b"1")
    life.wire.commands()
    life.wait(TIMES.stall_seconds + 0.01)
    life.send(b"SET", b"second", b"1")
    assert life.wire.commands() == []
    life.wait(TIMES.answer_seconds)
    assert life.kinds() == [OutcomeUnknown, BrokerUnavailable]


def test_while_redis_is_away_commands_wait_no_longer_than_an_answer_may_take(life: Life) -> None:
    life.connect()
    life.lose()
    life.send(b"SET", b"k", b"1")
    life.wait(TIMES.answer_seconds)
    assert life.kinds() == [BrokerUnavailable]
    life.wait(0.01)
    life.send(b"SET", b"k", b"1")
    assert life.kinds() == [BrokerUnavailable] * 2


@pytest.mark.parametrize(("count", "size"), [(MAX_WAITING, 1), (2, MAX_WAITING_BYTES // 2)])
def test_too_many_waiting_commands_are_refused_at_once(life: Life, count: int, size: int) -> None:
    with life.loop.running():
        for _ in range(count):
            life.commander.send(b"x" * size, life.replies.append)
        assert life.replies == []
        life.commander.send(b"x", life.replies.append)
    (error,) = life.replies
    assert isinstance(error, BrokerUnavailable)
    assert "too many commands wait for Redis" in error.message


def test_no_more_than_a_limit_is_in_flight(life: Life) -> None:
    life.connect()
    with life.loop.running():
        for _ in range(MAX_IN_FLIGHT + 1):
            life.commander.send(pack(b"PING"), life.replies.append)
    assert len(life.wire.commands()) == MAX_IN_FLIGHT
    life.receive(b"+PONG\r\n")
    assert life.wire.commands() == [[b"PING"]]


def test_the_error_of_one_callback_does_not_cost_the_replies_after_it(life: Life) -> None:
    def fail(_: object) -> None:
        raise ValueError("a bug")

    life.connect()
    with life.loop.running():
        life.commander.send(pack(b"PING"), fail)
        life.commander.send(pack(b"PING"), life.replies.append)
    life.receive(b"+PONG\r\n" * 2)
    assert life.replies == [b"PONG"]


def test_a_refused_write_is_reported_as_read_only_and_answered(life: Life) -> None:
    life.connect()
    life.send(b"SET", b"k", b"1")
    life.receive(b"-READONLY You can't write against a read only replica.\r\n")
    assert life.kinds() == [hiredis.ReplyError]
    assert life.read_only == ["READONLY You can't write against a read only replica."]


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+a reply to nothing\r\n"])
def test_a_server_that_is_not_redis_is_left(life: Life, data: bytes) -> None:
    life.connect()
    life.receive(data)
    assert life.events == ["up", "down: the server at this address is not Redis"]


async def test_call_raises_what_redis_refuses_with_the_text_of_redis_as_cause() -> None:
    life = Life()
    life.commander.connected(life.wire, 7)  # type: ignore[arg-type] # it has what is used

    async def after(call: Callable[[], Any], reply: bytes) -> Any:
        task = asyncio.ensure_future(call())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        life.commander.data_received(reply)
        return await task

    assert await after(lambda: life.commander.call(b"GET", b"k"), b"$1\r\nv\r\n") == b"v"
    with pytest.raises(BrokerUnavailable) as caught:
        await after(lambda: life.commander.call(b"GET", b"k"), b"-NOPERM this user has no permissions\r\n")
    assert caught.value.cause == "NOPERM this user has no permissions"
    assert life.wire.commands() == [[b"GET", b"k"]] * 2


def test_what_is_sent_before_a_scheduled_flush_goes_with_it() -> None:
    life = Life()
    life.connect()
    order: list[list[list[bytes]]] = []
    with life.loop.running():
        life.loop.call_soon(lambda: life.commander.send(pack("PING"), life.replies.append))
        life.commander.flush_soon()
        life.loop.call_soon(lambda: order.append(life.wire.commands()))
    assert order == [[[b"PING"]]]


def test_bound_commands_that_are_sent_while_others_are_refused_are_refused_too(life: Life) -> None:
    life.connect()
    with life.loop.running():
        life.commander.pause_writing()

        def again(reply: object) -> None:
            life.replies.append(reply)
            if len(life.replies) < 3:
                life.commander.send(pack("SET", "again", "1"), again, is_bound=True)

        life.commander.send(pack("SET", "first", "1"), again, is_bound=True)
    life.lose()
    assert life.kinds() == [BrokerUnavailable] * 3
    life.connect(8)
    life.receive(b"$-1\r\n")
    assert all(words[0] != b"SET" for words in life.wire.commands())
