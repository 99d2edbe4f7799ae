"""The README says what the code does: its tables are complete, its two lines are there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from fastws.config import SETTINGS
from fastws.metrics import Counters

_path = Path(__file__).with_name("tables.py")
_spec = importlib.util.spec_from_file_location("readme_tables", _path)
assert _spec is not None
assert _spec.loader is not None
tables = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tables)

README = tables.README.read_text()


def test_the_settings_table_is_that_of_the_code() -> None:
    assert tables.with_tables(README) == README, "run `.venv/bin/python tests/readme/tables.py`"
    for name in SETTINGS:
        assert f"| `{name}`" in README


@pytest.mark.parametrize("address", sorted(tables.addresses()))
def test_every_address_is_in_the_table_of_endpoints(address: str) -> None:
    method, _, path = address.partition(" ")
    rows = [line for line in README.splitlines() if line.startswith("|") and f"`{path}`" in line]
    assert any(method in row for row in rows), f"{address} is not in the README"


@pytest.mark.parametrize(
    "line",
    [
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/fastws serve",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest",
    ],
)
def test_the_two_lines_are_there(line: str) -> None:
    assert line in README


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 4401])
def test_every_close_code_is_explained(code: int) -> None:
    assert re.search(rf"^\| {code} \|", README, re.MULTILINE)


def test_every_runtime_dependency_is_defended() -> None:
    import tomllib

    project = tomllib.loads((tables.README.parent / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name = re.split(r"[\[>=<~!]", requirement)[0]
        assert re.search(rf"^\| {name}", README, re.MULTILINE | re.IGNORECASE), f"{name} has no row"


def test_counters_have_no_attribute_without_a_metric() -> None:
    from fastws.endpoints import exposition

    shown = {row[-1] for row in (*exposition._LABELLED, *exposition._PLAIN)} | {"loop_lag", "broker_lag"}
    assert set(Counters.__slots__) == shown
