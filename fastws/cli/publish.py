"""Publish a message over the HTTP API of a running server, or through Redis."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import orjson

from fastws.cli.colours import printable
from fastws.cli.flags import add_setting_flags, config_from
from fastws.cli.running import RunningServer, running_server_at, the_running_server
from fastws.config import SETTINGS, Config
from fastws.errors import ConfigError, FastWSError

if TYPE_CHECKING:
    import httpx

    from fastws.backend import Broadcaster, Outcome

EPILOG: Final = """\
examples:
  fastws publish news hello '{"a":1}'                    to the server that runs on this machine
  export FASTWS_BROADCAST_KEY=…                        the key of another one, or FASTWS_BROADCAST_KEY_FILE=FILE
  echo '{"a":1}' | fastws publish news hello - --url http://10.0.0.5:8000
  fastws publish news hello '"text"' --config /etc/fastws/fastws.toml
  fastws publish news hello '"text"' --redis-url redis://127.0.0.1:6379

Without an address it finds the server of this user that runs on this machine, and its key. Otherwise it reads the same
flags, environment and file as `fastws serve` for its address, keys, prefix and channels.

Prints {"sent","failed","stale"}: subscribers reached, subscribers with a full queue, closed target connections.
"sent":0 means that nobody is subscribed to the channel.
exit codes: 0 published, 1 refused or unreachable, 2 invalid JSON or URL
"""

# Settings of the server that say where and how to reach it; broadcast_key and tls_cert are read as well.
_SETTINGS: Final = ("host", "port", "unix_socket", "redis_prefix", "jobs_channel", "workspace_channel")
RETRY_SECONDS = 2.0  # short, because a person is waiting


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("channel", metavar="CHANNEL", help="channel to publish to")
    parser.add_argument("event", metavar="EVENT", help="name of the event, for example hello")
    parser.add_argument("data", metavar="JSON", help="any JSON value, for example '{\"a\":1}'; - reads it from stdin")
    add_server_flags(parser)
    parser.add_argument("--redis-url", metavar="URL", help="publish through this Redis server instead")
    add_setting_flags(parser, _SETTINGS)


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", metavar="URL", help="address of the server [FASTWS_URL, host and port, or the one that runs here]"
    )
    parser.add_argument(
        "--key",
        metavar="KEY",
        help="a broadcast_key of the server [the first of broadcast_key, or that of the server that runs here]",
    )


def run(options: argparse.Namespace) -> int:
    text = sys.stdin.buffer.read() if options.data == "-" else os.fsencode(options.data)
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        found = text[:80].decode(errors="replace")
        raise ConfigError(
            f"JSON: must be valid JSON, not {found!r} ({error}); strings need quotes: '\"text\"'"
        ) from None
    return print_lines(lambda: [_publish(options, data)])


def print_lines(ask: Callable[[], Iterable[object]]) -> int:
    """Print the results of `ask` as JSON lines. Returns the exit code."""
    try:
        lines = [orjson.dumps(line) + b"\n" for line in ask()]
    except ConfigError as error:
        raise ConfigError(_with_options(error)) from None
    except FastWSError as error:
        print(f"fastws: {printable(_with_options(error))}", file=sys.stderr)
        return 1
    sys.stdout.buffer.writelines(lines)
    return 0


def _publish(options: argparse.Namespace, data: object) -> Outcome:
    from fastws.backend import RedisBroadcaster

    if not options.redis_url:
        with server_of(options) as broadcaster:
            return broadcaster.publish(options.channel, options.event, data)
    config = config_from(options)
    with RedisBroadcaster(
        options.redis_url,
        prefix=config.redis_prefix,
        workspace_channel=config.workspace_channel,
        jobs_channel=config.jobs_channel,
    ) as through_redis:
        return through_redis.publish(options.channel, options.event, data)


@contextmanager
def server_of(options: argparse.Namespace) -> Iterator[Broadcaster]:
    """The running server that the flags, the environment and the file describe."""
    from fastws.backend import Broadcaster

    config = config_from(options)
    given = options.url or os.environ.get("FASTWS_URL")
    running = _running(config, given)
    unix_socket = config.unix_socket or (running.unix_socket if running else None)
    with ExitStack() as stack:
        client = None if given or unix_socket is None else stack.enter_context(_client(unix_socket))
        yield stack.enter_context(
            Broadcaster(
                given or (running.http_url if running else url_of(config)),
                options.key or next(iter(config.broadcast_key), running.key if running else ""),
                retry_seconds=RETRY_SECONDS,
                client=client,
                workspace_channel=config.workspace_channel,
                jobs_channel=config.jobs_channel,
            )
        )


def _running(config: Config, given: str | None) -> RunningServer | None:
    """Return the server of this user that runs at the URL `given`, or at the configured address, or at any.

    Raises ConfigError if no address is set and several servers run.
    """
    if given:
        return running_server_at(given)
    if config.unix_socket is not None:
        return None
    if (config.host, config.port) == (SETTINGS["host"].default, SETTINGS["port"].default):
        return the_running_server()
    return running_server_at(url_of(config))


def url_of(config: Config) -> str:
    """Return the URL at which this machine reaches a server with these settings."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.host, config.host)  # noqa: S104 not bound, but replaced
    if config.unix_socket is not None:
        host = "localhost"
    port = "" if config.unix_socket is not None else f":{config.port}"
    return f"{'https' if config.tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}{port}"


def _client(unix_socket: str) -> httpx.Client:
    import httpx

    return httpx.Client(transport=httpx.HTTPTransport(uds=unix_socket))


def _with_options(error: FastWSError) -> str:
    """Return the error text with the options of this command instead of the arguments of the Python API."""
    text = str(error)
    for option in ("key", "url", "redis_url"):
        text = text.replace(f"`{option}`", f"--{option.replace('_', '-')}")
    if "WRONG_VERSION_NUMBER" in text:  # OpenSSL's answer to a reply that is not TLS
        return "the server speaks http:// at this address, not https://"
    return text
