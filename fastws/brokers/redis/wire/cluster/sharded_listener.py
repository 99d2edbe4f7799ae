"""The listener for one node of a Redis Cluster: sharded channels, in addition to classic ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import hiredis

from fastws.brokers.redis.wire.cluster.slots import key_slot
from fastws.brokers.redis.wire.listener import BATCH, Names, RedisListener, Sent

_SUBSCRIBE: Final = b"SUBSCRIBE"
_UNSUBSCRIBE: Final = b"UNSUBSCRIBE"
_SSUBSCRIBE: Final = b"SSUBSCRIBE"
_SUNSUBSCRIBE: Final = b"SUNSUBSCRIBE"
_VERBS: Final = {verb.lower(): verb for verb in (_SUBSCRIBE, _UNSUBSCRIBE, _SSUBSCRIBE, _SUNSUBSCRIBE)}
# By the classic verb the one for sharded channels.
_SHARDED: Final = {_SUBSCRIBE: _SSUBSCRIBE, _UNSUBSCRIBE: _SUNSUBSCRIBE}


class ShardedListener(RedisListener):
    """A RedisListener that subscribes with SSUBSCRIBE, except to names for which `is_classic` returns True.

    `on_ended(names)` is called when the node does not serve the slot of `names` any more: it has refused to subscribe
    (MOVED), or has ended the subscription, as it does when the slot moves or the node becomes a replica. They are not
    subscribed any more, and stay so until `ask_again` or `drop`. The other arguments are those of RedisListener.
    """

    def __init__(self, *callbacks: Any, is_classic: Callable[[bytes], bool], on_ended: Callable[[Names], None]) -> None:
        super().__init__(*callbacks)
        self._is_classic = is_classic
        self._on_ended = on_ended
        # The names that are subscribed together with others.
        self._together: dict[bytes, Names] = {}

    def want(self, names: Names) -> None:
        if len(names) > 1:
            self._together.update(dict.fromkeys(names, names))
        super().want(names)

    def drop(self, names: Names) -> None:
        super().drop(names)
        for name in names if len(names) > 1 else ():
            self._together.pop(name, None)

    def data_received(self, data: bytes) -> None:
        """As that of RedisListener, for messages on sharded channels.

        A copy of its loop: one loop for both kinds would cost the other listener 22 ns for each read.
        """
        self.heard_at = self._clock()
        reader = self._reader
        reader.feed(data)
        gets = reader.gets
        on_message = self._on_message
        try:
            reply = gets()
            while reply is not False:
                if isinstance(reply, list) and reply[0] == b"smessage":
                    on_message(reply[1], reply[2])
                else:
                    self._confirm(reply)
                reply = gets()
        except (hiredis.ProtocolError, IndexError):
            self.give_up("the server at this address is not Redis")

    def _confirm(self, reply: object) -> None:
        if not isinstance(reply, list):
            super()._confirm(reply)
            return
        if reply[0] == b"message":
            self._on_message(reply[1], reply[2])
            return
        verb = _VERBS.get(reply[0])
        if verb is None:
            super()._confirm(reply)
            return
        name = reply[1]
        command = self._sent[0] if self._sent else None
        # Redis confirms the names of a command in their order.
        if command is not None and command.verb == verb and command.names[-command.owed] == name:
            if verb in (_UNSUBSCRIBE, _SUNSUBSCRIBE):
                self._is_last(name)
            else:
                self._subscribed(name)
            self._count_answer(command)
        elif verb == _SUNSUBSCRIBE:
            self._ended(self._together.get(name, (name,)))
        else:
            self.give_up("Redis confirmed a subscription out of turn")

    def _failed(self, command: Sent | None, error: str) -> None:
        """MOVED concerns `command` if that is for the slot.

        Otherwise it answers a SUNSUBSCRIBE that the node's own end of the subscription seemed to answer before.
        """
        if not error.startswith("MOVED "):
            super()._failed(command, error)
        elif command is None:
            return
        elif command.verb not in _SHARDED.values() or b"%d" % key_slot(command.names[0]) != error.split()[1].encode():
            self._sent.appendleft(command)
        else:
            for name in command.names:
                self._is_last(name)
            for names in command.channels if command.verb == _SSUBSCRIBE else ():
                self._ended(names)

    def _ended(self, names: Names) -> None:
        """The sharded names of `names` are not subscribed any more: give up the classic ones, too."""
        if names not in self._asked:
            return
        self._asked.discard(names)
        classic = [name for name in names if self._is_classic(name)]
        if classic and self._transport is not None:
            self._transport.write(self._unsubscription(names, classic))
        self._on_ended(names)

    def _commands(self, verb: bytes, channels: list[Names]) -> Iterator[bytes]:
        """Yield at least one command for each slot: Redis refuses names of several slots in one."""
        by_slot: dict[int, list[Names]] = {}
        with_classic: list[Names] = []
        for names in channels:
            by_slot.setdefault(key_slot(names[0]), []).append(names)
            if len(names) > 1 or self._is_classic(names[0]):
                with_classic.append(names)
        for in_slot in by_slot.values():
            yield from self._batches(_SHARDED[verb], in_slot, is_classic=False)
        yield from self._batches(verb, with_classic, is_classic=True)

    def _batches(self, verb: bytes, channels: list[Names], *, is_classic: bool) -> Iterator[bytes]:
        for start in range(0, len(channels), BATCH):
            batch = channels[start : start + BATCH]
            chosen = [name for names in batch for name in names if self._is_classic(name) is is_classic]
            if chosen:
                yield self._command(verb, batch, chosen)

    def _one_by_one(self, channels: list[Names]) -> Iterator[bytes]:
        for names in channels:
            for name in names:
                yield self._command(_SUBSCRIBE if self._is_classic(name) else _SSUBSCRIBE, [names], [name])

    def _unsubscription(self, names: Names, some: list[bytes]) -> bytes:
        """Encode an unsubscription for each of `some`."""
        return b"".join(
            self._command(_UNSUBSCRIBE if self._is_classic(name) else _SUNSUBSCRIBE, [names], [name]) for name in some
        )
