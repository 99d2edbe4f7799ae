"""Print a script that completes commands, options and values in your shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Final

from fastws.cli.flags import show_all_settings
from fastws.config import SETTINGS

SHELLS: Final = ("bash", "fish", "tcsh", "zsh")

EPILOG: Final = """\
examples:
  source <(fastws completion bash)                                          this session only
  fastws completion bash > ~/.local/share/bash-completion/completions/fastws
  fastws completion zsh  > "${fpath[1]}/_fastws"
  fastws completion fish > ~/.config/fish/completions/fastws.fish
  fastws completion tcsh > ~/.fastws.csh                                    and `source ~/.fastws.csh` in ~/.cshrc

exit codes: 0 printed
"""

# Values that are paths, by metavar.
_FILES: Final = frozenset({"FILE", "PATH", "PEM"})
_DIRECTORIES: Final = frozenset({"DIR"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell to print the script for")


def run(options: argparse.Namespace) -> int:
    sys.stdout.write(completion_script(options.shell) + "\n")
    return 0


def completion_script(shell: str) -> str:
    """Return the completion script of all commands for `shell`."""
    import shtab  # needed by this command only

    from fastws.cli import parser  # the package imports this module

    root = parser()
    for action in _arguments(root):
        _describe(action, files=shtab.FILE, directories=shtab.DIRECTORY)
    return str(shtab.complete(root, shell))


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield all arguments of `parser` and of its subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                show_all_settings(command)
                yield from _arguments(command)
        else:
            yield action


def _describe(action: argparse.Action, *, files: object, directories: object) -> None:
    """Set what completes the value of `action`, in the attributes that shtab reads."""
    if action.metavar in _FILES and not action.choices:
        action.complete = files  # type: ignore[attr-defined] # shtab's own attribute
    elif action.metavar in _DIRECTORIES:
        action.complete = directories  # type: ignore[attr-defined]
    elif action.dest in SETTINGS:
        action.choices = _choices_of_setting(action.dest)
    if action.metavar is not None:
        action.metavar = action.dest  # shtab does not quote it, and zsh splits at its colon


def _choices_of_setting(name: str) -> tuple[str, ...] | None:
    setting = SETTINGS[name]
    return ("true", "false") if setting.scalar is bool else setting.choices or None
