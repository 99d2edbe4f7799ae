"""Connect to a server and print received messages as JSON lines."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from fastws.cli.colours import paint, printable
from fastws.cli.running import the_running_server
from fastws.codec.json_text import JSON
from fastws.errors import ConfigError, FastWSError, Forbidden, Unauthorized, Unavailable
from fastws.resolver import run as run_loop

if TYPE_CHECKING:
    from fastws.client import Client

EPILOG: Final = """\
examples:
  fastws listen news alerts                                            on the server that runs on this machine
  fastws listen wss://example.org/ news --token "$TOKEN" --format msgpack | jq .data
  fastws listen ws://127.0.0.1:8000/ --dialect jobs --count 10

Lost connections and subscriptions are restored. Notices (gap, lag, disconnected, …) have no `data`.
exit codes: 0 the server closed the connection normally, or --count was reached, 1 refused or unreachable at the start,
2 invalid URL or option, 130 interrupted
"""

CONNECT_SECONDS = 3.0  # short, because a person is waiting


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "channel", nargs="*", default=[], metavar="CHANNEL", help="channels to subscribe to; before them may be the URL"
    )
    parser.usage = "fastws listen [URL] [CHANNEL…] [options]"
    parser.add_argument(
        "--url", metavar="URL", help="address of the server, such as ws://127.0.0.1:8000/ [the one that runs here]"
    )
    parser.add_argument("--token", metavar="JWT", help="token (JWT); see `fastws token`")
    parser.add_argument("--format", choices=("json", "msgpack"), default="json", help="message format [json]")
    parser.add_argument(
        "--dialect",
        choices=("channels", "rooms", "workspaces", "jobs"),
        default="channels",
        help="client protocol of the path [channels]",
    )
    parser.add_argument("--count", type=int, default=0, metavar="N", help="stop after N messages; 0 means never [0]")


def run(options: argparse.Namespace) -> int:
    _find_server(options)
    if options.dialect == "workspaces" and options.token is None:
        raise ConfigError("--token: required by --dialect workspaces; see `fastws token --help`")
    return run_loop(_listen(options))


def _find_server(options: argparse.Namespace) -> None:
    """Set options.url: to --url, else to the first argument if it is a URL, else to the server that runs here.

    Raises ConfigError if none or several run.
    """
    if options.url is None and options.channel and "://" in options.channel[0]:
        options.url, *options.channel = options.channel
    if options.url is None:
        running = the_running_server(over_tcp=True)
        if running is None:
            raise ConfigError(
                "URL: missing, and no server of this user runs on this machine: start one with `fastws serve`, "
                "or give the URL, for example ws://127.0.0.1:8000/"
            )
        options.url = running.ws_url


async def _listen(options: argparse.Namespace) -> int:
    left = options.count or -1
    connection = _client(options)
    try:
        async with connection as client:
            channels = f", subscribed to {', '.join(options.channel)}" if options.channel else ""
            # Without the query, which may contain a token.
            print(f"Connected to {options.url.partition('?')[0]}{channels}. Press Ctrl-C to stop.", file=sys.stderr)
            async for message in client:
                line = printable(JSON.dumps(message).decode())
                # Coloured, because a notice among many messages is easily missed.
                print(line if "data" in message else paint(line, "yellow", sys.stdout), flush=True)
                left -= 1
                if left == 0:
                    break
    except FastWSError as error:
        print(f"fastws: {printable(_explain(error, options))}", file=sys.stderr)
        return 1
    return 0


def _client(options: argparse.Namespace) -> Client:
    """Create the client, without connecting. Raises ConfigError for invalid arguments."""
    from fastws.client import connect

    try:
        return connect(
            options.url,
            options.channel,
            options.token,
            options.format,
            dialect=options.dialect,
            connect_timeout=CONNECT_SECONDS,
        )
    except FastWSError as error:
        raise ConfigError(str(error).replace("`url`", "URL:")) from None


def _explain(error: FastWSError, options: argparse.Namespace) -> str:
    """Return the error text with the options of this command instead of the arguments of the Python client."""
    if isinstance(error, Unauthorized):
        return f"{options.url} requires a valid token (401): give one with --token; see `fastws token --help`"
    if isinstance(error, Forbidden) and options.dialect == "workspaces":
        return f"{error}; the token must name the workspace (fastws token --workspace)"
    if isinstance(error, Forbidden):
        named = f"{options.channel[0]}: " if len(options.channel) == 1 else ""
        return f"{named}{error}; a protected channel requires a token that allows it (fastws token --channel)"
    if "WRONG_VERSION_NUMBER" in str(error):  # OpenSSL's answer to a reply that is not TLS
        return f"{options.url}: the server speaks ws:// at this address, not wss://"
    if isinstance(error, Unavailable) and options.dialect == "channels" and urlsplit(options.url).path.strip("/"):
        return f"{options.url}: {error}; if this path speaks another dialect than channels, add --dialect"
    return str(error).replace("`dialect`", "--dialect")
