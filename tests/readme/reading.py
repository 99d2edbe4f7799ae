"""Reads the documentation: README.md and the pages, their chapters and tables, and what stands in backquotes."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "fastws" / "docs"
README = (ROOT / "README.md").read_text()
PAGES = {path.stem: path.read_text() for path in sorted(DOCS.glob("*.md"))}


def page(name: str) -> str:
    """The text of the page `name`."""
    return PAGES[name]


def lowered(text: str) -> str:
    """`text` with each heading one rank lower, so that headings differ from comments in code."""
    lines = text.splitlines(keepends=True)
    for i, _ in _headings(lines):
        lines[i] = f"#{lines[i]}"
    return "".join(lines)


def chapter(title: str) -> str:
    """The text under the heading `title`, on whatever page, up to the next heading of its rank."""
    found = [text for text in (README, *PAGES.values()) for text in [_under(text, title)] if text is not None]
    assert len(found) == 1, f"{len(found)} headings {title!r}"
    return found[0]


def _under(text: str, title: str) -> str | None:
    lines = text.splitlines(keepends=True)
    begin = next((i for i, rank in _headings(lines) if lines[i].strip() == f"{'#' * rank} {title}"), None)
    if begin is None:
        return None
    rank = len(lines[begin]) - len(lines[begin].lstrip("#"))
    end = next((i for i, other in _headings(lines) if i > begin and other <= rank), len(lines))
    return "".join(lines[begin + 1 : end])


def _headings(lines: list[str]) -> list[tuple[int, int]]:
    """(line, rank) of each heading; comments in blocks of code are none."""
    found, is_code = [], False
    for i, line in enumerate(lines):
        if line.startswith("```"):
            is_code = not is_code
        elif not is_code and (match := re.match(r"(#+) ", line)):
            found.append((i, len(match[1])))
    return found


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
