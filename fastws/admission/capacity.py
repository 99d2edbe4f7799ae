"""Capacity: limits on connections per process, user and address, and on file descriptors."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, Protocol

import structlog

from fastws.access.rate_limit import Bucket, address_key
from fastws.admission.shares import PROBE_SECONDS, Probed, Shares
from fastws.config import Config
from fastws.counters import Counters
from fastws.errors import RateLimited, ServerFull, Unavailable

log = structlog.stdlib.get_logger("fastws.capacity")

# Reserved descriptors: for Redis, JWKS requests and logs; and for plain requests, so that a full server can answer 503.
OWN_DESCRIPTORS: Final = 32
HTTP_DESCRIPTORS: Final = 64
# If the file limit is small, each of the two reserves at most one part in this many.
SMALLEST_PART: Final = 8
DESCRIPTOR_FOLDER: Final = "/dev/fd"
USUALLY_IN_USE: Final = 32
SECONDS_BETWEEN_WARNINGS: Final = 1.0
# For a client whose share is full: by then a dead connection of it has given way.
RETRY_SECONDS: Final = round(PROBE_SECONDS)


class Idle(Protocol):
    """A keep-alive connection between two requests."""

    def evict(self) -> None:
        """Close the connection and give its share back."""
        ...


class Capacity:
    """Counts sockets and connections, and checks the limits before a client's token is verified.

    `sockets` are accepted but not upgraded, including those in a TLS handshake. `connections` are upgraded and not yet
    closed. Both use a descriptor. `max_connections_per_ip` applies to each of the two separately.
    """

    __slots__ = (
        "_by_address",
        "_by_user",
        "_config",
        "_connects",
        "_counters",
        "_idle",
        "_idle_of",
        "_sockets_of",
        "_unlogged",
        "_warned_at",
        "connections",
        "has_shares",
        "limits_addresses",
        "max_connections",
        "max_sockets",
        "sockets",
    )

    def __init__(self, config: Config, counters: Counters, *, descriptors: int) -> None:
        """`descriptors` is the number that the process may still open (see `free_descriptors`)."""
        own = min(OWN_DESCRIPTORS, descriptors // SMALLEST_PART)
        http = min(HTTP_DESCRIPTORS, descriptors // SMALLEST_PART)
        ceiling = max(descriptors - own - http, 1)
        self.max_connections = min(config.max_connections or ceiling, ceiling)
        self.max_sockets = max(min(descriptors - own, self.max_connections + http), 1)
        self.limits_addresses = config.max_connections_per_ip > 0
        self._config = config
        self._counters = counters
        self._connects = Bucket.of_rate(config.connect_rate)
        self._by_address = Shares(config.max_connections_per_ip)
        self._by_user = Shares(config.max_connections_per_user)
        # Whether connections are limited per address or user at all.
        self.has_shares = self.limits_addresses or config.max_connections_per_user > 0
        self._sockets_of: dict[str, int] = defaultdict(int)
        # Idle keep-alive connections, longest idle first, with the address key that each counts for ("" for none);
        # and the same by address key.
        self._idle: dict[Idle, str] = {}
        self._idle_of: dict[str, dict[Idle, None]] = {}
        self._warned_at = float("-inf")
        self._unlogged = 0
        self.sockets = 0
        self.connections = 0

    @property
    def is_full(self) -> bool:
        """Whether `max_connections` is reached, so that no further client is upgraded."""
        return self.connections >= self.max_connections

    @property
    def is_exhausted(self) -> bool:
        """Whether not even a plain request may be accepted: the remaining descriptors are for Redis and the logs.

        A limit by `max_connections` leaves the same number of sockets for plain requests as the file limit does.
        """
        return self.sockets + self.connections > self.max_sockets

    def check_socket(self) -> None:
        """Raise ServerFull if the last counted socket exceeds the limit and no idle connection can be evicted."""
        if self.is_exhausted and not self._evict_longest_idle(self._idle):
            self._count_refusal()
            raise ServerFull()

    def take_share(self, address: str) -> str:
        """Count a socket for `address`. Returns the key to give it back with.

        Raises RateLimited if the address has reached its limit and none of its sockets is idle.
        """
        key = address_key(address)
        if self._sockets_of.get(key, 0) >= self._config.max_connections_per_ip and not self._evict_longest_idle(
            self._idle_of.get(key, {})
        ):
            self._counters.rate_limited["address"] += 1
            raise RateLimited("too many connections from this address", reason="address_limit")
        self._sockets_of[key] += 1
        return key

    def give_back(self, key: str) -> None:
        """Undo a `take_share` that returned `key`."""
        _decrement(self._sockets_of, key)

    def add_idle(self, idle: Idle, key: str) -> None:
        """`idle`, counted for address key `key` ("" for none), may be evicted from now on."""
        self._idle[idle] = key
        if key:
            self._idle_of.setdefault(key, {})[idle] = None

    def remove_idle(self, idle: Idle) -> None:
        """`idle` has got a request or is closed: it is no longer evicted. Idempotent."""
        key = self._idle.pop(idle, "")
        if key:
            others = self._idle_of[key]
            del others[idle]
            if not others:
                del self._idle_of[key]

    def close_idle(self) -> None:
        """Close all idle connections."""
        while self._evict_longest_idle(self._idle):
            pass

    def _evict_longest_idle(self, among: Iterable[Idle]) -> bool:
        """Evict the connection `among` these that has been idle longest. Returns False if there is none."""
        idle = next(iter(among), None)
        if idle is None:
            return False
        self.remove_idle(idle)
        idle.evict()
        return True

    def check(self) -> None:
        """Raise ServerFull if the process is full, Unavailable if the connect rate is exceeded."""
        if self.is_full:
            self._count_refusal()
            raise ServerFull()
        if self._connects is not None and not self._connects.take(1, time.monotonic()):
            self._counters.rate_limited["connect"] += 1
            raise Unavailable(
                "too many new connections per second; try again in a second",
                reason="connect_rate",
                retry_after_seconds=1,
            )

    def _count_refusal(self) -> None:
        """Count a client that is refused because the process is full, and log the count at most once per second."""
        self._unlogged += 1
        now = time.monotonic()
        if now - self._warned_at >= SECONDS_BETWEEN_WARNINGS:
            log.warning("full: connections are refused", connections=self.connections, refused=self._unlogged)
            self._warned_at = now
            self._unlogged = 0

    def check_shares(self, user: str | None, address: str) -> None:
        """Raise RateLimited if this address or user has reached its limit of connections."""
        if self._by_address.refuses(address_key(address)):
            self._counters.rate_limited["address"] += 1
            raise RateLimited(
                "too many connections from this address", reason="address_limit", retry_after_seconds=RETRY_SECONDS
            )
        if user is not None and self._by_user.refuses(user):
            self._counters.rate_limited["user"] += 1
            raise RateLimited(
                "too many connections for this user", reason="user_limit", retry_after_seconds=RETRY_SECONDS
            )

    def enter(self, connection: Probed, user: str | None, address: str) -> None:
        """Count a connection."""
        self.connections += 1
        if not self.has_shares:
            return
        self._by_address.add(address_key(address), connection)
        if user is not None:
            self._by_user.add(user, connection)

    def leave(self, connection: Probed, user: str | None, address: str) -> None:
        """Undo `enter`."""
        self.connections -= 1
        if not self.has_shares:
            return
        self._by_address.remove(address_key(address), connection)
        if user is not None:
            self._by_user.remove(user, connection)


def free_descriptors() -> int:
    """Return how many descriptors this process may still open under its soft RLIMIT_NOFILE."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        in_use = len(os.listdir(DESCRIPTOR_FOLDER))
    except OSError:  # a sandbox without /proc
        in_use = USUALLY_IN_USE
    return (sys.maxsize if limit == resource.RLIM_INFINITY else limit) - in_use


def raise_descriptor_limit() -> None:
    """Raise the soft file limit to the hard one. It is often 1024, for programs that use select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        log.info("cannot raise the file limit", limit=soft, error=str(error))


def _decrement(counts: dict[str, int], key: str) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
