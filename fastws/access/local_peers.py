"""Detects local clients: direct peers on this machine, without a proxy in between (spec 1)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from fastws.access.proxies import UNIX, parse_address
from fastws.config import Config
from fastws.wire.request import Request

# Headers that proxies, load balancers and CDNs add, in addition to all that begin with X-Forwarded-.
FORWARDING_HEADERS: Final = frozenset(
    {
        "akamai-origin-hop",
        "ali-cdn-real-ip",
        "cdn-loop",  # RFC 8586
        "cf-connecting-ip",
        "cf-connecting-ipv6",
        "cf-ray",
        "client-ip",
        "do-connecting-ip",
        "fastly-client-ip",
        "fly-client-ip",
        "forwarded",  # RFC 7239
        "forwarded-for",
        "proxy-client-ip",
        "true-client-ip",
        "via",  # RFC 9110 section 7.6.3
        "wl-proxy-client-ip",
        "x-amzn-trace-id",
        "x-appengine-user-ip",
        "x-arr-ssl",
        "x-azure-clientip",
        "x-azure-socketip",
        "x-client-ip",
        "x-cloud-trace-context",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-forwarded",
        "x-original-forwarded-for",
        "x-original-host",
        "x-original-uri",
        "x-original-url",
        "x-originating-ip",
        "x-proxyuser-ip",
        "x-real-ip",
        "x-remote-addr",
        "x-remote-ip",
        "x-scheme",
    }
)
_FORWARDED_PREFIX: Final = "x-forwarded-"
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]*)?", re.ASCII)


class LocalPeers:
    """Distinguishes local clients from all others.

    A proxy on this machine also connects from a loopback address. Therefore a request is local only if nothing
    indicates a proxy: no `trusted_proxies` are configured, the connection is TCP without the PROXY protocol, the Host
    is a loopback name, and there is no forwarding header. Peers on the Unix socket are local only if
    `allow_anonymous` is true.
    """

    __slots__ = ("_are_unix_peers_local", "_has_proxies")

    def __init__(self, config: Config) -> None:
        self._has_proxies = bool(config.trusted_proxies)
        self._are_unix_peers_local = config.allow_anonymous is True

    def includes(self, request: Request, address: str) -> bool:
        """Whether `request` from the peer at `address` (or `unix`) is local."""
        if self._has_proxies or request.is_proxied:
            return False
        if not (self._are_unix_peers_local if address == UNIX else is_loopback(address)):
            return False
        headers = request.headers
        return is_loopback_host(headers.get("host", "")) and not _has_forwarding_header(*headers)


def is_forwarded(request: Request) -> bool:
    """Whether `request` came through a proxy, as far as its headers and the PROXY protocol say."""
    return request.is_proxied or _has_forwarding_header(*request.headers)


def is_loopback_only(config: Config) -> bool:
    """Whether the server listens on loopback only, and no proxy is configured that connects for other machines."""
    return is_loopback(config.host) and config.unix_socket is None and not config.trusted_proxies


def is_anonymous_by_default(config: Config) -> bool:
    """Whether local clients may connect without a token if `allow_anonymous` is not set."""
    return is_loopback_only(config)


@lru_cache(maxsize=4096)
def is_loopback(host: str) -> bool:
    """Whether `host` is `localhost` or a loopback address, which only this machine can reach."""
    address = parse_address(host.strip("[]"))
    return host == "localhost" if address is None else address.is_loopback


@lru_cache(maxsize=256)
def is_loopback_host(host: str) -> bool:
    """Whether a Host header is localhost, a name below it (RFC 6761), or a loopback address."""
    found = _HOST.fullmatch(host.lower())
    if found is None:
        return False
    name = found[1].removesuffix(".")
    return name.endswith(".localhost") or is_loopback(name)


@lru_cache(maxsize=256)
def _has_forwarding_header(*names: str) -> bool:
    """Whether one of these headers is from a proxy. Cached, since similar clients send the same headers."""
    return not FORWARDING_HEADERS.isdisjoint(names) or any(name.startswith(_FORWARDED_PREFIX) for name in names)
