"""The commander for one node of a Redis Cluster: follows slots that move, without changing the order of commands."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import hiredis

from fastws.brokers.redis.wire.cluster.slots import Node, Redirection, key_of, key_slot, redirection
from fastws.brokers.redis.wire.commander import Answered, Command, RedisCommander, Staying
from fastws.brokers.redis.wire.resp import pack

_PING: Final = pack(b"PING")
_ASKING: Final = pack(b"ASKING")


class Slots(Protocol):
    """The owners of the slots, as the commanders of the nodes learn them."""

    def commander_at(self, node: Node) -> RedisCommander:
        """Return the commander of `node`, which may be new."""
        ...

    def moved(self, slot: int, node: Node) -> RedisCommander:
        """`node` is the owner of `slot` from now on. Returns its commander."""
        ...


class _Moving:
    """A slot that has moved to `node`: the commands that came back, and those that were not sent meanwhile."""

    __slots__ = ("error", "later", "node", "refused")

    def __init__(self, node: Node, error: object) -> None:
        self.node = node
        self.error = error
        self.refused: list[Command] = []
        self.later: list[Command] = []


class ClusterCommander(RedisCommander):
    """A RedisCommander that publishes with SPUBLISH, except on names for which `is_classic` returns True.

    A command that the node refuses because of its slot (MOVED, ASK) is sent to the node that it names: it has not run.
    All commands for a slot stay in order: when the first comes back, later ones wait until everything that was sent
    before is answered. After MOVED, a command with `is_bound` is not sent elsewhere: its callback gets the error, once
    `slots` knows the new owner.
    """

    def __init__(self, *args: Any, node: Node, slots: Slots, is_classic: Callable[[bytes], bool]) -> None:
        super().__init__(*args)
        # Called before the commands for a slot that has moved are passed on: what belongs before them must be sent now.
        self.on_leaving: Callable[[], None] = _nothing
        self.node = node
        self._slots = slots
        self._is_classic = is_classic
        self._moving: dict[int, _Moving] = {}

    def publish(self, name: bytes, payload: bytes, answered: Answered) -> None:
        if self._is_classic(name):
            super().publish(name, payload, answered)
            return
        packed = b"*3\r\n$8\r\nSPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(name), name, len(payload), payload)
        if self._moving:
            self.send(packed, answered)
        else:
            RedisCommander.send(self, packed, answered)

    def publish_word(self, name: bytes) -> bytes:
        return b"PUBLISH" if self._is_classic(name) else b"SPUBLISH"

    def send(self, packed: bytes, answered: Answered, *, is_bound: bool = False) -> None:
        if self._moving:
            moving = self._moving.get(key_slot(key_of(packed)))
            if moving is not None:
                moving.later.append(Command(packed, answered, 0.0, is_bound))
                return
        super().send(packed, answered, is_bound=is_bound)

    def _answer(self, command: Command, reply: object) -> None:
        if isinstance(reply, hiredis.ReplyError) and command.packed:
            found = redirection(reply, self.node)
            if found is not None and not (found.is_asking and isinstance(command.answered, Staying)):
                self._redirect(command, found, reply)
                return
        RedisCommander._answer(self, command, reply)

    def _redirect(self, command: Command, found: Redirection, error: object) -> None:
        if found.is_asking:
            # On one connection, nothing comes between two commands that are given one after the other.
            other = self._slots.commander_at(found.node)
            other.send(_ASKING, _ignore, is_bound=True)
            other.send(command.packed, command.answered, is_bound=True)
        else:
            self._came_back(command, found, error)

    def _came_back(self, command: Command, found: Redirection, error: object) -> None:
        moving = self._moving.get(found.slot)
        if moving is None:
            moving = self._moving[found.slot] = _Moving(found.node, error)
            # Its answer comes after those of all commands that were sent before.
            super().send(_PING, partial(self._end_move, found.slot))
        moving.refused.append(command)

    def _end_move(self, slot: int, _: object) -> None:
        """Everything that was sent before the move became known is answered: send the rest to the new owner."""
        self.on_leaving()
        moving = self._moving.pop(slot)
        other = self._slots.moved(slot, moving.node)
        for command in (*moving.refused, *moving.later):
            if command.is_bound or other is self:
                super()._answer(command, moving.error)
            else:
                other.send(command.packed, command.answered)


def _nothing() -> None:
    """Nothing waits outside."""


def _ignore(reply: object) -> None:
    """ASKING has no result of its own."""
