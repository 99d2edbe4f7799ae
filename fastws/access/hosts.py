"""The allow-list of Host headers, which protects against DNS rebinding."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from fastws.access.host_patterns import MAX_LENGTH, host_expression
from fastws.access.local_peers import is_loopback, is_loopback_host, is_loopback_only
from fastws.config import Config
from fastws.errors import ConfigError
from fastws.settings import host_and_port, public_host

ANY: Final = "*"
_ENTRY: Final = re.compile(r"([a-z0-9*._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


class AllowedHosts:
    """The setting `allowed_hosts`. `*.example.com` allows all names below it, an entry without a port any port."""

    __slots__ = ("_allows_loopback", "_pattern", "allows", "is_open")

    def __init__(self, entries: Iterable[str], *, allows_loopback: bool = False) -> None:
        """`allows_loopback` adds all names of this machine. Raises ConfigError for an invalid entry."""
        self._allows_loopback = allows_loopback
        # Cached, since most clients send the same.
        self.allows = lru_cache(maxsize=64)(self._allows)
        lower = [entry.lower() for entry in entries]
        self.is_open = ANY in lower
        self._pattern = re.compile("|".join(map(_expression, lower)) or "(?!)")

    @classmethod
    def of(cls, config: Config) -> AllowedHosts:
        """Return the setting; if it is not set, `public_url` and this machine for a server on loopback, else all."""
        if config.allowed_hosts is not None:
            return cls(config.allowed_hosts)
        if not is_loopback_only(config):
            return cls((ANY,))
        own = public_host(config)
        return cls(() if own is None else (own,), allows_loopback=True)

    def _allows(self, host: str | None) -> bool:
        """Whether requests with this `Host` are allowed. Names are case-insensitive (RFC 9110 section 4.2.3)."""
        if self.is_open:
            return True
        if host is None or len(host) > MAX_LENGTH:
            return False
        if self._allows_loopback and is_loopback_host(host):
            return True
        return self._pattern.fullmatch(host.lower().removesuffix(".")) is not None


def scrape_hosts(config: Config) -> AllowedHosts:
    """Return the hosts of `metrics_address`: on loopback this machine's names and `allowed_hosts`, else all."""
    if config.metrics_address is None or not is_loopback(host_and_port(config.metrics_address)[0]):
        return AllowedHosts((ANY,))
    return AllowedHosts(config.allowed_hosts or (), allows_loopback=True)


def _expression(entry: str) -> str:
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise ConfigError(f"allowed_hosts: must be HOST[:PORT] such as *.example.com, not {entry!r}")
    host, port = found.groups()
    return host_expression(host) + (port or "(?::[0-9]*)?")
