"""The contract of a codec."""

from __future__ import annotations

from typing import Protocol


class Codec(Protocol):
    """Bytes of a message to a value and back.

    `name` is "json" or "msgpack" (the label in metrics, the word in `?format=`), `opcode` the WebSocket opcode
    its messages go out under (1 text, 2 binary).
    """

    @property
    def name(self) -> str: ...

    @property
    def opcode(self) -> int: ...

    def loads(self, payload: bytes) -> object:
        """The value in `payload`. Raises InvalidPayload saying what is wrong, InvalidText for text not UTF-8.

        No mebibyte of a client stops the loop for more than 50 ms, or takes more than 64 MiB while it is read.
        """
        ...

    def dumps(self, value: object) -> bytes:
        """`value` as bytes; an `Encoded` inside is passed on where it can be. Raises Unencodable."""
        ...


def mebibytes(payload: bytes) -> int:
    """The size of `payload` in mebibytes, begun ones counted: what a limit of so much "each mebibyte" is times."""
    return (len(payload) >> 20) + 1
