"""Run the server."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import sys
from dataclasses import replace

import uvloop

from fastws.access.permissions import is_loopback
from fastws.cli.flags import add_setting_flags, config_from
from fastws.config import Config
from fastws.logs import start_logging
from fastws.server import Server


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_setting_flags(parser)


def run(options: argparse.Namespace) -> int:
    config = config_from(options)
    config, made_up = make_up_secrets(config)
    listener = start_logging(config.log_format, config.log_level)
    try:
        return uvloop.run(_serve(config, made_up))
    except OSError as error:
        where = config.unix_socket or f"{config.host}:{config.port}"
        print(f"fastws: cannot listen on {where}: {error.strerror or error}", file=sys.stderr)
        return 2
    finally:
        listener.stop()


def make_up_secrets(config: Config) -> tuple[Config, frozenset[str]]:
    """On a loopback address without secrets: some, so that everything can be tried. And which ones."""
    made_up: dict[str, object] = {}
    if is_loopback(config.host) or config.unix_socket is not None:
        if not (config.jwt_secret or config.jwt_public_key or config.jwt_jwks_url):
            made_up["jwt_secret"] = secrets.token_urlsafe(48)
        if not config.broadcast_key:
            made_up["broadcast_key"] = (secrets.token_urlsafe(24),)
    return replace(config, **made_up), frozenset(made_up)  # type: ignore[arg-type] # of the settings' types


async def _serve(config: Config, made_up: frozenset[str]) -> int:
    server = Server(config, is_key_made_up="jwt_secret" in made_up)
    stopping = asyncio.Event()
    hurrying = asyncio.Event()

    def stop() -> None:
        (hurrying if stopping.is_set() else stopping).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with server:
        print(introduction(server, made_up), flush=True)
        await stopping.wait()
        draining = asyncio.create_task(server.drain())
        hurry = asyncio.create_task(hurrying.wait())
        await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, hurry):
            task.cancel()
        await asyncio.gather(draining, hurry, return_exceptions=True)
    return 0


def introduction(server: Server, made_up: frozenset[str]) -> str:
    """What the start says: addresses, what is open to whom, made-up secrets (once, and not through the logger)."""
    config = server.config
    http = server.url.replace("ws", "http", 1)
    lines = [f"fastws listens on {server.url} (console: {http})"]
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
            f"  curl -H 'Authorization: Bearer {key}' "
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
