"""Run the server."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from dataclasses import replace
from typing import Any, Final

import uvloop

from fastws.access.permissions import is_loopback
from fastws.brokers.redis.embedded import EMBEDDED, EmbeddedRedis
from fastws.cli.flags import add_setting_flags, config_from, see_modules_here
from fastws.config import Config
from fastws.logs import start_logging
from fastws.server.listening import CannotListen, place_of
from fastws.server.process import serve_until_told
from fastws.server.server import Server
from fastws.workers import Supervisor

# What the supervisor itself holds.
_UNCHANGING: Final = ("host", "port", "unix_socket", "workers", "redis_url")

EPILOG: Final = """\
Every flag is also FASTWS_… in the environment and a line of the TOML file that --config names.

examples:
  fastws serve
  fastws serve --config /etc/fastws/fastws.toml
  fastws serve --host 0.0.0.0 --jwt-secret "$SECRET" --broadcast-key "$KEY" --trusted-proxies 10.0.0.0/8
  fastws serve --workers 4 --redis-url redis://127.0.0.1:6379

signals: TERM and INT drain, a second one stops at once; HUP reads certificates again (one process) or replaces the
workers one by one; USR1 turns debug lines on and off
exit codes: 0 stopped in good order, 1 workers did not start or had to be killed, 2 a setting that cannot be used, or
an address that cannot be listened on
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_setting_flags(parser)


def run(options: argparse.Namespace) -> int:
    see_modules_here()
    config = config_from(options)
    config, made_up = make_up_secrets(config)
    listener = start_logging(config.log_format, config.log_level)
    redis: EmbeddedRedis | None = None
    try:
        if config.redis_url == EMBEDDED:
            redis = EmbeddedRedis()
            config = replace(config, redis_url=redis.url)
        if config.workers > 1:
            return _supervise(options, config, made_up)
        server = Server(config, is_key_made_up="jwt_secret" in made_up)
        uvloop.run(serve_until_told(server, lambda: _say(introduction(server, made_up))))
    except OSError as error:
        cannot = error if isinstance(error, CannotListen) else CannotListen(place_of(config), error)
        print(f"fastws: cannot listen on {cannot.where}: {cannot.reason}", file=sys.stderr)
        return 2
    finally:
        if redis is not None:
            redis.stop()
        listener.stop()
    return 0


def _supervise(options: argparse.Namespace, config: Config, made_up: frozenset[str]) -> int:
    # Made here only to read what it would open to whom; wrong settings end the start before any worker.
    described = Server(config, is_key_made_up="jwt_secret" in made_up)
    supervisor = Supervisor(
        config,
        is_key_made_up="jwt_secret" in made_up,
        reread=lambda: _reread(options, config, made_up),
    )
    described.port = supervisor.port
    return supervisor.run(lambda: _say(f"{introduction(described, made_up)}\n{config.workers} workers"))


def _reread(options: argparse.Namespace, before: Config, made_up: frozenset[str]) -> tuple[Config, bool]:
    """The settings as they are now, as far as they can change while the server runs, and whether the key is made up.

    A secret that was made up stays, unless one is set by now. Raises ConfigError.
    """
    fresh = config_from(options)
    kept: dict[str, Any] = {name: getattr(before, name) for name in _UNCHANGING}
    for name in made_up:
        if not getattr(fresh, name):
            kept[name] = getattr(before, name)
    return replace(fresh, **kept), "jwt_secret" in kept


def _say(text: str) -> None:
    """Print the introduction; whoever was to read it may have left, which is no reason not to serve."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_up_secrets(config: Config) -> tuple[Config, frozenset[str]]:
    """On a loopback address without secrets: some, so that everything can be tried. And which ones."""
    made_up: dict[str, object] = {}
    if is_loopback(config.host) or config.unix_socket is not None:
        if not (config.jwt_secret or config.jwt_public_key or config.jwt_jwks_url):
            made_up["jwt_secret"] = secrets.token_urlsafe(48)
        if not config.broadcast_key:
            made_up["broadcast_key"] = (secrets.token_urlsafe(24),)
    return replace(config, **made_up), frozenset(made_up)  # type: ignore[arg-type] # of the settings' types


def introduction(server: Server, made_up: frozenset[str]) -> str:
    """What the start says: addresses, what is open to whom, made-up secrets (once, and not through the logger)."""
    config = server.config
    unix = "" if config.unix_socket is None else f"--unix-socket {config.unix_socket} "
    http = "http://localhost/" if unix else server.url.replace("ws", "http", 1)
    lines = [f"fastws listens on {server.url}" + ("" if unix else f" (console: {http})")]
    for path, mount in sorted(server.mounts.table.items()):
        lines.append(f"  {path:<16}{mount.name:<18}{_who(server, mount.without_token.needs_token)}")
    if not server.tokens.key_configured:
        lines.append("No JWT key is set: every token is refused with 401 (jwt_secret, jwt_public_key or jwt_jwks_url).")
    if not config.broadcast_key:
        lines.append("No broadcast_key is set: POST /broadcast and /connections answer 401 to everyone.")
    lines.extend(f"Warning: {warning}." for warning in server.tokens.warnings)
    if "jwt_secret" in made_up:
        token = server.tokens.sign("demo", workspaces=["demo"], channels=["**"], publish=["**"], ttl_seconds=86_400)
        lines += [
            "No JWT key was set, so one was made up for this run. A token of user demo, for a day:",
            f"  {token}",
        ]
    if "broadcast_key" in made_up:
        key = config.broadcast_key[0]
        lines += ["No broadcast key was set, so one was made up for this run:", f"  {key}"]
        lines.append(
            f"  curl {unix}-H 'Authorization: Bearer {key}' "
            f'-d \'{{"channel":"news","event":"hello","data":"world"}}\' {http}broadcast'
        )
    return "\n".join(lines)


def _who(server: Server, needs_token: bool) -> str:  # noqa: FBT001
    if needs_token:
        return "with a token"
    if not server.permissions.allow_anonymous:
        return "with a token (401 without; allow_anonymous is off)"
    if server.config.allow_anonymous is None:
        return "open to this machine"
    return "open to everyone"
