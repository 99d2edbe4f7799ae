"""Print the members of a channel of a running server."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Final

from fastws.cli.channels import SETTINGS
from fastws.cli.flags import add_setting_flags
from fastws.cli.publish import add_server_flags, print_lines, server_of

EPILOG: Final = """\
examples:
  fastws presence chat:7
  fastws presence chat:7 --count                       {"channel":"chat:7","count":3,"users":2}
  fastws presence chat:7 --url http://10.0.0.5:8000 --key "$KEY" | jq -r .user

Reads the same flags, environment and file as `fastws serve` for its address and keys. The server must have the setting
`presence` for this channel.

Prints a JSON line for each member: {"connection_id","user"[,"client_id","info"]}. With --count, or if the channel shows
only figures, prints one line with the number of connections and of users.
exit codes: 0 printed, 1 refused or unreachable, 2 invalid option or URL
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("channel", metavar="CHANNEL", help="channel to print")
    parser.add_argument("--count", action="store_true", help="print only the number of connections and of users")
    add_server_flags(parser)
    add_setting_flags(parser, SETTINGS)


def run(options: argparse.Namespace) -> int:
    return print_lines(lambda: _members(options))


def _members(options: argparse.Namespace) -> Iterable[object]:
    with server_of(options) as server:
        found = server.presence(options.channel)
    figures = {key: found[key] for key in ("channel", "count", "users")}
    return [figures] if options.count else found.get("members", [figures])
