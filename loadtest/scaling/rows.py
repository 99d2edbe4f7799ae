"""The rows of a run, with the measurement and the target of each phase, and their table."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One phase. `found` is text, `figures` are for JSON, and `wrong` lists missed targets."""

    phase: str
    found: str
    target: str
    figures: dict[str, Any] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()

    @property
    def mark(self) -> str:
        return "**no**" if self.wrong else "yes"

    def to_text(self) -> str:
        lines = [f"{self.phase:<28}{self.found}"]
        lines += [f"{'':<28}WRONG: {words}" for words in self.wrong]
        return "\n".join(lines)


def verdict(rows: Sequence[Row]) -> str:
    """One line about all rows."""
    wrong = [f"{row.phase}: {words}" for row in rows for words in row.wrong]
    return "verdict: " + ("all targets met" if not wrong else f"{len(wrong)} missed ({'; '.join(wrong)})")


def markdown(rows: Sequence[Row], *, connections: int, setting: str, command: str) -> str:
    """The table and the machine it was measured on."""
    machine = (
        f"{os.cpu_count()} cores, Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}"
    )
    lines = [
        f"# {connections:,} connections",
        "",
        f"Written by `{command}`. {setting}",
        f"{machine}; server, Redis and load client share the cores. Kernel memory holds both ends of each connection.",
        "",
        "| phase | measured | target | met |",
        "| --- | --- | --- | --- |",
        *(f"| {row.phase} | {row.found} | {row.target} | {row.mark} |" for row in rows),
        "",
        f"{verdict(rows)[0].upper()}{verdict(rows)[1:]}.",
    ]
    return "\n".join(lines) + "\n"
