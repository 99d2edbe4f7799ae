"""Admittance: who is let in and what they may do, as the settings say. Made before any event loop runs."""

from __future__ import annotations

from collections.abc import Collection

from fastws.access.broadcast_key import BroadcastKeys
from fastws.access.hosts import AllowedHosts
from fastws.access.local_peers import LocalPeers
from fastws.access.origins import AllowedOrigins
from fastws.access.permissions import Permissions
from fastws.access.proxies import TrustedProxies
from fastws.access.revocation import Revocations
from fastws.access.tokens import Tokens
from fastws.callouts.jwks import Jwks
from fastws.callouts.loading import check_loads, load_function
from fastws.config import Config
from fastws.dialects.mount import Mounts
from fastws.errors import ConfigError
from fastws.server.tls import Tls


class Admittance:
    """Keys, permissions, origins, mounts and TLS. Raises ConfigError where settings cannot be used.

    `generated` names the secrets in `config` that nobody has configured. A generated key protects no rooms:
    whoever tries the server out has no tokens yet.
    """

    def __init__(self, config: Config, generated: Collection[str]) -> None:
        self.jwks = Jwks(config.jwt_jwks_url) if config.jwt_jwks_url else None
        self.tokens = Tokens(config, self.jwks)
        has_configured_key = self.tokens.key_configured and "jwt_secret" not in generated
        self.permissions = Permissions(config, has_configured_key)
        self.mounts = Mounts(
            config.mounts, workspace_channel=config.workspace_channel, jobs_channel=config.jobs_channel
        )
        self.revocations = Revocations(leeway_seconds=config.jwt_leeway)
        self.broadcast_keys = BroadcastKeys(config.broadcast_key)
        self.allowed_origins = AllowedOrigins(config.allowed_origins)
        self.allowed_hosts = AllowedHosts(config.allowed_hosts)
        self.trusted_proxies = TrustedProxies(config.trusted_proxies)
        self.local_peers = LocalPeers(config)
        self.has_configured_keys = bool(
            config.aws_credentials or (config.broadcast_key and "broadcast_key" not in generated) or has_configured_key
        )
        self.tls = Tls.of(config)
        if config.proxy_protocol and not self.trusted_proxies:
            raise ConfigError("proxy_protocol: it is read from trusted_proxies only, and there are none")
        _check_callouts(config)


def _check_callouts(config: Config) -> None:
    """A wrong name ends the start before anything has begun. They are loaded once more where they are called."""
    check_loads(config.authorizer, setting="authorizer")
    check_loads(config.event_hook, setting="event_hook")
    if config.metrics_hook is not None:
        load_function(config.metrics_hook, setting="metrics_hook")
