"""Admittance: the parts that decide who may connect and what clients may do. Made before any event loop runs."""

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
    """Keys, permissions, origins, mounts and TLS, from the settings. Raises ConfigError for invalid settings.

    `generated` names the secrets in `config` that were generated at start. A generated JWT key does not protect rooms,
    so that a server can be tried out without tokens.
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
            raise ConfigError(
                "proxy_protocol: requires trusted_proxies, which is not set; list the addresses of the proxies there"
            )
        _check_callouts(config)


def _check_callouts(config: Config) -> None:
    """Raise ConfigError for callouts that cannot be loaded, before anything starts. They are loaded again on use."""
    check_loads(config.authorizer, setting="authorizer")
    check_loads(config.event_hook, setting="event_hook")
    if config.metrics_hook is not None:
        load_function(config.metrics_hook, setting="metrics_hook")
