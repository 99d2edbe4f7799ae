"""msgpack in binary frames."""

from __future__ import annotations

import re
from typing import Final

import msgpack

from fastws.codec.msgpack_limits import check_tokens
from fastws.codec.registry import decoded, register
from fastws.errors import InvalidPayload, InvalidText, Unencodable
from fastws.vocabulary.publication import Encoded

# Maximum length that one array or map may declare, checked before its elements are read.
MAX_ELEMENTS: Final = 131_072
# The first byte of a binary. It may also occur in other tokens: then the hook runs without need.
_HAS_BINARY: Final = re.compile(rb"[\xc4-\xc6]")


class MsgpackBinary:
    """The `msgpack` codec: one msgpack map in a binary frame. Strings must be UTF-8, map keys must be strings.

    JSON values have a direct counterpart: whole numbers are integers of up to 64 bits, all others 64-bit floats.
    JsonText documents how types that JSON does not have are converted for JSON clients.
    """

    name = "msgpack"
    opcode = 2

    def loads(self, payload: bytes) -> object:
        """Decode `payload`. Raises InvalidPayload for malformed or trailing bytes, keys that are not strings, bombs."""
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
        except Exception as error:  # noqa: BLE001 the unpacker also raises bare Exception, OverflowError, StackError …
            raise InvalidPayload(f"not valid msgpack: {_text_of(error)}") from None

    def dumps(self, value: object) -> bytes:
        """Encode `value`. Raises Unencodable for unsupported types and for nesting deeper than 1024 levels."""
        try:
            if type(value) is dict:
                for item in value.values():
                    if type(item) is Encoded:
                        return _with_bodies(value)
            packed: bytes = _PACKER.pack(value)
        except (TypeError, ValueError, OverflowError, InvalidPayload, InvalidText) as error:
            raise Unencodable(f"`data` cannot be encoded as msgpack: {error}") from None
        return packed


def _only_text_keys(table: dict[object, object]) -> dict[object, object]:
    """Reject keys that are bytes. `strict_map_key` allows them, but JSON has no counterpart."""
    for key in table:
        if type(key) is not str:
            raise ValueError("map keys must be strings")
    return table


def _text_of(error: Exception) -> str:
    text = str(error)
    return text if text else type(error).__name__


def _default(value: object) -> object:
    if isinstance(value, Encoded):
        return decoded(value)
    raise TypeError(f"type {type(value).__name__} is not supported")


def _with_bodies(message: dict[object, object]) -> bytes:
    """Encode a map of which some values are already msgpack: their bytes are copied."""
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


# Creating a packer takes longer than packing a small message (benchmarks/test_codec.py). Only one thread uses them.
_PACKER: Final = msgpack.Packer(default=_default)
_PACKER_OF_PARTS: Final = msgpack.Packer(default=_default, autoreset=False)
MSGPACK: Final = register(MsgpackBinary())
