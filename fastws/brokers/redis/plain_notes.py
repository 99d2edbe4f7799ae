"""Notes between processes about the watch of a channel, on the Redis channel of its publications.

A note is `C1 03` and a msgpack array: its kind and its fields.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgpack

from fastws.errors import BadRequest

_START: Final = b"\xc1\x03"


class Begun(NamedTuple):
    """A watch was begun by `node`."""

    watch: str
    node: str
    skips: bool


class Join(NamedTuple):
    """A process asks for the place of the last message before this note."""

    watch: str
    token: str


class Place(NamedTuple):
    """The answer."""

    watch: str
    token: str
    last: int


class LastCall(NamedTuple):
    """Its sender ends the watch when it receives this, unless it has received what it waits for before."""

    watch: str
    token: str


Note = Begun | Join | Place | LastCall


def is_note(payload: bytes) -> bool:
    """Whether `payload` is a note between processes about a watch."""
    return payload[:2] == _START


def decode_note(payload: bytes) -> Note:
    """Decode a note. Raises BadRequest."""
    try:
        kind, *fields = msgpack.unpackb(payload[2:])
    except Exception as error:  # noqa: BLE001 the unpacker raises bare, Overflow-, Stack- and UnicodeErrors too
        raise BadRequest(f"note: cannot be decoded: {error or type(error).__name__}") from None
    match (kind, *fields):
        case ("new", str(watch), str(node), int(skips)):
            return Begun(watch, node, bool(skips))
        case ("join", str(watch), str(token)):
            return Join(watch, token)
        case ("at", str(watch), str(token), int(last)):
            return Place(watch, token, last)
        case ("call", str(watch), str(token)):
            return LastCall(watch, token)
    raise BadRequest("note: must be new, join, at or call, with their fields")


def encode_note(note: Place | LastCall) -> bytes:
    """Encode a note that is not published by a script."""
    packed: bytes = msgpack.packb(("at" if isinstance(note, Place) else "call", *note))
    return _START + packed
