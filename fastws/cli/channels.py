"""List the channels of a running server that have subscribers or a history."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Final

from fastws.cli.flags import add_setting_flags
from fastws.cli.publish import add_server_flags, print_lines, server_of

EPILOG: Final = """\
examples:
  fastws channels
  fastws channels --prefix chat: --url http://10.0.0.5:8000 --key "$KEY" | jq -r .channel

Reads the same flags, environment and file as `fastws serve` for its address and keys.

Prints a JSON line for each channel: {"channel","subscribers"}, with "offset" of its newest message if it has a history.
exit codes: 0 printed, 1 refused or unreachable, 2 invalid option or URL
"""

SETTINGS: Final = ("host", "port", "unix_socket")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prefix", metavar="TEXT", default="", help="only channels that begin with it")
    add_server_flags(parser)
    add_setting_flags(parser, SETTINGS)


def run(options: argparse.Namespace) -> int:
    return print_lines(lambda: _channels(options))


def _channels(options: argparse.Namespace) -> Iterable[object]:
    with server_of(options) as server:
        return server.channels(options.prefix)
