"""Run the server."""

from __future__ import annotations

import argparse
import errno
import os
import secrets
import socket
import sys
from dataclasses import replace
from typing import Any, Final

from fastws.access.local_peers import is_loopback
from fastws.brokers.redis.embedded import EMBEDDED, EmbeddedRedis
from fastws.cli.announcement import Announcement
from fastws.cli.flags import add_setting_flags, config_from, see_modules_here, settings_file
from fastws.cli.port_holder import holder_of
from fastws.cli.running import Record
from fastws.config import Config
from fastws.logs import start_logging
from fastws.server.listening import CannotListen, place_of
from fastws.server.process import run as run_loop
from fastws.server.process import serve_until_stopped
from fastws.server.server import Server
from fastws.server.systemd import Notifier, take_sockets, with_address_of
from fastws.workers import Supervisor

# Settings that a reload cannot change, because the supervisor uses them itself.
_UNCHANGING: Final = ("host", "port", "workers", "redis_url")

_REMEDIES: Final = {
    errno.EADDRINUSE: "; another process uses this address: stop it, or choose another address",
    errno.EADDRNOTAVAIL: "; this machine does not have this address: use one of its own, or 0.0.0.0 for all",
    errno.EACCES: "; ports below 1024 require root, CAP_NET_BIND_SERVICE or fastws.socket, Unix sockets a directory "
    "that this user may write to",
    errno.ENOENT: "; create its directory",
    socket.EAI_NONAME: "; use an address of this machine, or a name that resolves to one",
}

# The settings that --help lists; --help-all lists all.
_SHOWN: Final = (
    *("host", "port", "workers", "tls_cert", "tls_key", "redis_url"),
    *("jwt_secret", "broadcast_key", "allow_anonymous", "allowed_origins", "trusted_proxies"),
    *("history", "log_level"),
)

# The default of drain_timeout on a terminal.
TERMINAL_DRAIN_SECONDS: Final = 1.0

EPILOG: Final = """\
Every setting can also be given as FASTWS_… in the environment, or in a TOML file, which `fastws init` writes.

examples:
  fastws serve
  fastws serve --config /etc/fastws/fastws.toml
  export FASTWS_JWT_SECRET=… FASTWS_BROADCAST_KEY_FILE=/run/secrets/key       secrets: in the environment or in files
  fastws serve --host 0.0.0.0 --trusted-proxies 10.0.0.0/8
  fastws serve --workers 4 --redis-url redis://127.0.0.1:6379

signals: TERM and INT drain the clients and stop, a second one stops at once; HUP reloads the certificates (one process)
or replaces the workers; USR1 turns debug logging on and off
exit codes: 0 stopped normally, 1 the start failed or workers were killed, 2 invalid setting or address not available
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "fastws serve [options]"
    add_setting_flags(parser, shown=_SHOWN)


def run(options: argparse.Namespace) -> int:
    see_modules_here()
    notifier = Notifier(os.environ)
    sockets = take_sockets(os.environ)
    config = _settings(options, sockets)
    config, generated = generate_secrets(config)
    start_logging(config.log_format, config.log_level)
    redis: EmbeddedRedis | None = None
    record = Record()
    try:
        if config.redis_url == EMBEDDED:
            redis = EmbeddedRedis()
            config = replace(config, redis_url=redis.url)
        if config.workers > 1:
            return _supervise(options, config, generated, notifier, sockets, redis, record)
        server = Server(config, generated=generated, listening_sockets=sockets)
        announcement = Announcement(server, generated, notifier, record, settings_file(options))
        run_loop(serve_until_stopped(server, announcement.make, notifier=notifier))
    except CannotListen as error:
        print(f"fastws: cannot listen on {error.where}: {error.reason}{_remedy(error, config)}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"fastws: cannot start: {_named(error)}", file=sys.stderr)
        return 1
    finally:
        record.remove()
        if redis is not None:
            redis.stop()
    return 0


def _settings(options: argparse.Namespace, sockets: list[socket.socket]) -> Config:
    """Return the settings. Raises ConfigError.

    On a terminal of the same machine somebody waits for the end of the server: the drain is short unless it is set.
    """
    config = config_from(options)
    if sys.stdout.isatty() and is_local(config):
        config = config_from(options, defaults={"drain_timeout": TERMINAL_DRAIN_SECONDS})
    return with_address_of(config, sockets)


def _named(error: OSError) -> str:
    """Return the text of `error` with the file or address that it concerns."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _remedy(error: CannotListen, config: Config) -> str:
    remedy = _REMEDIES.get(error.errno or 0, "")
    is_port = config.unix_socket is None and error.where == place_of(config)
    if error.errno == errno.EADDRINUSE and is_port:
        holder = holder_of(config.port) or "another process"
        return f"; {holder} uses this port: stop it, or choose another port (--port 0 picks a free port)"
    return remedy


def _supervise(
    options: argparse.Namespace,
    config: Config,
    generated: frozenset[str],
    notifier: Notifier,
    sockets: list[socket.socket],
    redis: EmbeddedRedis | None,
    record: Record,
) -> int:
    # Never started: it checks the settings before any worker starts, and describes the endpoints.
    described = Server(config, generated=generated)
    supervisor = Supervisor(
        config,
        generated=generated,
        reread=lambda: _reread(options, config, generated),
        notifier=notifier,
        inherited=sockets,
        redis=redis,
    )
    described.port = supervisor.port
    return supervisor.run(Announcement(described, generated, notifier, record, settings_file(options)).make)


def _reread(options: argparse.Namespace, before: Config, generated: frozenset[str]) -> tuple[Config, frozenset[str]]:
    """Return the current settings for a reload, and the secrets in them that are generated.

    Settings that cannot change while the server runs keep their values. Generated secrets are kept unless they are
    configured now. Raises ConfigError.
    """
    fresh = _settings(options, [])
    kept: dict[str, Any] = {name: getattr(before, name) for name in _UNCHANGING}
    for name in generated:
        if not getattr(fresh, name):
            kept[name] = getattr(before, name)
    return replace(fresh, **kept), generated & kept.keys()


def is_local(config: Config) -> bool:
    """Whether the server listens where only this machine can connect."""
    return is_loopback(config.host) or config.unix_socket is not None


def generate_secrets(config: Config) -> tuple[Config, frozenset[str]]:
    """Return `config` with temporary secrets where none are set, and the names of the settings that were generated.

    Only on a loopback address or a Unix socket, where nobody else can connect.
    """
    generated: dict[str, object] = {}
    if is_local(config):
        if not (config.jwt_secret or config.jwt_public_key or config.jwt_jwks_url):
            generated["jwt_secret"] = secrets.token_urlsafe(48)
        if not config.broadcast_key:
            generated["broadcast_key"] = (secrets.token_urlsafe(24),)
    return replace(config, **generated), frozenset(generated)  # type: ignore[arg-type] # of the settings' types
