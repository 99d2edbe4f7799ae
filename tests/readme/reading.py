"""Reading the README's tables: rows as cells, cells as what stands between their backquotes."""

from __future__ import annotations

import re
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text()


def chapter(title: str) -> str:
    """The text under the heading `title`, up to the next heading of its rank."""
    begin = re.search(rf"(?m)^(#+) {re.escape(title)}$", README)
    assert begin is not None, f"the README has no heading {title!r}"
    rest = README[begin.end() :]
    end = re.search(rf"(?m)^#{{1,{len(begin[1])}}} ", rest)
    return rest if end is None else rest[: end.start()]


def table(title: str, *columns: str) -> list[list[str]]:
    """The rows of the table in the chapter `title` whose first columns have these names."""
    text = chapter(title)
    head = re.search(rf"(?m)^\| {re.escape(' | '.join(columns))} \|.*\n\| ?-.*\n((?:\|.*\n)+)", text)
    assert head is not None, f"{title!r} has no table | {' | '.join(columns)} |"
    return [_cells(line) for line in head[1].splitlines()]


def codes(cell: str) -> list[str]:
    """What stands in `code` in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
