"""The interface of codecs."""

from __future__ import annotations

from typing import Any, Protocol

from fastws.errors import Unencodable


class Codec(Protocol):
    """Decodes and encodes messages.

    `name` is "json" or "msgpack", as in metrics and in `?format=`. `opcode` is the WebSocket opcode of outgoing
    messages: 1 text, 2 binary.
    """

    @property
    def name(self) -> str: ...

    @property
    def opcode(self) -> int: ...

    def loads(self, payload: bytes) -> object:
        """Decode `payload`. Raises InvalidPayload naming the fault, or InvalidText if text is not UTF-8.

        For each mebibyte of payload, decoding blocks the loop for at most 50 ms and takes at most 64 MiB of memory.
        """
        ...

    def dumps(self, value: object) -> bytes:
        """Encode `value`. An `Encoded` of the same codec inside it is copied unchanged. Raises Unencodable."""
        ...


def check_keys(value: object) -> None:
    """Raise Unencodable if a map in `value` has a key that is neither a string nor an integer."""
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            for key in item:
                if type(key) is not str and type(key) is not int:
                    raise Unencodable(
                        f"`data` cannot be encoded: map keys must be strings or integers, not {type(key).__name__}"
                    )
            stack += item.values()
        elif isinstance(item, list | tuple):
            stack += item


def explained(error: Exception) -> str:
    """Return the text of `error`; if it is about a lone surrogate, with what that usually is."""
    text = str(error)
    return f"{text}: half an emoji (unpaired surrogate)" if "surrogate" in text else text


def mebibytes(payload: bytes) -> int:
    """Return the size of `payload` in full mebibytes plus 1: the factor of limits that are per mebibyte."""
    return (len(payload) >> 20) + 1
