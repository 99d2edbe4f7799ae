"""The windows of clients that keep their compression context although they agreed not to (RFC 7692 section 7.1.1.2)."""

from __future__ import annotations

import zlib
from collections.abc import Hashable
from typing import Final

WINDOW_BYTES: Final = 32_768
# Bytes of all windows together: those of 2,000 clients that send much.
MAX_BYTES: Final = 67_108_864
# What an entry takes besides its bytes.
_ENTRY_BYTES: Final = 160
# A compressor with context refers at least once to an earlier text of this length that is no farther back.
HEAD_BYTES: Final = 16
_NEAR_BYTES: Final = 2048
# The two bits of a block's type (RFC 1951 section 3.2.3), in the first byte of a message; 0 means stored.
_BLOCK_TYPE: Final = 0x06


class ClientWindows:
    """The latest plaintext of each client's compressed messages, to which its next message may refer.

    Tornado 6 and Safari 15 ignore `client_no_context_takeover` in the response and keep their window. Which clients do
    is not known in advance, so the plaintext is kept until a client repeats a text instead of referring to it: then it
    starts each message with an empty window. Over `max_bytes`, the client that was silent longest loses its window; if
    it refers to it later, its message cannot be read.
    """

    __slots__ = ("_bytes", "_max_bytes", "_windows")

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        # None: the client starts each message with an empty window.
        self._windows: dict[Hashable, bytes | None] = {}
        self._bytes = 0

    def find(self, client: Hashable) -> bytes | None:
        """Return the text to which the next message of `client` may refer, or None if it refers to none."""
        return self._windows.get(client, b"")

    def update(self, client: Hashable, start: bytes, head: bytes, window: bytes) -> None:
        """Note a message of `client`.

        `start` is the first piece of the compressed message, `head` the first HEAD_BYTES of its text, `window` the last
        WINDOW_BYTES of this text and the ones before it.
        """
        before = self.find(client) or b""
        self.forget(client)
        if len(head) == HEAD_BYTES and head in before[-_NEAR_BYTES:] and _is_self_contained(start):
            self._windows[client] = None
            self._bytes += _ENTRY_BYTES
        else:
            self._windows[client] = window
            self._bytes += _ENTRY_BYTES + len(window)
        while self._bytes > self._max_bytes:
            self.forget(next(iter(self._windows)))

    def forget(self, client: Hashable) -> None:
        """Drop the window of `client`. Idempotent."""
        if client in self._windows:
            self._bytes -= _ENTRY_BYTES + len(self._windows.pop(client) or b"")


def _is_self_contained(start: bytes) -> bool:
    """Whether a message that begins with `start` has no reference to an earlier message in its first HEAD_BYTES.

    Stored blocks say nothing: every compressor stores what does not get smaller.
    """
    if not start or not start[0] & _BLOCK_TYPE:
        return False
    try:
        return len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(start, HEAD_BYTES)) == HEAD_BYTES
    except zlib.error:
        return False
