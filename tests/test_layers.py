"""The walls between the rooms, the types and the style, checked with everything else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
CHECKS = {
    "imports go one way": ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"),
    "types are strict": ("-m", "mypy", "--strict", "-p", "fastws", "-p", "fastws_server"),
    "style": ("-m", "ruff", "check", "."),
    "format": ("-m", "ruff", "format", "--check", "fastws", "fastws_server", "tests", "benchmarks", "loadtest"),
}


@pytest.mark.parametrize("arguments", CHECKS.values(), ids=CHECKS)
def test_the_project_keeps_its_own_rules(arguments: tuple[str, ...]) -> None:
    ran = subprocess.run([sys.executable, *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    longest = {path: path.read_text().count("\n") for path in (PROJECT / "fastws").rglob("*.py")}
    assert {str(path): lines for path, lines in longest.items() if lines > 400} == {}
