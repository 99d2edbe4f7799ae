"""Capacity: how many connections a process, a user and an address may have, and descriptors there are for them."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from fastws.access.rate_limit import Bucket, address_key
from fastws.config import Config
from fastws.counters import Counters
from fastws.errors import RateLimited, ServerFull, Unavailable

log = structlog.stdlib.get_logger("fastws.capacity")

# Descriptors kept back: for Redis, keys fetched, logs; and for plain requests, so that a full server still says so.
OWN_DESCRIPTORS: Final = 32
HTTP_DESCRIPTORS: Final = 64
# Of a small file limit, each of the two takes no more than this part.
SMALLEST_PART: Final = 8
DESCRIPTOR_FOLDER: Final = "/dev/fd"
USUALLY_IN_USE: Final = 32
SECONDS_BETWEEN_WARNINGS: Final = 1.0


@dataclass(slots=True, kw_only=True, frozen=True)
class CapacityRules:
    """Settings of the same names; 0 = no limit."""

    max_connections: int
    max_connections_per_user: int
    max_connections_per_ip: int
    connect_rate: float

    @classmethod
    def of(cls, config: Config) -> CapacityRules:
        return cls(
            max_connections=config.max_connections,
            max_connections_per_user=config.max_connections_per_user,
            max_connections_per_ip=config.max_connections_per_ip,
            connect_rate=config.connect_rate,
        )


class Idle(Protocol):
    """A connection that had its answer, and has not begun another request."""

    def give_way(self) -> None:
        """Be closed, and counted no more."""
        ...


class Capacity:
    """Counts sockets and connections. Everything here happens before a client's token is looked at, or costs less.

    `sockets` are accepted and not upgraded, those amid a TLS handshake too; `connections` are upgraded and not yet
    gone. Both hold a descriptor. An address may have so many of the one, and as many of the other.
    """

    __slots__ = (
        "_by_address",
        "_by_user",
        "_connects",
        "_counters",
        "_idle",
        "_idle_of",
        "_rules",
        "_sockets_of",
        "_unsaid",
        "_warned_at",
        "connections",
        "limits_addresses",
        "max_connections",
        "max_sockets",
        "sockets",
    )

    def __init__(self, rules: CapacityRules, counters: Counters, *, descriptors: int) -> None:
        """`descriptors` is how many the process may still open (see `free_descriptors`)."""
        own = min(OWN_DESCRIPTORS, descriptors // SMALLEST_PART)
        http = min(HTTP_DESCRIPTORS, descriptors // SMALLEST_PART)
        ceiling = max(descriptors - own - http, 1)
        self.max_connections = min(rules.max_connections or ceiling, ceiling)
        self.max_sockets = max(min(descriptors - own, self.max_connections + http), 1)
        self.limits_addresses = rules.max_connections_per_ip > 0
        self._rules = rules
        self._counters = counters
        self._connects = Bucket(rules.connect_rate, max(rules.connect_rate, 1.0)) if rules.connect_rate else None
        self._by_address: dict[str, int] = defaultdict(int)
        self._by_user: dict[str, int] = defaultdict(int)
        self._sockets_of: dict[str, int] = defaultdict(int)
        # From the one that has been idle longest on, with the address that it counts for, if any; and of each address.
        self._idle: dict[Idle, str] = {}
        self._idle_of: dict[str, dict[Idle, None]] = {}
        self._warned_at = float("-inf")
        self._unsaid = 0
        self.sockets = 0
        self.connections = 0

    @property
    def is_full(self) -> bool:
        """Whether no further client may be upgraded."""
        return self.connections >= self.max_connections

    @property
    def is_exhausted(self) -> bool:
        """Whether not even a plain request may be read: what is left of the file limit is for Redis and the logs.

        `max_connections` leaves as much room beyond it as the file limit does.
        """
        return self.sockets + self.connections > self.max_sockets

    def check_socket(self) -> None:
        """Raise ServerFull where the socket that was counted last is one too many, and nobody idle gives way to it."""
        if self.is_exhausted and not self._give_way(self._idle):
            self.refused()
            raise ServerFull()

    def take_share(self, address: str) -> str:
        """Count a socket for `address`; returns the key to give it back with.

        Raises RateLimited where the address has its share of sockets already, none of which is idle.
        """
        key = address_key(address)
        if self._sockets_of.get(key, 0) >= self._rules.max_connections_per_ip and not self._give_way(
            self._idle_of.get(key, {})
        ):
            self._counters.rate_limited["address"] += 1
            raise RateLimited("too many connections from this address", reason="address_limit")
        self._sockets_of[key] += 1
        return key

    def give_back(self, key: str) -> None:
        """One socket fewer of an address."""
        _decrement(self._sockets_of, key)

    def rest(self, idle: Idle, key: str) -> None:
        """`idle`, which counts for `key` ("" for no address), waits for its next request: it gives way to others."""
        self._idle[idle] = key
        if key:
            self._idle_of.setdefault(key, {})[idle] = None

    def wake(self, idle: Idle) -> None:
        """`idle` is at work, or gone."""
        key = self._idle.pop(idle, "")
        if key:
            others = self._idle_of[key]
            del others[idle]
            if not others:
                del self._idle_of[key]

    def close_idle(self) -> None:
        """No further request is waited for."""
        while self._give_way(self._idle):
            pass

    def _give_way(self, among: Iterable[Idle]) -> bool:
        """Let the connection go that has been idle longest `among` these; False if there is none."""
        idle = next(iter(among), None)
        if idle is None:
            return False
        self.wake(idle)
        idle.give_way()
        return True

    def check(self) -> None:
        """Raise Unavailable where no client is let in just now."""
        if self.is_full:
            self.refused()
            raise ServerFull()
        if self._connects is not None and not self._connects.take(1, time.monotonic()):
            self._counters.rate_limited["connect"] += 1
            raise Unavailable(
                "too many connections are being opened; come again in a second",
                reason="connect_rate",
                retry_after_seconds=1,
            )

    def refused(self) -> None:
        """Somebody was turned away because the process is full: say so, once a second at most."""
        self._unsaid += 1
        now = time.monotonic()
        if now - self._warned_at >= SECONDS_BETWEEN_WARNINGS:
            log.warning("full: connections are refused", connections=self.connections, refused=self._unsaid)
            self._warned_at = now
            self._unsaid = 0

    def check_shares(self, user: str | None, address: str) -> None:
        """Raise RateLimited where this address or user has its share already."""
        rules = self._rules
        if 0 < rules.max_connections_per_ip <= self._by_address.get(address_key(address), 0):
            self._counters.rate_limited["address"] += 1
            raise RateLimited("too many connections from this address", reason="address_limit")
        if user is not None and 0 < rules.max_connections_per_user <= self._by_user.get(user, 0):
            self._counters.rate_limited["user"] += 1
            raise RateLimited("too many connections of this user", reason="user_limit")

    def enter(self, user: str | None, address: str) -> None:
        self.connections += 1
        self._by_address[address_key(address)] += 1
        if user is not None:
            self._by_user[user] += 1

    def leave(self, user: str | None, address: str) -> None:
        self.connections -= 1
        _decrement(self._by_address, address_key(address))
        if user is not None:
            _decrement(self._by_user, user)


def free_descriptors() -> int:
    """How many descriptors this process may still open under its soft RLIMIT_NOFILE."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        in_use = len(os.listdir(DESCRIPTOR_FOLDER))
    except OSError:  # a sandbox without /proc
        in_use = USUALLY_IN_USE
    return (sys.maxsize if limit == resource.RLIM_INFINITY else limit) - in_use


def raise_descriptor_limit() -> None:
    """The soft limit is often 1024, for programs that still call select(): take what the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        log.info("the file limit stays as it is", limit=soft, error=str(error))


def _decrement(counts: dict[str, int], key: str) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
