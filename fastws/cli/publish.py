"""Publish through a running server's HTTP API, or straight through Redis."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Final

import orjson

from fastws.errors import ConfigError, FastWSError

EPILOG: Final = """\
examples:
  fastws publish news hello '{"a":1}'
  echo '{"a":1}' | fastws publish news hello - --url http://10.0.0.5:8000 --key "$KEY"
  fastws publish news hello '"text"' --redis-url redis://127.0.0.1:6379

It prints {"sent","failed","stale"}: how many heard it, how many had a full queue, whether a connection was gone.
exit codes: 0 published, 1 refused or not reached, 2 no JSON, or a URL that is none
"""

DEFAULT_URL = "http://127.0.0.1:8000"
PATIENCE_SECONDS = 2.0  # somebody sits before it: a server that is not there is said soon


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("channel", metavar="CHANNEL")
    parser.add_argument("event", metavar="EVENT")
    parser.add_argument("data", metavar="JSON", help="any JSON value, such as '{\"a\":1}'; - reads it from stdin")
    parser.add_argument("--url", metavar="URL", help=f"the server [FASTWS_URL or {DEFAULT_URL}]")
    parser.add_argument("--key", metavar="KEY", help="a broadcast key [FASTWS_BROADCAST_KEY]")
    parser.add_argument("--redis-url", metavar="URL", help="publish through this Redis instead")


def run(options: argparse.Namespace) -> int:
    from fastws.backend import Broadcaster, RedisBroadcaster

    text = sys.stdin.read() if options.data == "-" else options.data
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"JSON: {text[:80]!r} is not valid JSON: {error}; text needs quotes: '\"text\"'") from None
    try:
        if options.redis_url:
            with RedisBroadcaster(options.redis_url) as broadcaster:
                result: object = broadcaster.publish(options.channel, options.event, data)
        else:
            url = options.url or os.environ.get("FASTWS_URL", DEFAULT_URL)
            key = options.key or os.environ.get("FASTWS_BROADCAST_KEY", "").partition(",")[0]
            with Broadcaster(url, key, retry_seconds=PATIENCE_SECONDS) as http_broadcaster:
                result = http_broadcaster.publish(options.channel, options.event, data)
    except ConfigError:
        raise
    except FastWSError as error:
        print(f"fastws: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(orjson.dumps(result) + b"\n")
    return 0
