"""Create a token (JWT) signed with the configured secret."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import replace
from typing import Final

from fastws.access.tokens import Tokens
from fastws.cli.flags import add_setting_flags, config_from
from fastws.cli.running import the_running_server
from fastws.errors import BadRequest, ConfigError

EPILOG: Final = """\
examples:
  fastws token --sub ann --channel 'news:*' --publish 'chat:**'
  fastws token --sub ann --workspace acme --ttl 15m
  fastws listen ws://127.0.0.1:8000/ws --dialect workspaces --token "$(fastws token --sub ann --workspace acme)"

Without a configured jwt_secret it signs with that of the server of this user that runs on this machine.
exit codes: 0 printed, 2 no secret or an invalid claim
"""

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sub", required=True, metavar="USER", help="user id")
    parser.add_argument(
        "--workspace",
        action="append",
        default=[],
        metavar="W",
        help="workspace of the user; the first one is the default; repeatable",
    )
    parser.add_argument(
        "--channel", action="append", metavar="PATTERN", help="channels to allow subscriptions to; repeatable"
    )
    parser.add_argument(
        "--publish", action="append", metavar="PATTERN", help="channels to allow publishing to; repeatable"
    )
    parser.add_argument("--ttl", default="1h", metavar="TIME", help="lifetime: 90s, 15m, 1h, 7d [1h]")
    add_setting_flags(parser, ("jwt_secret", "jwt_algorithms", "jwt_audience", "jwt_issuer", "jwt_leeway"))


def run(options: argparse.Namespace) -> int:
    config = config_from(options)
    if config.jwt_secret is None:
        running = the_running_server()
        if running is None or running.jwt_secret is None:
            raise ConfigError(
                "jwt_secret: not set, and no server with one runs here; set FASTWS_JWT_SECRET or "
                "FASTWS_JWT_SECRET_FILE, or give a --config file with it"
            )
        config = replace(config, jwt_secret=running.jwt_secret)
    try:
        text = Tokens(config).sign(
            options.sub,
            workspaces=options.workspace,
            channels=options.channel,
            publish=options.publish,
            ttl_seconds=duration(options.ttl),
        )
    except BadRequest as error:
        raise ConfigError(error.message) from None
    sys.stdout.write(text + "\n")
    return 0


def duration(text: str) -> float:
    """Convert `text`, a number followed by s, m, h or d, to seconds. Raises ConfigError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if match is None or float(match[1]) <= 0:
        raise ConfigError(f"--ttl: must be a duration such as 90s, 15m, 1h or 7d, not {text!r}")
    return float(match[1]) * _SECONDS[match[2] or "s"]
