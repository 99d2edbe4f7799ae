"""The wire formats of a client: JSON in text frames or msgpack in binary frames."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgpack
import orjson

from fastws.errors import BadRequest, InvalidPayload

Message = dict[str, Any]


@dataclass(slots=True, frozen=True)
class Format:
    """A wire format. `subprotocol` is requested at the upgrade (None: not needed, JSON is the default)."""

    name: str
    subprotocol: str | None
    dumps: Callable[[Message], str | bytes]


def read(frame: str | bytes, form: Format) -> Message:
    """Decode the message in a frame. Raises InvalidPayload.

    Binary frames of a msgpack connection are msgpack, all others JSON. A msgpack timestamp becomes a datetime in UTC
    (or a msgpack.Timestamp if datetime cannot represent it), an extension a msgpack.ExtType.
    """
    try:
        value = _unpack(frame) if isinstance(frame, bytes) and form is MSGPACK else orjson.loads(frame)
    except Exception as error:  # noqa: BLE001 # the unpacker raises bare, Overflow-, Stack- and UnicodeErrors too
        raise InvalidPayload(f"the server sent invalid {form.name}: {error or type(error).__name__}") from None
    if not isinstance(value, dict):
        raise InvalidPayload(f"the server sent a {type(value).__name__}, but a message must be an object")
    return value


def _unpack(frame: bytes) -> object:
    limits = {"raw": False, "strict_map_key": False}
    try:
        return msgpack.unpackb(frame, timestamp=3, **limits)
    except (OverflowError, ValueError):
        return msgpack.unpackb(frame, timestamp=0, **limits)


def _to_json(message: Message) -> str:
    try:
        return orjson.dumps(message, _encode_in_json, orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError) as error:
        raise BadRequest(f"`data` cannot be encoded as JSON ({error}); format='msgpack' supports more types") from None


def _encode_in_json(value: object) -> object:
    """Encode bytes as base64 text, as everywhere in fastws."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"type {type(value).__name__} is not supported")


def _to_msgpack(message: Message) -> bytes:
    try:
        packed: bytes = msgpack.packb(message, datetime=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest(f"`data` cannot be encoded as msgpack ({error}); a datetime needs a time zone") from None
    return packed


JSON: Final = Format("json", None, _to_json)
MSGPACK: Final = Format("msgpack", "fastws.msgpack", _to_msgpack)
FORMATS: Final[Mapping[str, Format]] = {"json": JSON, "msgpack": MSGPACK}


def find_format(name: str) -> Format:
    """The format called `name`. Raises BadRequest."""
    if name not in FORMATS:
        raise BadRequest(f"`format` must be json or msgpack, not {name!r}")
    return FORMATS[name]
