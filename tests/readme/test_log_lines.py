"""The documented log lines: every line that the server writes, with its level and fields, and no other."""

from __future__ import annotations

import ast

import pytest

from tests.readme.reading import codes, table
from tests.readme.source import calls

LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
# What is not the server: the Python client, the load client, backends, the command line's own output.
OTHERS = ("client", "bench", "backend", "cli")
# All lines that begin with one of these are one row.
ROW_OF_PREFIX = {"internal error": "internal error …"}
# Attributes that are a ThrottledLog.
THROTTLED = {"_rejections", "_failures", "_refusals"}
# What `**who(connection)` and `**where` stand for.
OF_WHO = {"connection", "user", "address", "dialect", "channels"}


def written() -> dict[str, tuple[str, set[str]]]:
    """Each line, its level, its fields."""
    found: dict[str, tuple[str, set[str]]] = {}
    for call in calls(*LEVELS, rooms_without=OTHERS):
        assert isinstance(call.func, ast.Attribute)
        logger = call.func.value
        is_throttled = isinstance(logger, ast.Attribute) and logger.attr in THROTTLED
        if not is_throttled and not (isinstance(logger, ast.Name) and logger.id in ("log", "_log")):
            continue
        event = call.args[0]
        assert isinstance(event, ast.Constant), f"line {event.lineno}: a log line is a constant, to be looked for"
        line = _line_of(str(event.value))
        fields = {keyword.arg for keyword in call.keywords if keyword.arg not in (None, "exc_info")}
        if any(keyword.arg is None for keyword in call.keywords):
            fields |= OF_WHO
        if is_throttled:
            fields.add("count")
        level, known = found.get(line, (LEVELS[call.func.attr], set()))
        assert level == LEVELS[call.func.attr], f"{line!r} has two levels"
        found[line] = level, known | {str(field) for field in fields}
    return found


def _line_of(event: str) -> str:
    """The line of the documentation's table that describes `event`."""
    return next((line for prefix, line in ROW_OF_PREFIX.items() if event.startswith(prefix)), event)


ROWS = [(codes(row[0]), row[1], {word for word in row[2].split(", ") if word}) for row in table("Log lines", "line")]


def test_every_line_that_is_written_is_in_the_table_and_no_other() -> None:
    assert {line for lines, _, _ in ROWS for line in lines} == set(written())


@pytest.mark.parametrize(("lines", "level", "fields"), ROWS, ids=[lines[0] for lines, _, _ in ROWS])
def test_a_line_has_the_level_and_the_fields_of_its_row(lines: list[str], level: str, fields: set[str]) -> None:
    all_fields = set().union(*(written()[line][1] for line in lines))
    assert {written()[line][0] for line in lines} == {level}
    assert fields <= all_fields
    # Of who it is about a row may leave out what goes without saying.
    assert all_fields - OF_WHO <= fields
