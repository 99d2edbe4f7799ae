"""Help and colours: examples that parse, exit codes that are said, nothing coloured but on a terminal."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from importlib import import_module

import pytest

from fastws.cli import _COMMANDS, parser
from fastws.cli.colours import has_colours, paint
from fastws.config import SETTINGS
from tests.cli.conftest import Run

NAMES = list(_COMMANDS)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("name", NAMES)
def test_every_command_shows_examples_and_exit_codes(run: Run, name: str) -> None:
    outcome = run(name, "--help")
    assert outcome.code == 0
    assert "examples:" in outcome.out
    assert "exit codes: 0" in outcome.out


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("columns", ["80", "100"])
def test_help_is_short_and_its_usage_one_line(
    run: Run, name: str, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = run(name, "--help").out.splitlines()
    assert len(lines) <= 60
    assert re.fullmatch(rf"usage: fastws {name} .*\[options\]", lines[0])
    assert lines[1] == ""


@pytest.mark.parametrize("name", ["serve", "check-config", "doctor"])
def test_help_all_lists_all_settings_with_their_choices(run: Run, name: str) -> None:
    text = run(name, "--help-all").out
    for setting in SETTINGS.values():
        assert f"--{setting.name.replace('_', '-')} {setting.metavar}" in text
    assert "--log-format {auto,json,text}" in text
    assert [
        group for group in dict.fromkeys(each.group for each in SETTINGS.values()) if f"\n{group}:\n" not in text
    ] == []


def examples() -> list[list[str]]:
    """Every `fastws …` in the examples, without what a shell puts around it."""
    found = []
    for name in _COMMANDS:
        text = (
            import_module(f"fastws.cli.{name.replace('-', '_')}")
            .EPILOG.partition("examples:\n")[2]
            .partition("\n\n")[0]
        )
        for line in text.splitlines():
            for call in re.findall(r"fastws [^|<>)]*", re.sub(r"\$\([^)]*\)", "TOKEN", line)):
                words = shlex.split(re.split(r"\s{3,}", call)[0])
                if len(words) > 1 and words[1] in NAMES:
                    found.append(words[1:])
    return found


@pytest.mark.parametrize("words", examples(), ids=" ".join)
def test_every_example_is_a_command_line_that_is_understood(words: list[str]) -> None:
    options = parser().parse_args(words)
    assert options.command == words[0]


def test_there_are_examples_of_every_command() -> None:
    assert {words[0] for words in examples()} == set(NAMES)


def test_a_command_loads_nothing_of_another() -> None:
    program = (
        "import sys; from fastws.cli import parser; parser('token'); print([m for m in sys.modules if 'redis' in m])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_colours_only_on_a_terminal_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert paint("x", "red", Terminal()) == "\x1b[31mx\x1b[0m"
    assert paint("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colours(Terminal())


def test_no_color_is_obeyed_unless_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("x", "green", Terminal()) == "x"
    monkeypatch.setenv("NO_COLOR", "")
    assert has_colours(Terminal())
