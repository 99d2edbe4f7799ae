"""The `fastws` command: one file a subcommand, one line of words for every mistake."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from fastws import __version__
from fastws.cli import bench, check_config, listen, publish, serve, token
from fastws.errors import ConfigError

Command = Callable[[argparse.Namespace], int]

_COMMANDS: Final = (serve, token, publish, listen, bench, check_config)


class OneLineParser(argparse.ArgumentParser):
    """A bad flag is one clear line on stderr and exit code 2; usage is for --help."""

    def error(self, message: str) -> NoReturn:
        print(f"fastws: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = OneLineParser(prog="fastws", description="A WebSocket publish/subscribe server.", allow_abbrev=False)
    root.add_argument("--version", action="version", version=f"fastws {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _COMMANDS:
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        summary = (module.__doc__ or "").strip().partition("\n")[0]
        subparser = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns its exit code: 0 done, 1 failed, 2 asked for something that cannot be."""
    options = parser().parse_args(arguments)
    run: Command = options.run
    try:
        return run(options)
    except ConfigError as error:
        print(f"fastws: {error.message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; nothing is left to tell it (docs.python.org, SIGPIPE).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
