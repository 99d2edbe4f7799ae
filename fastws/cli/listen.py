"""Connect as a client and print what arrives, one JSON line each."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from fastws.cli.colours import paint
from fastws.codec.json_text import JSON
from fastws.errors import ConfigError, FastWSError
from fastws.resolver import run as run_loop

EPILOG: Final = """\
examples:
  fastws listen ws://127.0.0.1:8000/ news alerts
  fastws listen wss://example.org/ news --token "$TOKEN" --format msgpack | jq .data
  fastws listen ws://127.0.0.1:8000/ --dialect jobs --count 10

One JSON line a message. It connects and subscribes again by itself; notices (gap, lag, disconnected, …) have no `data`.
exit codes: 0 the server ended it in good order, or --count is reached, 1 refused, or not reached at the start,
2 a URL that is none, 130 interrupted
"""

PATIENCE_SECONDS = 3.0  # somebody sits before it: a server that is not there at the start is said soon


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="ws://host:port/ of the server")
    parser.add_argument("channel", nargs="*", metavar="CHANNEL", help="channels to subscribe to")
    parser.add_argument("--token", metavar="JWT", help="a token")
    parser.add_argument("--format", choices=("json", "msgpack"), default="json", help="what is spoken [json]")
    parser.add_argument(
        "--dialect",
        choices=("channels", "rooms", "workspaces", "jobs"),
        default="channels",
        help="the client protocol [channels]",
    )
    parser.add_argument("--count", type=int, default=0, metavar="N", help="stop after N messages [0 = never]")


def run(options: argparse.Namespace) -> int:
    if options.dialect == "workspaces" and options.token is None:
        raise ConfigError("--token: without one the server speaks jobs at /ws; see `fastws token --help`")
    return run_loop(_listen(options))


async def _listen(options: argparse.Namespace) -> int:
    from fastws.client import connect

    left = options.count or -1
    try:
        connection = connect(
            options.url,
            options.channel,
            options.token,
            options.format,
            dialect=options.dialect,
            connect_timeout=PATIENCE_SECONDS,
        )
    except FastWSError as error:
        raise ConfigError(str(error)) from None  # nothing was asked of a server yet
    try:
        async with connection as client:
            async for message in client:
                line = JSON.dumps(message).decode()
                # A notice among deliveries is easily missed by somebody who looks on.
                print(line if "data" in message else paint(line, "yellow", sys.stdout), flush=True)
                left -= 1
                if left == 0:
                    break
    except FastWSError as error:
        print(f"fastws: {error}", file=sys.stderr)
        return 1
    return 0
