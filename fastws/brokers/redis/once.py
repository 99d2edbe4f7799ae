"""Publications with a message id: Redis publishes them once, in one step with the note that it has.

What a second try needs is under the key of the id for 5 minutes: `!<node>` when published, with history followed by
the offset and the epoch, and in the end the outcome as JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha1
from typing import Final, NamedTuple

from fastws.brokers.redis.wire.commander import RedisCommander, Staying
from fastws.brokers.redis.wire.resp import error_code, pack
from fastws.errors import Repeated

REMEMBERED_SECONDS: Final = 300

# KEYS: that of the id. ARGV: mark, seconds, PUBLISH or SPUBLISH, Redis channel, payload, the number of Redis clients
# that must receive it to count as published. Returns how many did, or {what the key had} if it was published before.
# It writes first: where that is refused, as on a replica, nothing must be published, however often it is tried.
_TEXT: Final = b"""
local first = redis.call('GET', KEYS[1])
if first then return {first} end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
local received = redis.pcall(ARGV[3], ARGV[4], ARGV[5])
if type(received) == 'table' or received < tonumber(ARGV[6]) then redis.call('DEL', KEYS[1]) end
return received
"""
_SHA: Final = sha1(_TEXT, usedforsecurity=False).hexdigest().encode()
_LOAD: Final = pack(b"SCRIPT", b"LOAD", _TEXT)


class Once(NamedTuple):
    """The key of a message id, and what stands there once the message is published."""

    key: bytes
    mark: bytes


def publish_once(
    commander: RedisCommander,
    once: Once,
    name: bytes,
    payload: bytes,
    answered: Callable[[object], None],
    *,
    needs_receiver: bool = False,
) -> None:
    """PUBLISH `payload` unless that was done before. `answered` gets the reply of `commander.publish`, or Repeated.

    With `needs_receiver` it counts as done only if a Redis client has received it.
    """
    commander = commander.for_key(once.key)
    publish = (commander.publish_word(name), name, payload, int(needs_receiver))
    packed = pack(b"EVALSHA", _SHA, 1, once.key, once.mark, REMEMBERED_SECONDS, *publish)
    publication = _Publication(commander, once.key, name, payload, packed, answered)
    if _SHA not in commander.scripts:
        commander.scripts.add(_SHA)
        publication.load()
    commander.send(packed, Staying(publication.answer_first))


def load_first(commander: RedisCommander) -> None:
    """Load the script on a new connection, before all commands that wait. For a node that takes over slots."""
    commander.scripts.add(_SHA)
    commander.send_first(b"SCRIPT", b"LOAD", _TEXT, answered=partial(commander.log_refusal, b"SCRIPT"))


class _Publication(NamedTuple):
    """A publication that is under way, `packed` as its script call."""

    commander: RedisCommander
    key: bytes
    name: bytes
    payload: bytes
    packed: bytes
    answered: Callable[[object], None]

    def load(self) -> None:
        self.commander.send(_LOAD, partial(self.commander.log_refusal, b"SCRIPT"))

    def answer_first(self, reply: object) -> None:
        """Redis may have forgotten the script since it was loaded. Then it has published nothing."""
        if error_code(reply) == "NOSCRIPT":
            self.load()
            self.commander.send(self.packed, Staying(self.answer))
        else:
            self.answer(reply)

    def answer(self, reply: object) -> None:
        first = first_of(reply)
        if error_code(reply) == "ASK":
            # The slot is moving: the subscribers are still here, but a new key can be made only there.
            self.commander.send(pack(b"GET", self.key), self.publish_during_move)
        else:
            self.answered(reply if first is None else Repeated(first))

    def publish_during_move(self, known: object) -> None:
        if isinstance(known, bytes):
            self.answered(Repeated(known))
        else:
            self.commander.publish(self.name, self.payload, self.answered)


def first_of(reply: object) -> bytes | None:
    """Return what the key of the id had if `reply` says that the message was published before."""
    if isinstance(reply, list) and len(reply) == 1 and isinstance(reply[0], bytes):
        return reply[0]
    return None
