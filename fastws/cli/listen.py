"""Connect as a client and print what arrives, one JSON line each."""

from __future__ import annotations

import argparse
import asyncio
import sys

from fastws.codec.json_text import JSON
from fastws.errors import FastWSError

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
    return asyncio.run(_listen(options))


async def _listen(options: argparse.Namespace) -> int:
    from fastws.client import connect

    left = options.count or -1
    try:
        async with connect(
            options.url,
            options.channel,
            options.token,
            options.format,
            dialect=options.dialect,
            connect_timeout=PATIENCE_SECONDS,
        ) as client:
            async for message in client:
                sys.stdout.buffer.write(JSON.dumps(message) + b"\n")
                sys.stdout.buffer.flush()
                left -= 1
                if left == 0:
                    break
    except FastWSError as error:
        print(f"fastws: {error}", file=sys.stderr)
        return 1
    return 0
