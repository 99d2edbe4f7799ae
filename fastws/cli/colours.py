"""Output on terminals: colours, and texts of others without characters that control the terminal."""

from __future__ import annotations

import os
import re
from typing import Final, TextIO

_CODES: Final = {"green": "32", "yellow": "33", "red": "31", "dim": "2", "bold": "1"}


# C0 (without tab and newline), DEL and C1, which terminals execute, and those that reorder or hide text.
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def printable(text: str) -> str:
    """Return `text` with control characters as \\uXXXX, which JSON reads as the same characters."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def has_colours(stream: TextIO) -> bool:
    """Whether `stream` is a terminal with colours and NO_COLOR is not set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, stream: TextIO) -> str:
    """Return `text` in `colour` (green, yellow, red, dim, bold) if `stream` has colours, else unchanged."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if has_colours(stream) else text
