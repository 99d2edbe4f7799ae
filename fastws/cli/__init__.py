"""The `fastws` command: one file a subcommand, one line of words for every mistake."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Final, NoReturn

from fastws import __version__
from fastws.errors import ConfigError
from fastws.server.exit import run_own_process
from fastws.standard_streams import open_closed_streams

Command = Callable[[argparse.Namespace], int]

# Each a module of this package; its docstring's first line is the summary, EPILOG has examples and exit codes.
_COMMANDS: Final = (
    "serve",
    "token",
    "publish",
    "listen",
    "bench",
    "check-config",
    "doctor",
    "deploy-files",
    "completion",
)

EPILOG: Final = """\
try it:
  fastws serve                                    a server on 127.0.0.1:8000; it prints a key and a token
  fastws listen ws://127.0.0.1:8000/ news         in a second terminal
  fastws publish news hello '{"a":1}' --key KEY   in a third

exit codes: 0 done, 1 failed, 2 asked for something that cannot be (flag, setting), 130 interrupted
Colours only on a terminal, and none where NO_COLOR is set. `fastws COMMAND --help` has examples of each.
"""


class OneLineParser(argparse.ArgumentParser):
    """A bad flag is one clear line on stderr and exit code 2; usage is for --help."""

    def error(self, message: str) -> NoReturn:
        print(f"fastws: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def parser(command: str = "") -> argparse.ArgumentParser:
    """The whole command line, or what is needed for `command`: no other's imports (`doctor` has redis-py)."""
    root = OneLineParser(
        prog="fastws",
        description="A WebSocket publish/subscribe server.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"fastws {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in (command,) if command in _COMMANDS else _COMMANDS:
        module = import_module(f"fastws.cli.{name.replace('-', '_')}")
        summary = (module.__doc__ or "").strip().partition("\n")[0]
        subparser = commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=module.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run, parser=subparser)
    return root


def _refuse(unknown: Sequence[str], command: argparse.ArgumentParser) -> NoReturn:
    """What `command` does not know; of a flag, which one may have been meant."""
    flag = unknown[0].partition("=")[0]
    known = [name for action in command._actions for name in action.option_strings]
    close = get_close_matches(flag, known, n=1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    command.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: `arguments`, or what this process was started with, which is a process of our own then.

    Returns its exit code: 0 done, 1 failed, 2 asked for something that cannot be.
    """
    if arguments is not None:
        return _run(arguments)
    open_closed_streams()
    return run_own_process(lambda: _run(sys.argv[1:]))


def _run(arguments: Sequence[str]) -> int:
    options, unknown = parser(arguments[0] if arguments else "").parse_known_args(arguments)
    if unknown:
        _refuse(unknown, options.parser)
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
