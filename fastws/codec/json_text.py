"""JSON in text frames, encoded and decoded with orjson."""

from __future__ import annotations

import base64
import codecs
import re
from datetime import UTC, datetime
from typing import Any, Final

import msgpack
import orjson

from fastws.codec.codec import check_keys, explained, mebibytes
from fastws.codec.registry import decoded, register
from fastws.errors import InvalidPayload, InvalidText, Unencodable
from fastws.vocabulary.publication import Encoded

# Maximum of arrays and objects per mebibyte of a message. So many take 40 MiB and block the loop for 50 ms
# (tests/codec/test_bombs.py); without a limit a mebibyte can contain half a million.
MAX_CONTAINERS: Final = 131_072
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
# How orjson begins its error about a key that is not a string.
_OTHER_KEY: Final = "Dict key must be str"
# Maps each digit to "0". An integer beyond 2^64 has at least twenty digits: a substring search for them takes 0.1 µs,
# a regular expression 0.5 µs (benchmarks/test_codec.py).
_DIGITS: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG_NUMBER: Final = b"0" * 20
# A negative integer beyond -2^63 may have nineteen digits, of which the first is a nine.
_NEGATIVE_NINE: Final = b"-9"
_NINETEEN_DIGITS: Final = b"0" * 19
_LONG_INTEGER: Final = re.compile(rb"(?<![\w.+-])(-?[0-9]{19,})(?=\s*(?:[,\]}]|\Z))")
_TWO_63: Final = 2**63


class JsonText:
    """The `json` codec: UTF-8 JSON in text frames (RFC 8259).

    Types that JSON does not have are converted when encoding:

    - bytes: base64 text (RFC 4648 section 4)
    - msgpack timestamp: ISO 8601 text in UTC such as `2026-11-09T12:00:00Z`, with nine digits for fractions of a
      second; seconds since the epoch as text if the year is not in 1 to 9999
    - other msgpack extensions: `{"ext": type, "data": base64}`
    - NaN and infinities: null
    - integer keys of maps: the same digits as text

    Integers beyond 64 bits are rejected instead of rounded. Integers beyond 2^53 are written exactly, though some
    readers round them.
    """

    name = "json"
    opcode = 1

    def loads(self, payload: bytes) -> object:
        """Decode `payload`. Raises InvalidPayload, or InvalidText if it is not UTF-8 (close code 1007).

        Brackets in strings count as arrays and objects: distinguishing them would take longer than decoding.
        """
        if len(payload) > MAX_CONTAINERS:
            brackets = payload.count(b"[") + payload.count(b"{")
            if brackets > MAX_CONTAINERS * mebibytes(payload):
                raise InvalidPayload(f"a message has at most {MAX_CONTAINERS} arrays and objects")
        try:
            value: object = orjson.loads(payload)
        except ValueError as error:
            value = _without_bom(payload, error)
        digits = payload.translate(_DIGITS)
        if (
            _NINETEEN_DIGITS in digits
            and (_LONG_NUMBER in digits or _NEGATIVE_NINE in payload)
            and _has_rounded_integer(value, _LONG_INTEGER.findall(payload))
        ):
            raise InvalidPayload("an integer beyond 64 bits would be rounded; send it as a string")
        return value

    def dumps(self, value: object) -> bytes:
        """Encode `value`. Raises Unencodable for unsupported types and for nesting deeper than 254 levels."""
        try:
            try:
                return orjson.dumps(value, _default, _OPTIONS)
            except TypeError as error:
                if not str(error).startswith(_OTHER_KEY):
                    raise
            # Text keys take longer with this option, so it is only used where it is needed.
            check_keys(value)
            return orjson.dumps(value, _default, _OPTIONS | orjson.OPT_NON_STR_KEYS)
        except (TypeError, ValueError, OverflowError) as error:
            raise Unencodable(f"`data` cannot be encoded as JSON: {explained(error)}") from None


def _without_bom(payload: bytes, error: ValueError) -> object:
    """Decode `payload`, which orjson refused with `error`, if that is because of a byte order mark at its beginning.

    RFC 8259 section 8.1 lets parsers ignore it; some editors and Windows programs write it.
    """
    if payload.startswith(codecs.BOM_UTF8):
        try:
            return orjson.loads(payload[len(codecs.BOM_UTF8) :])
        except ValueError as other:
            error = other
    raise _decoding_error(payload, error) from None


def _decoding_error(payload: bytes, error: ValueError) -> InvalidPayload | InvalidText:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return InvalidText("a text message must be UTF-8")
    return InvalidPayload(f"not valid JSON: {explained(error)}")


def _has_rounded_integer(value: object, numerals: list[bytes]) -> bool:
    """Whether one of these long `numerals` became a float: orjson silently rounds integers beyond 64 bits."""
    rounded = {
        float(numeral) for numeral in numerals if len(numeral) > 20 or not -_TWO_63 <= int(numeral) < 2 * _TWO_63
    }
    # Only containers go on the stack: half a million scalars fit into a mebibyte.
    stack: list[Any] = [[value]] if rounded else []
    while stack:
        item = stack.pop()
        for child in item.values() if type(item) is dict else item:
            kind = type(child)
            if kind is dict or kind is list:
                stack.append(child)
            elif kind is float and child in rounded:
                return True
    return False


def _default(value: object) -> object:
    if isinstance(value, Encoded):
        if value.codec == "json":
            return orjson.Fragment(value.body)
        return decoded(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, msgpack.Timestamp):
        return timestamp_text(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, msgpack.ExtType):
        return {"ext": value.code, "data": base64.b64encode(value.data).decode("ascii")}
    raise TypeError(f"type {type(value).__name__} is not supported")


def timestamp_text(value: msgpack.Timestamp) -> str:
    """Return a msgpack timestamp as ISO 8601 text in UTC, or seconds since the epoch for years beyond 1 to 9999."""
    try:
        moment = datetime.fromtimestamp(value.seconds, UTC)
    except (OverflowError, ValueError, OSError):
        total = value.seconds * 1_000_000_000 + value.nanoseconds
        seconds, nanoseconds = divmod(abs(total), 1_000_000_000)
        return f"{'-' if total < 0 else ''}{seconds}.{nanoseconds:09d}"
    fraction = f".{value.nanoseconds:09d}" if value.nanoseconds else ""
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}{fraction}Z"


JSON: Final = register(JsonText())
