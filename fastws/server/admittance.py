"""Admittance: the parts that decide who may connect and what clients may do. Made before any event loop runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from fastws.access.broadcast_key import BroadcastKeys
from fastws.access.hosts import AllowedHosts
from fastws.access.local_peers import LocalPeers
from fastws.access.origins import AllowedOrigins
from fastws.access.permissions import Permissions
from fastws.access.proxies import TrustedProxies
from fastws.access.revocation import Revocations
from fastws.access.tokens import Tokens
from fastws.brokers.redis.channels import shared_feeds
from fastws.brokers.redis.embedded import EMBEDDED
from fastws.callouts.loading import check_loads, load_function
from fastws.config import Config
from fastws.dialects.mount import Mounts
from fastws.errors import ConfigError
from fastws.mistakes import Mistakes
from fastws.pusher_settings import pusher_apps
from fastws.redis_places import parse_places
from fastws.server.tls import Tls
from fastws.vocabulary.pusher_apps import PusherApps
from fastws.vocabulary.socket_ids import SocketIds

if TYPE_CHECKING:
    from fastws.callouts.jwks import Jwks
    from fastws.dialects.pusher import PusherDialects


class Admittance:
    """Keys, permissions, origins, mounts and TLS, from the settings. Raises ConfigError with all invalid settings.

    `generated` names the secrets in `config` that were generated at start. A generated JWT key does not protect rooms,
    so that a server can be tried out without tokens. `warnings` are sentences about unsafe settings.
    """

    def __init__(self, config: Config, generated: Collection[str]) -> None:
        self._mistakes = Mistakes()
        has_configured_key = self._make_tokens(config, generated)
        self._make_channels(config, has_configured_key=has_configured_key)
        self._make_addresses(config)
        with self._mistakes.collect():
            self.tls = Tls.of(config)
        self._check_redis(config)
        self._check_callouts(config)
        self._mistakes.raise_all()
        self.has_configured_keys = bool(
            config.aws_credentials or (config.broadcast_key and "broadcast_key" not in generated) or has_configured_key
        )
        self.warnings = (
            *self.tokens.warnings,
            *self.broadcast_keys.warnings,
            *self.permissions.warnings,
            *shared_feeds(config),
            *self._hook_warnings(config),
        )

    def _hook_warnings(self, config: Config) -> tuple[str, ...]:
        if config.event_hook is None or config.public_url is not None or not self.allowed_hosts.is_open:
            return ()
        warning = (
            "event_hook: clients choose the `domainName` of its events, and so where a hook that follows it sends "
            "requests; set public_url, or allowed_hosts to the names of this server"
        )
        return (warning,)

    def _make_tokens(self, config: Config, generated: Collection[str]) -> bool:
        """Make the parts that know keys. Return whether a JWT key is configured."""
        has_configured_key = False
        with self._mistakes.collect():
            self.jwks = _make_jwks(config.jwt_jwks_url) if config.jwt_jwks_url else None
        with self._mistakes.collect():
            self.tokens = Tokens(config, getattr(self, "jwks", None))
            has_configured_key = self.tokens.key_configured and "jwt_secret" not in generated
        with self._mistakes.collect():
            self.broadcast_keys = BroadcastKeys(config.broadcast_key)
        self.revocations = Revocations(leeway_seconds=config.jwt_leeway)
        return has_configured_key

    def _make_channels(self, config: Config, *, has_configured_key: bool) -> None:
        with self._mistakes.collect():
            self.permissions = Permissions(config, has_configured_key)
        with self._mistakes.collect():
            self.pusher_apps = pusher_apps(config)
            self.pusher = _make_pusher(self.pusher_apps, self.permissions) if self.pusher_apps else None
            self.mounts = Mounts(
                config.mounts,
                workspace_channel=config.workspace_channel,
                jobs_channel=config.jobs_channel,
                keyed=() if self.pusher is None else (self.pusher,),
            )

    def _make_addresses(self, config: Config) -> None:
        """Make the parts that know addresses of clients, proxies and pages."""
        with self._mistakes.collect():
            self.allowed_origins = AllowedOrigins.of(config)
        with self._mistakes.collect():
            self.allowed_hosts = AllowedHosts.of(config)
        with self._mistakes.collect():
            self.trusted_proxies = TrustedProxies(config.trusted_proxies)
        with self._mistakes.collect():
            self.local_peers = LocalPeers(config)
        with self._mistakes.collect():
            if config.proxy_protocol and not config.trusted_proxies:
                raise ConfigError(
                    "proxy_protocol: requires trusted_proxies, which is not set; list the addresses of the proxies "
                    "there"
                )

    def _check_redis(self, config: Config) -> None:
        with self._mistakes.collect():
            if config.redis_url is not None and config.redis_url != EMBEDDED:
                parse_places(config.redis_url)

    def _check_callouts(self, config: Config) -> None:
        """Check that callouts can be loaded, before anything starts. They are loaded again on use."""
        for setting in ("authorizer", "event_hook"):
            with self._mistakes.collect():
                check_loads(getattr(config, setting), setting=setting)
        with self._mistakes.collect():
            if config.metrics_hook is not None:
                load_function(config.metrics_hook, setting="metrics_hook")


def _make_pusher(apps: PusherApps, permissions: Permissions) -> PusherDialects:
    from fastws.access.pusher_signatures import is_signed, sign  # what a server without apps does not need
    from fastws.dialects.pusher import PusherDialects

    by_key = {key: app for app in apps for key in app.secrets}
    # The same in all processes, and nobody else knows it.
    secret = "".join(secret for _, secret in sorted((key, app.secrets[key]) for key, app in by_key.items()))
    ids = SocketIds(sign(secret, "socket ids").encode())
    return PusherDialects(by_key, is_signed, ids, permissions.is_protected)


def _make_jwks(url: str) -> Jwks:
    from fastws.callouts.jwks import Jwks  # httpx takes 2 MB, which a server without `jwt_jwks_url` does not need

    return Jwks(url)
