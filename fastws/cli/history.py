"""Print the messages that a running server keeps of a channel."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Final

from fastws.cli.channels import SETTINGS
from fastws.cli.flags import add_setting_flags
from fastws.cli.publish import add_server_flags, print_lines, server_of

EPILOG: Final = """\
examples:
  fastws history chat:7
  fastws history chat:7 --limit 1 --reverse            the newest message
  fastws history chat:7 --url http://10.0.0.5:8000 --key "$KEY" | jq .data

Reads the same flags, environment and file as `fastws serve` for its address and keys. The server must have the setting
`history` for this channel.

Prints a JSON line for each message, with its offset and timestamp, oldest first.
exit codes: 0 printed, 1 refused or unreachable, 2 invalid option or URL
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("channel", metavar="CHANNEL", help="channel to print")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="most messages to print, 1 to 1000 [100]")
    parser.add_argument("--reverse", action="store_true", help="newest first")
    add_server_flags(parser)
    add_setting_flags(parser, SETTINGS)


def run(options: argparse.Namespace) -> int:
    return print_lines(lambda: _messages(options))


def _messages(options: argparse.Namespace) -> Iterable[object]:
    with server_of(options) as server:
        return server.history(options.channel, limit=options.limit, reverse=options.reverse)["messages"]
