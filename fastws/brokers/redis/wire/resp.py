"""Commands as Redis reads them."""

from __future__ import annotations

from typing import Any, Final

import hiredis

# hiredis declares a tuple of one element for a tuple of any length; this is the one place that knows better.
_pack: Final[Any] = hiredis.pack_command


def pack(*words: bytes | str | int | float) -> bytes:
    """One command in RESP, ready to be written."""
    packed: bytes = _pack(words)
    return packed
