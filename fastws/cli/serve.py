"""Run the server."""

from __future__ import annotations

import argparse
import errno
import os
import secrets
import sys
import threading
from dataclasses import replace
from typing import Any, Final

import structlog

from fastws.access.local_peers import is_anonymous_by_default, is_loopback, is_loopback_only
from fastws.brokers.redis.embedded import EMBEDDED, EmbeddedRedis
from fastws.cli.flags import add_setting_flags, config_from, see_modules_here
from fastws.config import Config
from fastws.logs import start_logging
from fastws.server.listening import CannotListen, place_of
from fastws.server.process import run as run_loop
from fastws.server.process import serve_until_stopped
from fastws.server.server import Server
from fastws.workers import Supervisor

log = structlog.stdlib.get_logger("fastws.cli")

# Settings that a reload cannot change, because the supervisor uses them itself.
_UNCHANGING: Final = ("host", "port", "unix_socket", "workers", "redis_url")

EPILOG: Final = """\
Every setting can also be given as FASTWS_… in the environment, or in the TOML file of --config.

examples:
  fastws serve
  fastws serve --config /etc/fastws/fastws.toml
  fastws serve --host 0.0.0.0 --jwt-secret "$SECRET" --broadcast-key "$KEY" --trusted-proxies 10.0.0.0/8
  fastws serve --workers 4 --redis-url redis://127.0.0.1:6379

signals: TERM and INT drain the clients and stop, a second one stops at once; HUP reloads the certificates (one process)
or restarts the workers one by one; USR1 turns debug logging on and off
exit codes: 0 stopped normally, 1 workers failed to start or were killed, 2 invalid setting or address not available
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "fastws serve [options]"
    add_setting_flags(parser)


def run(options: argparse.Namespace) -> int:
    see_modules_here()
    config = config_from(options)
    config, generated = generate_secrets(config)
    start_logging(config.log_format, config.log_level)
    redis: EmbeddedRedis | None = None
    try:
        if config.redis_url == EMBEDDED:
            redis = EmbeddedRedis()
            config = replace(config, redis_url=redis.url)
        if config.workers > 1:
            return _supervise(options, config, generated)
        server = Server(config, generated=generated)
        run_loop(serve_until_stopped(server, lambda: _say(start_up_text(server, generated))))
    except OSError as error:
        cannot = error if isinstance(error, CannotListen) else CannotListen(place_of(config), error)
        print(f"fastws: cannot listen on {cannot.where}: {cannot.reason}{_remedy(cannot, config)}", file=sys.stderr)
        return 2
    finally:
        if redis is not None:
            redis.stop()
    return 0


def _remedy(error: CannotListen, config: Config) -> str:
    if error.errno != errno.EADDRINUSE:
        return ""
    is_port = config.unix_socket is None and error.where == place_of(config)
    free_port = " (--port 0 picks a free port)" if is_port else ""
    return f"; another process uses this address: stop it, or choose another address{free_port}"


def _supervise(options: argparse.Namespace, config: Config, generated: frozenset[str]) -> int:
    # Never started: it checks the settings before any worker starts, and describes the endpoints.
    described = Server(config, generated=generated)
    supervisor = Supervisor(
        config,
        generated=generated,
        reread=lambda: _reread(options, config, generated),
    )
    described.port = supervisor.port
    return supervisor.run(lambda: _print(f"{start_up_text(described, generated)}\n{config.workers} workers"))


def _reread(options: argparse.Namespace, before: Config, generated: frozenset[str]) -> tuple[Config, frozenset[str]]:
    """Return the current settings for a reload, and the secrets in them that are generated.

    Settings that cannot change while the server runs keep their values. Generated secrets are kept unless they are
    configured now. Raises ConfigError.
    """
    fresh = config_from(options)
    kept: dict[str, Any] = {name: getattr(before, name) for name in _UNCHANGING}
    for name in generated:
        if not getattr(fresh, name):
            kept[name] = getattr(before, name)
    return replace(fresh, **kept), generated & kept.keys()


def _say(text: str) -> None:
    """Print the start-up text in a thread: a slow or closed stdout must not stop the server."""
    threading.Thread(target=_print, args=(text,), name="fastws-start-up-text", daemon=True).start()


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except OSError as error:
        log.warning("start-up text not printed", error=str(error))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def generate_secrets(config: Config) -> tuple[Config, frozenset[str]]:
    """Return `config` with temporary secrets where none are set, and the names of the settings that were generated.

    Only on a loopback address or a Unix socket, where nobody else can connect.
    """
    generated: dict[str, object] = {}
    if is_loopback(config.host) or config.unix_socket is not None:
        if not (config.jwt_secret or config.jwt_public_key or config.jwt_jwks_url):
            generated["jwt_secret"] = secrets.token_urlsafe(48)
        if not config.broadcast_key:
            generated["broadcast_key"] = (secrets.token_urlsafe(24),)
    return replace(config, **generated), frozenset(generated)  # type: ignore[arg-type] # of the settings' types


def start_up_text(server: Server, generated: frozenset[str]) -> str:
    """Return the start-up text: addresses, who may connect, temporary secrets (printed once and never logged)."""
    config = server.config
    unix = "" if config.unix_socket is None else f"--unix-socket {config.unix_socket} "
    http = "http://localhost/" if unix else server.url.replace("ws", "http", 1)
    lines = [f"fastws listens on {server.url}" + ("" if unix else f" (console: {http})")]
    for path, mount in sorted(server.mounts.table.items()):
        lines.append(f"  {path:<16}{mount.name:<18}{_access(server, mount.without_token.needs_token)}")
    lines += _anonymous(config)
    lines += _web_pages(config)
    if not server.tokens.key_configured:
        lines.append("No JWT key set: all tokens are refused with 401. Set jwt_secret, jwt_public_key or jwt_jwks_url.")
    if not config.broadcast_key:
        lines.append("No broadcast_key set: POST /broadcast and /connections are refused with 401.")
    lines.extend(f"Warning: {warning}." for warning in server.tokens.warnings)
    return "\n".join(lines + _generated_lines(server, generated, f"curl {unix}", http))


def _generated_lines(server: Server, generated: frozenset[str], curl: str, http: str) -> list[str]:
    """Return the part of the start-up text that shows the generated secrets."""
    lines = []
    if "jwt_secret" in generated:
        token = server.tokens.sign("demo", workspaces=["demo"], channels=["**"], publish=["**"], ttl_seconds=86_400)
        lines += [
            "No JWT key set: using a temporary jwt_secret. Demo token (user demo, valid 24 h):",
            f"  {token}",
        ]
    if "broadcast_key" in generated:
        key = server.config.broadcast_key[0]
        lines += ["No broadcast_key set: using a temporary one:", f"  {key}"]
        lines.append(
            f"  {curl}-H 'Authorization: Bearer {key}' "
            f'-d \'{{"channel":"news","event":"hello","data":"world"}}\' {http}broadcast'
        )
    return lines


def _anonymous(config: Config) -> list[str]:
    """Return the lines on clients without a token; none if `allow_anonymous` is set."""
    if config.allow_anonymous is not None:
        return []
    if is_anonymous_by_default(config):
        return [
            "This machine: direct connections from a loopback address to a loopback name, without proxy headers.",
            "  A proxy on this machine that adds no such header looks the same: set trusted_proxies or use tokens.",
        ]
    if config.unix_socket is not None or is_loopback(config.host):
        way = "trusted_proxies" if config.trusted_proxies else "a Unix socket"
        return [f"Clients that come through {way} need a token; --allow-anonymous true accepts everybody without one."]
    return []


def _web_pages(config: Config) -> list[str]:
    """Return the lines on pages of other sites and on other host names; none if all are allowed."""
    if not is_loopback_only(config):
        return []
    lines = []
    if config.allowed_origins is None:
        lines.append("Web pages: only those on this machine; --allowed-origins https://app.example.com allows others.")
    if config.allowed_hosts is None:
        lines.append(
            "Host names: only this machine's, such as localhost; --allowed-hosts live.example.com allows others."
        )
    return lines


def _access(server: Server, needs_token: bool) -> str:  # noqa: FBT001
    if needs_token:
        return "token required"
    if not server.permissions.allow_anonymous:
        return "token required (allow_anonymous is off)"
    if server.config.allow_anonymous is None:
        return "open to clients on this machine"
    return "open to everyone"
