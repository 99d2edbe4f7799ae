"""The `fastws` command: one module per subcommand; every error is one line on stderr."""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Final, NoReturn

from fastws import __version__
from fastws.errors import ConfigError
from fastws.quick_imports import quick_imports
from fastws.server.exit import run_own_process
from fastws.standard_streams import open_closed_streams

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

Command = Callable[[argparse.Namespace], int]

# Each is a module of this package. The first line of its docstring is the summary; EPILOG has examples and exit codes.
_COMMANDS: Final = (
    "init",
    "serve",
    "token",
    "publish",
    "listen",
    "channels",
    "history",
    "presence",
    "bench",
    "check-config",
    "doctor",
    "deploy-files",
    "docs",
    "completion",
)

GETTING_STARTED: Final = """\
getting started:
  fastws serve                           start a server on 127.0.0.1:8000
  fastws listen news                     in a second terminal: print what is published to a channel
  fastws publish news hello '{"a":1}'    in a third terminal: publish to it
"""

EPILOG: Final = f"""\
{GETTING_STARTED}
`fastws listen`, `publish`, `bench` and `token` find the server of this user that runs on this machine.

exit codes: 0 success, 1 failure, 2 invalid option or setting, 130 interrupted
Output is coloured on terminals only, and not if NO_COLOR is set. `fastws COMMAND --help` shows examples.
"""

_MORE: Final = """\
`fastws --help` lists all commands, `fastws COMMAND --help` explains one, `fastws docs` lists the documentation."""


class OneLineParser(argparse.ArgumentParser):
    """Prints errors as one line on stderr, without the usage, and exits with code 2."""

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"^argument (\S+): ", r"\1: ", message)
        message = re.sub(r"invalid int value: (.*)", r"must be an integer, not \1", message)
        message = re.sub(r"invalid float value: (.*)", r"must be a number, not \1", message)
        print(f"fastws: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """Refuse a value that is not one of the choices, in the form that settings have."""
        choices = list(map(str, action.choices or ()))
        if action.choices is None or value in action.choices:
            return
        close = get_close_matches(str(value), choices, n=1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        raise argparse.ArgumentError(action, f"must be one of {', '.join(choices)}, not {value!r}{meant}")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Print without hiding errors, as argparse does: a help text on a full disk would be a success."""
        (file or sys.stderr).write(message)


def parser(command: str = "") -> argparse.ArgumentParser:
    """Return the parser of all commands, or only of `command`, so that the other modules are not imported."""
    root = OneLineParser(
        prog="fastws",
        description="A WebSocket publish/subscribe server.",
        epilog=EPILOG,
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"fastws {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in (command,) if command in _COMMANDS else _COMMANDS:
        with quick_imports():
            module = import_module(f"fastws.cli.{name.replace('-', '_')}")
        summary = (module.__doc__ or "").strip().partition("\n")[0]
        subparser = commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=module.EPILOG,
            formatter_class=_formatter,
            allow_abbrev=False,
        )
        module.add_arguments(subparser)
        subparser.usage = subparser.usage or _usage(name, subparser)
        subparser.set_defaults(run=module.run, parser=subparser)
    return root


def _formatter(prog: str) -> argparse.RawDescriptionHelpFormatter:
    """Return a formatter for the width of the terminal; in a pipe, for 100 columns."""
    columns = shutil.get_terminal_size((100, 24)).columns
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=columns - 2)


def _usage(name: str, subparser: argparse.ArgumentParser) -> str:
    """Return a usage of one line: the arguments, the required options, and "[options]" for all others."""
    arguments = [_placeholder(action) for action in subparser._actions if not action.option_strings]
    required = [
        f"{action.option_strings[0]} {action.metavar}"
        for action in subparser._actions
        if action.option_strings and action.required
    ]
    return " ".join(("fastws", name, *arguments, *required, "[options]"))


def _placeholder(action: argparse.Action) -> str:
    shown = str(action.metavar or "|".join(action.choices or ()))
    forms = {"?": f"[{shown}]", "*": f"[{shown}…]"}
    return forms.get(str(action.nargs), shown)


def _refuse(unknown: Sequence[str], command: argparse.ArgumentParser) -> NoReturn:
    """Exit with an error for unknown arguments, and suggest the option that may have been meant."""
    flag = unknown[0].partition("=")[0]
    known = [name for action in command._actions for name in action.option_strings]
    close = get_close_matches(flag, known, n=1, cutoff=0.75)
    meant = f" (did you mean {close[0]}?)" if close else ""
    command.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: `arguments`, or those of this process, which then ends in its own way; see server/exit.py.

    Returns the exit code: 0 success, 1 failure, 2 invalid arguments. Without arguments it prints a short help.
    """
    if arguments is not None:
        return _run(arguments)
    open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal with another encoding than UTF-8 shows what it lacks as an escape sequence.
            stream.reconfigure(errors="backslashreplace")
    return run_own_process(lambda: _run(sys.argv[1:]))


def _run(given: Sequence[str]) -> int:
    try:
        return _run_command(given)
    except ConfigError as error:
        more = len(error.messages) - 1
        hint = f" (and {more} more: `fastws check-config` lists all)" if more else ""
        print(f"fastws: {error.message}{hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output is gone, for example `head` (see "Note on SIGPIPE" in Python's signal module).
        _discard_output()
        return 1
    except OSError as error:
        # A full disk behind stdout, stdin that is a directory, a file that cannot be read.
        reason = error.strerror or str(error)
        print(f"fastws: {f'{error.filename}: {reason}' if error.filename else reason}", file=sys.stderr)
        _discard_output()
        return 1


def _run_command(given: Sequence[str]) -> int:
    if not given:
        print(f"fastws {__version__}: a WebSocket publish/subscribe server.\n\n{GETTING_STARTED}\n{_MORE}")
        return 2
    options, unknown = parser(given[0]).parse_known_args(given)
    if unknown:
        _refuse(unknown, options.parser)
    run: Command = options.run
    return run(options)


def _discard_output() -> None:
    """Discard what stdout still buffers: writing it at the exit would fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
