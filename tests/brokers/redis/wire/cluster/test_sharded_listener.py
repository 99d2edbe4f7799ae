"""The sharded listener without a socket: one command per slot, and subscriptions that the node ends by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws.brokers.redis.wire.cluster.sharded_listener import ShardedListener
from fastws.brokers.redis.wire.cluster.slots import key_slot
from tests.brokers.redis.wire.test_listener import Wire, push


def moved(name: bytes) -> bytes:
    return b"-MOVED %d 127.0.0.1:7002\r\n" % key_slot(name)


class Log:
    """Everything that the listener calls, in order. Names that begin with `feed` are classic."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.listener = ShardedListener(
            lambda name, payload: self.events.append((name, payload)),
            lambda name: self.events.append(("subscribed", name)),
            lambda: None,
            lambda reason: self.events.append(("down", reason)),
            lambda names, name, reason: self.events.append(("refused", names, name)),
            is_classic=lambda name: name.startswith(b"feed"),
            on_ended=lambda names: self.events.append(("ended", names)),
        )
        self.wire = Wire()
        self.listener.connected(self.wire, 1)  # type: ignore[arg-type]

    async def sent(self) -> list[list[bytes]]:
        await asyncio.sleep(0)
        return self.wire.commands()

    def answer(self, *data: bytes) -> list[Any]:
        """What the listener calls when `data` arrives."""
        self.events.clear()
        self.listener.data_received(b"".join(data))
        return list(self.events)


async def subscribed(*names: tuple[bytes, ...]) -> Log:
    """A listener that is subscribed to `names`."""
    log = Log()
    for each in names:
        log.listener.want(each)
    for command in await log.sent():
        log.answer(*(push(command[0].lower(), name, 1) for name in command[1:]))
    return log


async def test_one_command_for_each_slot_and_one_for_all_classic_names() -> None:
    log = Log()
    for names in ((b"{a}:1",), (b"{b}:1",), (b"{a}:2",), (b"{c}:1", b"feed"), (b"feed2",)):
        log.listener.want(names)
    assert await log.sent() == [
        [b"SSUBSCRIBE", b"{a}:1", b"{a}:2"],
        [b"SSUBSCRIBE", b"{b}:1"],
        [b"SSUBSCRIBE", b"{c}:1"],
        [b"SUBSCRIBE", b"feed", b"feed2"],
    ]
    log.listener.drop((b"{c}:1", b"feed"))
    log.listener.drop((b"{a}:1",))
    assert await log.sent() == [[b"SUNSUBSCRIBE", b"{c}:1"], [b"SUNSUBSCRIBE", b"{a}:1"], [b"UNSUBSCRIBE", b"feed"]]


@pytest.mark.parametrize("resp", [2, 3])
async def test_messages_of_both_kinds_and_confirmations_are_told(resp: int) -> None:
    log = Log()
    log.listener.want((b"{c}:1", b"feed"))
    await log.sent()
    events = log.answer(
        push(b"ssubscribe", b"{c}:1", 1, resp=resp),
        push(b"subscribe", b"feed", 1, resp=resp),
        push(b"smessage", b"{c}:1", b"one", resp=resp),
        push(b"message", b"feed", b"two", resp=resp),
    )
    assert events == [("subscribed", b"{c}:1"), ("subscribed", b"feed"), (b"{c}:1", b"one"), (b"feed", b"two")]


@pytest.mark.parametrize("resp", [2, 3])
async def test_subscription_that_the_node_ends_is_told_and_asked_for_only_on_demand(resp: int) -> None:
    log = await subscribed((b"a",), (b"b",))
    assert log.answer(push(b"sunsubscribe", b"a", 1, resp=resp)) == [("ended", (b"a",))]
    assert await log.sent() == []
    log.listener.ask_again((b"a",))
    log.listener.ask_again((b"b",))
    assert await log.sent() == [[b"SSUBSCRIBE", b"a"]]
    assert log.answer(push(b"ssubscribe", b"a", 1, resp=resp)) == [("subscribed", b"a")]


async def test_classic_names_beside_an_ended_one_are_given_up_too() -> None:
    log = await subscribed((b"a", b"feed"))
    assert log.answer(push(b"sunsubscribe", b"a", 0)) == [("ended", (b"a", b"feed"))]
    assert await log.sent() == [[b"UNSUBSCRIBE", b"feed"]]
    assert log.answer(push(b"unsubscribe", b"feed", 0)) == []
    log.listener.drop((b"a", b"feed"))
    assert await log.sent() == []


async def test_ended_subscription_that_nobody_wants_is_no_news() -> None:
    log = await subscribed((b"a",))
    log.listener.drop((b"a",))
    assert await log.sent() == [[b"SUNSUBSCRIBE", b"a"]]
    # The node has ended it before it read the command, which it then refuses.
    assert log.answer(push(b"sunsubscribe", b"a", 0), push(b"sunsubscribe", b"a", 0)) == []


async def test_refused_slot_ends_all_names_of_the_command_and_nothing_else() -> None:
    log = Log()
    for name in (b"{a}:1", b"{b}:1", b"{a}:2"):
        log.listener.want((name,))
    await log.sent()
    assert log.answer(moved(b"a"), push(b"ssubscribe", b"{b}:1", 1)) == [
        ("ended", (b"{a}:1",)),
        ("ended", (b"{a}:2",)),
        ("subscribed", b"{b}:1"),
    ]
    assert not log.wire.is_aborted


async def test_refused_unsubscription_is_as_good_as_a_confirmed_one() -> None:
    log = await subscribed((b"a",), (b"b",))
    log.listener.drop((b"a",))
    await log.sent()
    assert log.answer(moved(b"a")) == []
    log.listener.want((b"a",))
    assert await log.sent() == [[b"SSUBSCRIBE", b"a"]]
    assert log.answer(push(b"ssubscribe", b"a", 1)) == [("subscribed", b"a")]
    assert not log.wire.is_aborted


async def test_confirmation_out_of_turn_replaces_the_connection() -> None:
    log = Log()
    log.listener.want((b"a",))
    log.listener.want((b"b",))
    await log.sent()
    assert log.answer(push(b"ssubscribe", b"b", 1)) == []
    assert log.wire.is_aborted


async def test_ping_is_answered_between_subscriptions() -> None:
    log = Log()
    log.listener.ping()
    log.listener.want((b"a",))
    await log.sent()
    assert log.answer(push(b"pong", b""), push(b"ssubscribe", b"a", 1)) == [("subscribed", b"a")]


async def test_forbidden_name_is_found_and_its_others_are_dropped() -> None:
    log = Log()
    log.listener.want((b"a", b"feed"))
    await log.sent()
    refusal = b"-NOPERM this user has no permissions to access one of the channels used as arguments\r\n"
    assert log.answer(refusal, push(b"subscribe", b"feed", 1)) == [("refused", (b"a", b"feed"), b"a")]
    assert await log.sent() == [[b"UNSUBSCRIBE", b"feed"]]


@pytest.mark.parametrize("others", [(), (b"b",)])
async def test_move_that_crosses_an_unsubscription_concerns_nothing_else(others: tuple[bytes, ...]) -> None:
    log = await subscribed((b"a",))
    log.listener.drop((b"a",))
    for name in others:
        log.listener.want((name,))
    await log.sent()
    # The node has ended the subscription before it read the command, which it then refuses.
    ended = push(b"sunsubscribe", b"a", 0)
    # Redis answers in the order of the commands: SSUBSCRIBE b, SUNSUBSCRIBE a.
    assert log.answer(ended, *(push(b"ssubscribe", name, 1) for name in others), moved(b"a")) == [
        ("subscribed", name) for name in others
    ]
    log.listener.ping()
    log.answer(push(b"pong", b""))
    assert not log.wire.is_aborted
    assert not log.listener._sent


async def test_refusal_of_a_finished_command_leaves_the_next_one_its_own_answer() -> None:
    log = await subscribed((b"a",))
    log.listener.drop((b"a",))
    await log.sent()
    log.listener.want((b"b",))
    await log.sent()
    events = log.answer(push(b"sunsubscribe", b"a", 0), moved(b"a"), push(b"ssubscribe", b"b", 1))
    assert events == [("subscribed", b"b")]
    assert not log.wire.is_aborted
