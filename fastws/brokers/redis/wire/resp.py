"""Encoding of commands in RESP, the protocol of Redis."""

from __future__ import annotations

from typing import Any, Final

import hiredis

# The type stub of hiredis declares a tuple of one element, but any length is accepted.
_pack: Final[Any] = hiredis.pack_command


def pack(*words: bytes | str | int | float) -> bytes:
    """Encode one command, ready to be written."""
    packed: bytes = _pack(words)
    return packed
