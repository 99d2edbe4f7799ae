"""The documentation says what the code does: its tables are complete, the two lines of the README are there."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from fastws.config import SETTINGS
from fastws.counters import Counters
from tests.readme.reading import README, ROOT, page, table

_path = Path(__file__).with_name("tables.py")
_spec = importlib.util.spec_from_file_location("readme_tables", _path)
assert _spec is not None
assert _spec.loader is not None
tables = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tables)


def test_the_tables_that_are_made_from_the_code_are_up_to_date() -> None:
    for path in tables.PAGES:
        text = path.read_text()
        assert tables.with_tables(text) == text, "run `.venv/bin/python tests/readme/tables.py`"
    for name in SETTINGS:
        assert f"| `{name}`" in page("settings")


@pytest.mark.parametrize(
    "line",
    [
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/fastws serve",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest",
    ],
)
def test_the_two_lines_are_there(line: str) -> None:
    assert line in README


def test_every_runtime_dependency_is_defended_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[\[>=<~!]", requirement)[0] for requirement in project["dependencies"]}
    assert {row[0] for row in table("Dependencies", "package", "why")} == needed


def test_counters_have_no_attribute_without_a_metric() -> None:
    from fastws.telemetry import exposition

    shown = {row[-1] for row in (*exposition._LABELLED, *exposition._UNLABELLED)} | {"loop_lag", "broker_lag"}
    assert set(Counters.__slots__) == shown
