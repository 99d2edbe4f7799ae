"""The listener without a socket: bytes cut anywhere, confirmations counted, names in batches."""

from __future__ import annotations

import asyncio
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.brokers.redis.wire.listener import BATCH, TURN, RedisListener


class Wire:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.written = b""
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.is_aborted = True

    def commands(self) -> list[list[bytes]]:
        """What was written since the last call, as Redis reads it."""
        reader = hiredis.Reader()
        reader.feed(self.written)
        self.written = b""
        return list(iter(reader.gets, False))


class Log:
    """Everything that a listener calls, in order."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.listener = RedisListener(
            lambda name, payload: self.events.append((name, payload)),
            lambda name: self.events.append(("subscribed", name)),
            lambda: self.events.append("up"),
            lambda reason: self.events.append(("down", reason)),
            lambda names, name, reason: self.events.append(("refused", names, name)),
        )
        self.wire = Wire()

    def connect(self) -> None:
        self.listener.connected(self.wire, 1)  # type: ignore[arg-type]


def push(*items: bytes | int, resp: int = 2) -> bytes:
    parts = [b":%d\r\n" % item if isinstance(item, int) else b"$%d\r\n%b\r\n" % (len(item), item) for item in items]
    return b"%b%d\r\n" % (b"*" if resp == 2 else b">", len(items)) + b"".join(parts)


@given(
    payloads=st.lists(st.binary(max_size=50), min_size=1, max_size=20),
    cuts=st.lists(st.integers(0, 2000), max_size=20),
    resp=st.sampled_from((2, 3)),
)
def test_messages_are_the_same_however_the_bytes_are_cut(payloads: list[bytes], cuts: list[int], resp: int) -> None:
    log = Log()
    data = b"".join(push(b"message", b"c", payload, resp=resp) for payload in payloads)
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        log.listener.data_received(data[start:end])
    assert log.events == [(b"c", payload) for payload in payloads]


async def test_channel_is_confirmed_when_the_last_of_its_commands_is() -> None:
    log = Log()
    log.connect()
    for change in (log.listener.want, log.listener.drop, log.listener.want):
        change((b"c",))
        await asyncio.sleep(0)
    assert log.wire.commands() == [[b"SUBSCRIBE", b"c"], [b"UNSUBSCRIBE", b"c"], [b"SUBSCRIBE", b"c"]]
    log.listener.data_received(push(b"subscribe", b"c", 1))
    log.listener.data_received(push(b"unsubscribe", b"c", 0))
    assert log.events == ["up"]
    log.listener.data_received(push(b"subscribe", b"c", 1))
    assert log.events == ["up", ("subscribed", b"c")]


async def test_what_changes_back_within_a_turn_is_not_told_to_redis() -> None:
    log = Log()
    log.connect()
    log.listener.want((b"c",))
    log.listener.drop((b"c",))
    await asyncio.sleep(0)
    assert log.wire.commands() == []
    log.listener.want((b"c",))
    await asyncio.sleep(0)
    log.listener.data_received(push(b"subscribe", b"c", 1))
    log.wire.commands()
    log.listener.drop((b"c",))
    log.listener.want((b"c",))
    await asyncio.sleep(0)
    assert log.wire.commands() == []
    assert log.events == ["up", ("subscribed", b"c"), ("subscribed", b"c")]


async def test_names_go_in_batches_and_those_of_one_channel_together() -> None:
    log = Log()
    for number in range(2 * BATCH + 10):
        log.listener.want((b"a%d" % number, b"b%d" % number))
    log.connect()
    await asyncio.sleep(0)
    commands = log.wire.commands()
    assert [len(command) - 1 for command in commands] == [2 * BATCH, 2 * BATCH, 20]
    for command in commands:
        assert [name[1:] for name in command[1::2]] == [name[1:] for name in command[2::2]]


async def test_a_million_names_would_not_hold_up_the_loop() -> None:
    log = Log()
    for number in range(2 * TURN + 1):
        log.listener.want((b"%d" % number,))
    log.connect()
    turns = []
    for _ in range(3):
        await asyncio.sleep(0)
        turns.append(sum(len(command) - 1 for command in log.wire.commands()))
    assert turns == [TURN, TURN, 1]


async def test_new_connection_asks_for_what_is_wanted_now() -> None:
    log = Log()
    log.connect()
    log.listener.want((b"stays",))
    log.listener.want((b"goes",))
    await asyncio.sleep(0)
    log.listener.connection_lost(None)
    log.listener.drop((b"goes",))
    log.listener.want((b"comes",))
    log.wire = Wire()
    log.connect()
    await asyncio.sleep(0)
    assert log.wire.commands() == [[b"SUBSCRIBE", b"stays", b"comes"]]
    assert log.events == ["up", ("down", "closed by Redis"), "up"]


@pytest.mark.parametrize("data", [b"-NOPERM no\r\n", b"?what\r\n", b"*1\r\n$-9\r\n", b"*0\r\n"])
async def test_refusal_or_nonsense_ends_the_connection(data: bytes) -> None:
    log = Log()
    log.connect()
    log.listener.data_received(data)
    assert log.wire.is_aborted
    log.listener.connection_lost(None)
    assert log.events[-1] in (("down", "NOPERM no"), ("down", "the server at this address is not Redis"))


@pytest.mark.parametrize("pong", [push(b"pong", b""), b"+PONG\r\n"])
async def test_pong_is_a_sign_of_life_and_nothing_else(pong: bytes) -> None:
    log = Log()
    log.connect()
    log.listener.ping()
    assert log.wire.commands() == [[b"PING"]]
    log.listener.heard_at = 0.0
    log.listener.data_received(pong)
    assert log.listener.heard_at > 0.0
    assert log.events == ["up"]


async def test_each_connection_ends_for_its_own_first_reason() -> None:
    log = Log()
    log.listener.give_up("there is none to end")
    log.connect()
    log.listener.connection_lost(None)
    log.connect()
    log.listener.give_up("first")
    log.listener.give_up("second")
    log.listener.connection_lost(None)
    assert log.events == ["up", ("down", "closed by Redis"), "up", ("down", "first")]


REFUSED = b"-NOPERM No permissions to access a channel\r\n"


def subscribed(*names: bytes) -> bytes:
    return b"".join(push(b"subscribe", name, 1) for name in names)


async def test_refused_name_is_found_one_by_one_and_the_others_are_heard() -> None:
    log = Log()
    for names in ((b"a",), (b"bad",), (b"ours", b"feed"), (b"z",)):
        log.listener.want(names)
    log.connect()
    await asyncio.sleep(0)
    assert log.wire.commands() == [[b"SUBSCRIBE", b"a", b"bad", b"ours", b"feed", b"z"]]
    log.listener.data_received(REFUSED)
    one_by_one = [b"a", b"bad", b"ours", b"feed", b"z"]
    assert log.wire.commands() == [[b"SUBSCRIBE", name] for name in one_by_one]
    log.listener.data_received(subscribed(b"a") + REFUSED + subscribed(b"ours", b"feed", b"z"))
    assert log.events == [
        "up",
        ("subscribed", b"a"),
        ("refused", (b"bad",), b"bad"),
        *(("subscribed", name) for name in (b"ours", b"feed", b"z")),
    ]
    assert not log.wire.is_aborted


@pytest.mark.parametrize(
    ("answers", "refused", "left"),
    [
        (subscribed(b"ours") + REFUSED, b"feed", [[b"UNSUBSCRIBE", b"ours"]]),
        (REFUSED + subscribed(b"feed"), b"ours", [[b"UNSUBSCRIBE", b"feed"]]),
        (REFUSED + REFUSED, b"ours", [[b"UNSUBSCRIBE", b"feed"]]),
    ],
)
async def test_channel_of_two_names_is_heard_at_both_or_at_none(
    answers: bytes, refused: bytes, left: list[list[bytes]]
) -> None:
    log = Log()
    log.listener.want((b"ours", b"feed"))
    log.connect()
    await asyncio.sleep(0)
    log.listener.data_received(REFUSED)
    log.wire.commands()
    log.listener.data_received(answers)
    assert log.wire.commands() == left
    log.listener.data_received(push(b"unsubscribe", left[0][1], 0))
    assert ("refused", (b"ours", b"feed"), refused) in log.events
    assert ("subscribed", b"feed") not in log.events
    assert [event for event in log.events if event[0] == "refused"] == [("refused", (b"ours", b"feed"), refused)]


async def test_refused_name_is_asked_for_alone_until_it_is_accepted() -> None:
    log = Log()
    log.listener.want((b"bad",))
    log.connect()
    await asyncio.sleep(0)
    log.listener.data_received(REFUSED)
    log.wire.commands()
    log.listener.want((b"good",))
    log.listener.ask_again((b"bad",))
    log.listener.ask_again((b"unknown",))
    await asyncio.sleep(0)
    assert log.wire.commands() == [[b"SUBSCRIBE", b"good"], [b"SUBSCRIBE", b"bad"]]
    log.listener.data_received(subscribed(b"good", b"bad"))
    log.listener.ask_again((b"bad",))
    await asyncio.sleep(0)
    assert log.wire.commands() == []
    for accepted, commands in (
        (False, [[b"SUBSCRIBE", b"good"], [b"SUBSCRIBE", b"bad"]]),
        (True, [[b"SUBSCRIBE", b"bad", b"good"]]),
    ):
        if accepted:
            log.listener.accepted((b"bad",))
        log.listener.connection_lost(None)
        log.connect()
        await asyncio.sleep(0)
        assert log.wire.commands() == commands


async def test_what_was_dropped_meanwhile_is_neither_asked_for_nor_told() -> None:
    log = Log()
    for names in ((b"a",), (b"b",)):
        log.listener.want(names)
    log.connect()
    await asyncio.sleep(0)
    log.listener.drop((b"a",))
    await asyncio.sleep(0)
    assert log.wire.commands() == [[b"SUBSCRIBE", b"a", b"b"], [b"UNSUBSCRIBE", b"a"]]
    log.listener.data_received(REFUSED + push(b"unsubscribe", b"a", 0))
    assert log.wire.commands() == [[b"SUBSCRIBE", b"b"]]
    log.listener.data_received(subscribed(b"b"))
    assert log.events == ["up", ("subscribed", b"b")]


async def test_each_error_is_that_of_its_own_command() -> None:
    """A PING and an UNSUBSCRIBE between subscriptions: what is refused there is refused for nobody else."""
    log = Log()
    log.listener.want((b"a",))
    log.connect()
    await asyncio.sleep(0)
    log.listener.ping()
    log.listener.drop((b"a",))
    log.listener.want((b"b",))
    await asyncio.sleep(0)
    assert [command[0] for command in log.wire.commands()] == [b"SUBSCRIBE", b"PING", b"SUBSCRIBE", b"UNSUBSCRIBE"]
    no_command = b"-NOPERM this user has no permissions to run the 'ping' command\r\n"
    log.listener.data_received(subscribed(b"a") + no_command + subscribed(b"b") + no_command)
    assert log.events == ["up", ("subscribed", b"b"), ("refused", (), b"UNSUBSCRIBE")]
    assert not log.wire.is_aborted


@pytest.mark.parametrize(
    "error",
    ["NOPERM this user has no permissions to run the 'subscribe' command", "LOADING Redis is loading", "ERR what"],
)
async def test_error_that_is_no_names_fault_ends_the_connection(error: str) -> None:
    log = Log()
    log.listener.want((b"a",))
    log.connect()
    await asyncio.sleep(0)
    log.listener.data_received(f"-{error}\r\n".encode())
    assert log.wire.is_aborted
    log.listener.connection_lost(None)
    assert log.events == ["up", ("down", error)]


async def test_commands_that_a_lost_connection_never_answered_explain_nothing_on_the_next() -> None:
    log = Log()
    log.listener.want((b"a",))
    log.listener.want((b"b",))
    log.connect()
    await asyncio.sleep(0)
    log.listener.ping()
    log.listener.connection_lost(None)
    log.listener.drop((b"a",))
    log.wire = Wire()
    log.connect()
    await asyncio.sleep(0)
    assert log.wire.commands() == [[b"SUBSCRIBE", b"b"]]
    log.listener.data_received(REFUSED)
    assert log.wire.commands() == []
    assert log.events[-1] == ("refused", (b"b",), b"b")


async def test_refused_name_that_was_dropped_is_asked_for_like_any_other() -> None:
    log = Log()
    log.listener.want((b"bad",))
    log.connect()
    await asyncio.sleep(0)
    log.listener.data_received(REFUSED)
    log.listener.drop((b"bad",))
    await asyncio.sleep(0)
    log.wire.commands()
    log.listener.want((b"bad",))
    log.listener.want((b"good",))
    await asyncio.sleep(0)
    assert log.wire.commands() == [[b"SUBSCRIBE", b"bad", b"good"]]
