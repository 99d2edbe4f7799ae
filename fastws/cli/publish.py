"""Publish a message over the HTTP API of a running server, or through Redis."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final

import orjson

from fastws.errors import ConfigError, FastWSError

if TYPE_CHECKING:
    from fastws.backend import Outcome

EPILOG: Final = """\
examples:
  fastws publish news hello '{"a":1}'
  echo '{"a":1}' | fastws publish news hello - --url http://10.0.0.5:8000 --key "$KEY"
  fastws publish news hello '"text"' --redis-url redis://127.0.0.1:6379

Prints {"sent","failed","stale"}: subscribers reached, subscribers with a full queue, closed target connections.
"sent":0 means that nobody is subscribed to the channel.
exit codes: 0 published, 1 refused or unreachable, 2 invalid JSON or URL
"""

DEFAULT_URL = "http://127.0.0.1:8000"
RETRY_SECONDS = 2.0  # short, because a person is waiting


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("channel", metavar="CHANNEL", help="channel to publish to")
    parser.add_argument("event", metavar="EVENT", help="name of the event, for example hello")
    parser.add_argument("data", metavar="JSON", help="any JSON value, for example '{\"a\":1}'; - reads it from stdin")
    parser.add_argument("--url", metavar="URL", help=f"address of the server [FASTWS_URL or {DEFAULT_URL}]")
    parser.add_argument("--key", metavar="KEY", help="a broadcast_key of the server [FASTWS_BROADCAST_KEY]")
    parser.add_argument("--redis-url", metavar="URL", help="publish through this Redis server instead")


def run(options: argparse.Namespace) -> int:
    text = sys.stdin.read() if options.data == "-" else options.data
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigError(
            f"JSON: must be valid JSON, not {text[:80]!r} ({error}); strings need quotes: '\"text\"'"
        ) from None
    try:
        outcome = _publish(options, data)
    except ConfigError as error:
        raise ConfigError(_with_options(error)) from None
    except FastWSError as error:
        print(f"fastws: {_with_options(error)}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(orjson.dumps(outcome) + b"\n")
    return 0


def _publish(options: argparse.Namespace, data: object) -> Outcome:
    from fastws.backend import Broadcaster, RedisBroadcaster

    if options.redis_url:
        with RedisBroadcaster(options.redis_url) as broadcaster:
            return broadcaster.publish(options.channel, options.event, data)
    url = options.url or os.environ.get("FASTWS_URL", DEFAULT_URL)
    key = options.key or os.environ.get("FASTWS_BROADCAST_KEY", "").partition(",")[0]
    with Broadcaster(url, key, retry_seconds=RETRY_SECONDS) as http_broadcaster:
        return http_broadcaster.publish(options.channel, options.event, data)


def _with_options(error: FastWSError) -> str:
    """Return the error text with the options of this command instead of the arguments of the Python API."""
    text = str(error)
    for option in ("key", "url", "redis_url"):
        text = text.replace(f"`{option}`", f"--{option.replace('_', '-')}")
    return text
