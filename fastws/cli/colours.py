"""Coloured output on terminals."""

from __future__ import annotations

import os
from typing import Final, TextIO

_CODES: Final = {"green": "32", "yellow": "33", "red": "31", "dim": "2", "bold": "1"}


def has_colours(stream: TextIO) -> bool:
    """Whether `stream` is a terminal with colours and NO_COLOR is not set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, stream: TextIO) -> str:
    """Return `text` in `colour` (green, yellow, red, dim, bold) if `stream` has colours, else unchanged."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if has_colours(stream) else text
