"""msgpack in binary frames."""

from __future__ import annotations

import re
from typing import Final

import msgpack

from fastws.codec.codec import explained
from fastws.codec.msgpack_limits import check_tokens
from fastws.codec.registry import decoded, register
from fastws.errors import InvalidPayload, InvalidText, Unencodable
from fastws.vocabulary.publication import Encoded

# Maximum length that one array or map may declare, checked before its elements are read.
MAX_ELEMENTS: Final = 131_072
# The first byte of a binary. It may also occur in other tokens: then the hook runs without need.
_HAS_BINARY: Final = re.compile(rb"[\xc4-\xc6]")
# How the unpacker begins its error about an integer key.
_INTEGER_KEY: Final = "int is not allowed for map key"


class MsgpackBinary:
    """The `msgpack` codec: one msgpack map in a binary frame. Strings must be UTF-8, map keys strings or integers.

    JSON values have a direct counterpart: whole numbers are integers of up to 64 bits, all others 64-bit floats.
    JsonText documents how types that JSON does not have are converted for JSON clients.
    """

    name = "msgpack"
    opcode = 2

    def loads(self, payload: bytes) -> object:
        """Decode `payload`. Raises InvalidPayload for malformed or trailing bytes, keys of other types, bombs.

        Integer keys make decoding take twice as long: only then are the keys of every map checked here.
        """
        check_tokens(payload)
        try:
            try:
                return _unpack(payload, are_keys_checked=_HAS_BINARY.search(payload) is not None)
            except ValueError as error:
                if not str(error).startswith(_INTEGER_KEY):
                    raise
            return _unpack(payload, are_keys_checked=True)
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
            raise Unencodable(f"`data` cannot be encoded as msgpack: {explained(error)}") from None
        return packed


def _unpack(payload: bytes, *, are_keys_checked: bool) -> object:
    """Decode `payload`. Keys are strings or bytes, or with `are_keys_checked` strings or integers."""
    size = len(payload)
    elements = min(size, MAX_ELEMENTS)
    value: object = msgpack.unpackb(
        payload,
        raw=False,
        strict_map_key=not are_keys_checked,
        object_hook=_checked if are_keys_checked else None,
        max_str_len=size,
        max_bin_len=size,
        max_ext_len=size,
        max_array_len=elements,
        max_map_len=elements,
    )
    return value


def _checked(table: dict[object, object]) -> dict[object, object]:
    """Reject keys that JSON cannot represent as text without ambiguity."""
    for key in table:
        if type(key) is not str and type(key) is not int:
            raise ValueError(f"map keys must be strings or integers, not {type(key).__name__}")
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
