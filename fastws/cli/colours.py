"""Colours on a terminal, and nowhere else."""

from __future__ import annotations

import os
from typing import Final, TextIO

_CODES: Final = {"green": "32", "yellow": "33", "red": "31", "dim": "2", "bold": "1"}


def has_colours(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that shows colours, and nobody has set NO_COLOR (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, stream: TextIO) -> str:
    """`text` in `colour` (green, yellow, red, dim, bold) where `stream` shows colours."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if has_colours(stream) else text
