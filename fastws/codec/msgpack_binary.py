"""msgpack in binary frames, for internal services."""

from __future__ import annotations

import re
from typing import Final

import msgpack

from fastws.codec.msgpack_limits import check_tokens
from fastws.errors import InvalidPayload, InvalidText, Unencodable
from fastws.vocabulary.publication import Encoded

# Elements that one array or map may ask for, before its bytes are looked at.
MAX_ELEMENTS: Final = 131_072


# What begins a binary. (As any byte it may also be part of something else: then the hook runs for nothing.)
_HAS_BINARY: Final = re.compile(rb"[\xc4-\xc6]")


class MsgpackBinary:
    """The `msgpack` codec: one msgpack map in a binary frame. Strings are UTF-8, map keys strings, as JSON has them.

    What JSON has is said in msgpack as it is: whole numbers as integers of up to 64 bits, all others as 64-bit floats.
    What JSON lacks, JSON clients hear as JsonText says.
    """

    name = "msgpack"
    opcode = 2

    def loads(self, payload: bytes) -> object:
        """The value in `payload`. Raises InvalidPayload: bad or trailing bytes, keys that are no strings, a bomb."""
        check_tokens(payload)
        size = len(payload)
        elements = min(size, MAX_ELEMENTS)
        try:
            return msgpack.unpackb(
                payload,
                raw=False,
                strict_map_key=True,
                object_hook=None if _HAS_BINARY.search(payload) is None else _only_text_keys,
                max_str_len=size,
                max_bin_len=size,
                max_ext_len=size,
                max_array_len=elements,
                max_map_len=elements,
            )
        except Exception as error:  # noqa: BLE001 the unpacker raises bare, Overflow-, Stack- and UnicodeErrors too
            raise InvalidPayload(f"not valid msgpack: {_words(error)}") from None

    def dumps(self, value: object) -> bytes:
        """`value` as msgpack. Raises Unencodable for what has no mapping or nests deeper than 1024 levels."""
        try:
            if type(value) is dict:
                for item in value.values():
                    if type(item) is Encoded:
                        return _with_bodies(value)
            packed: bytes = _PACKER.pack(value)
        except (TypeError, ValueError, OverflowError, InvalidPayload, InvalidText) as error:
            raise Unencodable(f"`data` cannot be said in msgpack: {error}") from None
        return packed


def _only_text_keys(table: dict[object, object]) -> dict[object, object]:
    """`strict_map_key` lets bytes pass, which no JSON client could be told of."""
    for key in table:
        if type(key) is not str:
            raise ValueError("a map's keys are strings")
    return table


def _words(error: Exception) -> str:
    text = str(error)
    return text if text else type(error).__name__


def _default(value: object) -> object:
    if isinstance(value, Encoded):
        from fastws.codec.json_text import JSON  # the two codecs read each other's bodies

        return (JSON if value.codec == "json" else MSGPACK).loads(value.body)
    raise TypeError(f"type {type(value).__name__} has no mapping")


def _with_bodies(message: dict[object, object]) -> bytes:
    """A map some of whose values are msgpack already: their bytes are passed on as they are."""
    packer = _PACKER_OF_PARTS
    packer.reset()
    packer.pack_map_header(len(message))
    parts: list[bytes] = []
    for key, value in message.items():
        packer.pack(key)
        if type(value) is Encoded and value.codec == "msgpack":
            parts += (packer.bytes(), value.body)
            packer.reset()
        else:
            packer.pack(value)
    parts.append(packer.bytes())
    return b"".join(parts)


# Making a packer takes longer than packing a small message (benchmarks/test_codec.py). One thread uses them.
_PACKER: Final = msgpack.Packer(default=_default)
_PACKER_OF_PARTS: Final = msgpack.Packer(default=_default, autoreset=False)
MSGPACK: Final = MsgpackBinary()
