"""The report at the start: addresses, who may connect, warnings; as a text for terminals, or as log lines."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import structlog

from fastws.access.local_peers import is_anonymous_by_default, is_loopback, is_loopback_only
from fastws.config import Config
from fastws.server.server import Server
from fastws.vocabulary.pusher_apps import PusherApp

log = structlog.stdlib.get_logger("fastws.server")


def log_start(
    server: Server, generated: Collection[str], warnings: Sequence[str], settings_file: str | None = None
) -> None:
    """Log what `start_up_text` prints, without generated secrets. `warnings` are those about the environment."""
    config = server.config
    mounts = {path: mount.name for path, mount in sorted(server.mounts.table.items())}
    log.info("listening", url=server.url, mounts=mounts, workers=config.workers, settings_file=settings_file)
    for app in server.admittance.pusher_apps:
        log.info("serving a Pusher app", app=app.id, keys=list(app.secrets), namespace=_namespace(app))
    if generated:
        log.info(
            "temporary secrets generated: they are printed on a terminal only",
            settings=sorted(generated),
            remedy="set them to use tokens and POST /broadcast",
        )
    if not server.tokens.key_configured:
        log.warning("no JWT key set: all tokens are refused", remedy="set jwt_secret, jwt_public_key or jwt_jwks_url")
    if not config.broadcast_key:
        log.warning("no broadcast_key set: POST /broadcast and /connections are refused", remedy="set broadcast_key")
    for warning in (*server.admittance.warnings, *warnings):
        log.warning("unsafe or unknown setting", reason=warning)


def start_up_text(
    server: Server, generated: Collection[str], warnings: Sequence[str], settings_file: str | None = None
) -> str:
    """Return the start-up text: addresses, who may connect, temporary secrets (printed once and never logged)."""
    config = server.config
    unix = "" if config.unix_socket is None else f"--unix-socket {config.unix_socket} "
    http = reachable_url(server).replace("ws", "http", 1)
    lines = [_where(server, http)]
    if settings_file is not None:
        lines.append(f"Settings: {settings_file}; FASTWS_… variables and flags override it")
    lines += _mounts(server)
    for app in server.admittance.pusher_apps:
        state = _namespace(app) if app.is_enabled else "not enabled"
        lines += [f"  Pusher app {app.id}: key {key} ({state})" for key in app.secrets]
    lines += _anonymous(config)
    lines += _web_pages(config)
    if not server.tokens.key_configured:
        lines.append("No JWT key set: all tokens are refused with 401. Set jwt_secret, jwt_public_key or jwt_jwks_url.")
    if not config.broadcast_key:
        lines.append("No broadcast_key set: POST /broadcast and /connections are refused with 401.")
    lines.extend(f"Warning: {warning}" for warning in (*server.admittance.warnings, *warnings))
    lines += _generated_lines(server, generated, f"curl {unix}", http)
    return "\n".join(lines)


def reachable_url(server: Server) -> str:
    """Return a URL at which this machine reaches the server, also if it listens on all addresses or a Unix socket."""
    if server.config.unix_socket is not None:
        return "ws://localhost/"
    return server.url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _where(server: Server, http: str) -> str:
    """Return the first line: the address, the console, the number of workers."""
    config = server.config
    if config.unix_socket is not None:
        return f"fastws listens on {server.url}"
    notes = [f"console: {http}"]
    if reachable_url(server) != server.url:
        notes.insert(0, "and all other addresses of this machine")
    if config.workers > 1:
        notes.append(f"{config.workers} workers")
    return f"fastws listens on {reachable_url(server)} ({'; '.join(notes)})"


def _mounts(server: Server) -> list[str]:
    """Return a line for each dialect: its paths, its name, who may connect."""
    paths: dict[tuple[str, str], list[str]] = {}
    for path, mount in sorted(server.mounts.table.items()):
        access = _access(server, mount.without_token.needs_token)
        paths.setdefault((mount.name, access), []).append(path)
    return [f"  {', '.join(found):<16}{name:<18}{access}" for (name, access), found in paths.items()]


def _namespace(app: PusherApp) -> str:
    """Return where the channels of an app are."""
    return "shares the channels of all clients" if app.is_shared else f"channels pusher:{app.id}:…"


def _generated_lines(server: Server, generated: Collection[str], curl: str, http: str) -> list[str]:
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
        broadcast = f'-d \'{{"channel":"news","event":"hello","data":"world"}}\' {http}broadcast'
        lines += [
            "No broadcast_key set: using a temporary one (`fastws init` writes a settings file with lasting secrets):",
            f"  {curl}-H 'Authorization: Bearer {key}' {broadcast}",
        ]
    return lines


def _anonymous(config: Config) -> list[str]:
    """Return the lines on clients without a token; none if `allow_anonymous` is set."""
    if config.allow_anonymous is not None:
        return []
    if is_anonymous_by_default(config):
        return [
            "This machine: direct connections only. For a proxy here that adds no X-Forwarded-For, set trusted_proxies."
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
