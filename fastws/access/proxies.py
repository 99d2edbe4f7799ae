"""Trusted proxies, and the address of a client according to X-Forwarded-For."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from fastws.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Used in place of an address for peers on the Unix socket, also in the setting.
UNIX: Final = "unix"
# Maximum number of hops to examine, from the nearest on. Real chains are shorter.
MAX_HOPS: Final = 32


class TrustedProxies:
    """The setting `trusted_proxies`: addresses, networks, or `unix` for peers on the Unix socket."""

    __slots__ = ("_networks", "_trusts_unix", "trusts")

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises ConfigError for an entry that is neither an address nor a network."""
        names = [entry for entry in entries if entry != UNIX]
        self._networks = tuple(_network(name) for name in names)
        self._trusts_unix = UNIX in entries
        self.trusts = lru_cache(maxsize=4096)(self._trusts)

    def __bool__(self) -> bool:
        return bool(self._networks) or self._trusts_unix

    def _trusts(self, address: str) -> bool:
        """Whether `address` (or `unix`) is one of the proxies."""
        if address == UNIX:
            return self._trusts_unix
        parsed = parse_address(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def client_address(self, peer: str, forwarded_for: str | None) -> str:
        """Return the address of the client: the rightmost one in X-Forwarded-For that is not a trusted proxy.

        Each proxy appends the address of its peer. Therefore the list is read from the right, and an entry counts only
        if the proxy that wrote it is trusted. If an entry is not an address, the result is the proxy that wrote it.
        """
        if forwarded_for is None or not self.trusts(peer):
            return peer
        address = peer
        for hop in reversed(forwarded_for.rsplit(",", MAX_HOPS)):
            parsed = parse_hop(hop)
            if parsed is None:
                return address
            address = str(parsed)
            if not self.trusts(address):
                return address
        return address


def parse_address(text: str) -> Address | None:
    """Parse an address. IPv4-mapped IPv6 (`::ffff:192.0.2.1`) becomes IPv4. Returns None if `text` is invalid."""
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def parse_hop(text: str) -> Address | None:
    """Parse an entry of X-Forwarded-For: an address, optionally in brackets and with a port. None if invalid."""
    text = text.strip(" \t").strip('"')
    if text.startswith("["):
        return parse_address(text[1:].partition("]")[0])
    if text.count(":") == 1:
        text = text.partition(":")[0]
    return parse_address(text)


def _network(entry: str) -> Network:
    try:
        return ipaddress.ip_network(entry)
    except ValueError as error:
        raise ConfigError(
            f"trusted_proxies: must be an address, a network such as 10.0.0.0/8, or unix, not {entry!r} ({error})"
        ) from None
