"""What the settings mean together: usable or not, who is let in, whose word is believed, what TLS there is."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from cryptography import x509

from fastws.access.permissions import is_loopback
from fastws.access.proxies import UNIX
from fastws.config import Config
from fastws.doctor.finding import Finding, fail, ok, warn
from fastws.errors import ConfigError
from fastws.server.server import Server

SOON_DAYS: Final = 14
# A network so wide holds more than proxies: /8 of IPv4, /16 of IPv6.
WIDEST: Final = {4: 8, 6: 16}


def check_configuration(config: Config) -> Iterator[Finding]:
    """Findings on settings that were read without an error."""
    yield _usable(config)
    yield _tls(config)
    yield _proxies(config)
    yield _clients(config)
    yield _backends(config)


def is_local(config: Config) -> bool:
    """Whether only this machine reaches the server."""
    return config.unix_socket is not None or is_loopback(config.host)


def _usable(config: Config) -> Finding:
    try:
        Server(config)  # keys, certificates, mounts and patterns are read by the parts that use them
    except ConfigError as error:
        return fail("settings", error.message, "see `fastws serve --help`, or the table of settings in the README")
    return ok("settings", "can be used")


def _tls(config: Config) -> Finding:
    if config.tls_cert is None or config.tls_key is None:
        return ok("tls", "none here; what crosses a network should have it: at the proxy, or tls_cert and tls_key")
    for name, path in (("tls_cert", config.tls_cert), ("tls_key", config.tls_key)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            return fail("tls", f"{name}: {path} cannot be read: {error.strerror}", "let the user that serves read it")
    try:
        certificate = x509.load_pem_x509_certificate(Path(config.tls_cert).read_bytes())
    except ValueError as error:
        return fail("tls", f"tls_cert: {config.tls_cert} is no PEM certificate: {error}", "give the chain in PEM")
    return _validity(certificate, config.tls_key)


def _validity(certificate: x509.Certificate, key: str) -> Finding:
    now, end = datetime.now(UTC), certificate.not_valid_after_utc
    state = f"the certificate holds until {end:%Y-%m-%d}"
    remedy = "renew it, then send SIGHUP: it is read again"
    if end <= now:
        return fail("tls", f"the certificate ended on {end:%Y-%m-%d}", remedy)
    if certificate.not_valid_before_utc > now:
        return fail("tls", f"the certificate begins on {certificate.not_valid_before_utc:%Y-%m-%d}", "check the clock")
    if (end - now).days < SOON_DAYS:
        return warn("tls", state, remedy)
    if Path(key).stat().st_mode & stat.S_IROTH:
        return warn("tls", f"everybody on this machine can read {key}", f"chmod o-r {key}")
    return ok("tls", state)


def _proxies(config: Config) -> Finding:
    entries = config.trusted_proxies
    too_wide = [entry for entry in entries if entry != UNIX and _is_too_wide(entry)]
    if too_wide:
        return warn(
            "proxy headers",
            f"trusted_proxies has {too_wide[0]}: anybody in there may claim any address with X-Forwarded-For",
            "name the proxies' own addresses or their network",
        )
    if entries:
        how = "the PROXY protocol and X-Forwarded-For are" if config.proxy_protocol else "X-Forwarded-For is"
        return ok("proxy headers", f"{how} believed from {', '.join(entries)}")
    if config.max_connections_per_ip:
        return warn(
            "proxy headers",
            "max_connections_per_ip counts a proxy as one client: no trusted_proxies are set",
            "set trusted_proxies to the address of the proxy, if there is one",
        )
    return ok("proxy headers", "believed from nobody; behind a proxy set trusted_proxies to its address")


def _is_too_wide(entry: str) -> bool:
    try:
        network = ip_network(entry)
    except ValueError:
        return False  # said by `settings`
    return network.prefixlen < WIDEST[network.version]


def _clients(config: Config) -> Finding:
    has_key = bool(config.jwt_secret or config.jwt_public_key or config.jwt_jwks_url)
    if config.allow_anonymous and not is_local(config):
        return warn(
            "clients",
            "allow_anonymous: everybody who reaches the port may listen and send to what is not protected",
            "unset allow_anonymous and give clients tokens, or keep the port inside",
        )
    if not has_key and not is_local(config):
        return warn(
            "clients",
            "no JWT key: every token is refused with 401" + ("" if config.allow_anonymous else ", and so is everybody"),
            "set jwt_secret, jwt_public_key or jwt_jwks_url",
        )
    if not has_key:
        return ok("clients", "this machine only; `fastws serve` makes up a JWT key for each run")
    return ok(
        "clients",
        "with a token"
        if config.allow_anonymous is False or not is_local(config)
        else "with a token, and without from this machine",
    )


def _backends(config: Config) -> Finding:
    if config.broadcast_key:
        return ok("backends", f"{len(config.broadcast_key)} broadcast key{'s' * (len(config.broadcast_key) > 1)}")
    if is_local(config):
        return ok("backends", "`fastws serve` makes up a broadcast key for each run")
    return warn("backends", "no broadcast_key: POST /broadcast and /connections answer 401", "set broadcast_key")
