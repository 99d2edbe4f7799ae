"""Checks of the settings: validity, TLS, trusted proxies, access of clients and backends."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from cryptography import x509

from fastws.access.local_peers import is_anonymous_by_default, is_loopback
from fastws.access.proxies import UNIX
from fastws.config import Config
from fastws.doctor.finding import Finding, fail, ok, warn
from fastws.doctor.history import check_history
from fastws.errors import ConfigError
from fastws.server.server import Server
from fastws.setting_sources import environment_warnings

EXPIRY_WARNING_DAYS: Final = 14
# Shorter prefixes contain more than proxies.
MIN_PREFIX_LENGTH: Final = {4: 8, 6: 16}


def check_configuration(config: Config) -> Iterator[Finding]:
    """Yield the findings on settings that could be read."""
    yield from _usable(config)
    yield _tls(config)
    yield _proxies(config)
    yield _clients(config)
    yield _backends(config)
    yield from check_history(config)
    if config.trusted_proxies or not is_local(config):
        yield from _exposure(config)


def is_local(config: Config) -> bool:
    """Whether the server is reachable from this machine only."""
    return config.unix_socket is not None or is_loopback(config.host)


def _usable(config: Config) -> Iterator[Finding]:
    """Yield all mistakes, or one finding that the settings are valid, and the warnings of the start."""
    remedy = "see `fastws serve --help`, or `fastws docs settings`"
    try:
        server = Server(config)  # reads keys, certificates, mounts and patterns, and raises ConfigError
    except ConfigError as error:
        yield from (fail("settings", message, remedy) for message in error.messages)
        return
    yield ok("settings", "valid")
    for warning in (*server.admittance.warnings, *environment_warnings(os.environ)):
        yield warn("settings", warning, remedy)


def _tls(config: Config) -> Finding:
    if config.tls_cert is None or config.tls_key is None:
        return ok("tls", "off; use TLS on the network, either at a proxy or with tls_cert and tls_key")
    for name, path in (("tls_cert", config.tls_cert), ("tls_key", config.tls_key)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            return fail("tls", f"{name}: cannot read {path}: {error.strerror}", "let the server's user read it")
    try:
        certificate = x509.load_pem_x509_certificate(Path(config.tls_cert).read_bytes())
    except ValueError as error:
        return fail("tls", f"tls_cert: {config.tls_cert} is not a PEM certificate: {error}", "use a PEM file")
    return _validity(certificate, config.tls_key)


def _validity(certificate: x509.Certificate, key: str) -> Finding:
    now, end = datetime.now(UTC), certificate.not_valid_after_utc
    state = f"the certificate is valid until {end:%Y-%m-%d}"
    remedy = "renew it, then send SIGHUP to reload it"
    if end <= now:
        return fail("tls", f"the certificate expired on {end:%Y-%m-%d}", remedy)
    begin = certificate.not_valid_before_utc
    if begin > now:
        return fail(
            "tls",
            f"the certificate is valid only from {begin:%Y-%m-%d}",
            "check this machine's clock",
        )
    if (end - now).days < EXPIRY_WARNING_DAYS:
        return warn("tls", state, remedy)
    if Path(key).stat().st_mode & stat.S_IROTH:
        return warn("tls", f"{key} is readable by all users of this machine", f"chmod o-r {key}")
    return ok("tls", state)


def _proxies(config: Config) -> Finding:
    entries = config.trusted_proxies
    too_wide = [entry for entry in entries if entry != UNIX and _is_too_wide(entry)]
    if too_wide:
        return warn(
            "proxy headers",
            f"trusted_proxies contains {too_wide[0]}: all its hosts can fake client addresses with X-Forwarded-For",
            "list only the addresses or the network of the proxies",
        )
    if entries:
        headers = "PROXY protocol and X-Forwarded-For" if config.proxy_protocol else "X-Forwarded-For"
        return ok("proxy headers", f"{headers} trusted from {', '.join(entries)}")
    if config.max_connections_per_ip:
        return warn(
            "proxy headers",
            "max_connections_per_ip is set, but trusted_proxies is not: all clients behind a proxy count as one",
            "if there is a proxy, set trusted_proxies to its address",
        )
    return ok("proxy headers", "not trusted; behind a proxy, set trusted_proxies to its address")


def _is_too_wide(entry: str) -> bool:
    try:
        network = ip_network(entry)
    except ValueError:
        return False  # reported by the check `settings`
    return network.prefixlen < MIN_PREFIX_LENGTH[network.version]


def _exposure(config: Config) -> Iterator[Finding]:
    """Yield the findings on what `fastws docs security` lists to do before the server is exposed to the internet."""
    if config.allowed_origins is None or "*" in config.allowed_origins:
        state = "all: the script of any web page may connect from its visitors' browsers"
        yield warn("origins", state, "set allowed_origins, for example to https://app.example.com")
    else:
        yield ok("origins", ", ".join(config.allowed_origins) or "none")
    if config.allowed_hosts is None or "*" in config.allowed_hosts:
        state = "all: any name that leads to this address is accepted"
        yield warn("hosts", state, "set allowed_hosts, for example to live.example.com")
    else:
        yield ok("hosts", ", ".join(config.allowed_hosts) or "none")
    if not config.max_connections_per_ip:
        state = "no limit: one address may take all connections"
        yield warn("address limit", state, "set max_connections_per_ip, and trusted_proxies if there is a proxy")
    else:
        yield ok("address limit", f"{config.max_connections_per_ip} connections per address")
    if config.metrics_address is None:
        state = "/metrics is public: a scrape takes milliseconds, and shows numbers of clients and publications"
        yield warn("metrics", state, "set metrics_address to an internal address, or let the proxy refuse /metrics")
    else:
        yield ok("metrics", f"on {config.metrics_address} only")


def _clients(config: Config) -> Finding:
    has_key = bool(config.jwt_secret or config.jwt_public_key or config.jwt_jwks_url)
    if config.allow_anonymous and (config.trusted_proxies or not is_local(config)):
        return warn(
            "clients",
            "allow_anonymous is on: anyone who can reach the port may subscribe and publish to unprotected channels",
            "unset allow_anonymous and use tokens, or keep the port in a private network",
        )
    if not has_key and not is_local(config):
        return warn(
            "clients",
            "no JWT key: all tokens are refused" + ("" if config.allow_anonymous else ", so all clients get 401"),
            "set jwt_secret, jwt_public_key or jwt_jwks_url",
        )
    if not has_key:
        return ok("clients", f"{_anonymous(config)}; `fastws serve` generates a temporary JWT key")
    return ok("clients", f"token accepted; {_anonymous(config)}")


def _anonymous(config: Config) -> str:
    """Return the finding on clients without a token."""
    if config.allow_anonymous:
        return "without a token everybody who can reach the port"
    if config.allow_anonymous is False or not is_anonymous_by_default(config):
        return "token required"
    return "without a token only direct connections from this machine (set trusted_proxies behind a proxy here)"


def _backends(config: Config) -> Finding:
    if config.broadcast_key:
        return ok("backends", f"{len(config.broadcast_key)} broadcast key{'s' * (len(config.broadcast_key) > 1)}")
    if is_local(config):
        return ok("backends", "`fastws serve` generates a temporary broadcast_key")
    return warn("backends", "no broadcast_key: POST /broadcast and /connections answer 401", "set broadcast_key")
