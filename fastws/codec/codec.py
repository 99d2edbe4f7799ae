"""The interface of codecs."""

from __future__ import annotations

from typing import Protocol


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


def mebibytes(payload: bytes) -> int:
    """Return the size of `payload` in full mebibytes plus 1: the factor of limits that are per mebibyte."""
    return (len(payload) >> 20) + 1
