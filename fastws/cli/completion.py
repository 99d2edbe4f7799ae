"""Print a script that completes commands, flags and choices in bash, zsh or fish."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from fastws.cli.shells import SCRIPTS, read_commands

EPILOG: Final = """\
examples:
  source <(fastws completion bash)                                          this shell
  fastws completion bash > ~/.local/share/bash-completion/completions/fastws
  fastws completion zsh  > "${fpath[1]}/_fastws"
  fastws completion fish > ~/.config/fish/completions/fastws.fish

exit codes: 0 printed
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=sorted(SCRIPTS), help="the shell")


def run(options: argparse.Namespace) -> int:
    from fastws.cli import parser  # the package imports this module: only now it is whole

    sys.stdout.write(SCRIPTS[options.shell](read_commands(parser())))
    return 0
