"""The documentation's table of commands: each with the exit codes that its help tells."""

from __future__ import annotations

import argparse
import re
from importlib import import_module

import pytest

from fastws.cli import _COMMANDS
from tests.readme.reading import codes, table

ROWS = {codes(row[0])[0].split()[1]: row for row in table("The command line", "command", "does", "exit codes")}


def test_the_commands_are_those_that_there_are() -> None:
    assert set(ROWS) == set(_COMMANDS)


@pytest.mark.parametrize("command", _COMMANDS)
def test_a_command_has_the_exit_codes_that_its_help_tells(command: str) -> None:
    epilog = import_module(f"fastws.cli.{command.replace('-', '_')}").EPILOG
    told = re.search(r"(?s)exit codes: (.*)", epilog)
    assert told is not None
    assert exit_codes(ROWS[command][2]) == exit_codes(told[1])


def exit_codes(text: str) -> set[str]:
    """130, an interrupt, is said once for all of them."""
    return set(re.findall(r"(?:^|[,;] )(\d+) ", text.replace("\n", " "))) - {"130"}


@pytest.mark.parametrize("command", _COMMANDS)
def test_a_flag_in_the_table_is_one(command: str) -> None:
    flags = argparse.ArgumentParser(add_help=False)
    import_module(f"fastws.cli.{command.replace('-', '_')}").add_arguments(flags)
    shown = re.findall(r"--[a-z-]+", " ".join(codes(" ".join(ROWS[command]))))
    assert set(shown) <= set(flags._option_string_actions)
