"""Revoked tokens and users: tokens refused although their signature and expiry are valid."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from fastws.vocabulary.identity import Identity

DAY_SECONDS: Final = 24 * 3600.0
# Duration of a revocation if the expiry of the token is unknown.
TOKEN_SECONDS: Final = 30 * DAY_SECONDS
USER_SECONDS: Final = 30 * DAY_SECONDS
# Maximum duration of a revocation, whatever a message contains.
FURTHEST_SECONDS: Final = 3660 * DAY_SECONDS
# Tolerated difference between the clocks of nodes.
CLOCK_SECONDS: Final = 60.0
HOUR_SECONDS: Final = 3600
# Entries that are handled or sent at a time.
PAGE: Final = 1000
TABLES: Final = ("tokens", "users")
Snapshot = dict[str, dict[str, float]]


class _Table:
    """Times by name, and names by hour, so that expired entries are found without scanning all."""

    __slots__ = ("hours", "moments")

    def __init__(self) -> None:
        self.moments: dict[str, float] = {}
        self.hours: dict[int, set[str]] = {}

    def raise_to(self, name: str, moment: float) -> bool:
        """Set the time of `name` unless it has a later one. Returns whether it was set."""
        before = self.moments.get(name)
        if before is not None:
            if before >= moment:
                return False
            self.hours[int(before // HOUR_SECONDS)].discard(name)
        self.moments[name] = moment
        self.hours.setdefault(int(moment // HOUR_SECONDS), set()).add(name)
        return True

    def count_from(self, hour: int) -> int:
        """Return the number of entries in `hour` or later."""
        return sum(len(names) for at, names in self.hours.items() if at >= hour)

    def forget_before(self, moment: float) -> None:
        """Drop the entries of all hours that ended before or at `moment`."""
        for hour in [hour for hour in self.hours if (hour + 1) * HOUR_SECONDS <= moment]:
            for name in self.hours.pop(hour):
                del self.moments[name]


class Revocations:
    """Spec 3.5. Times are seconds since the epoch, according to `clock`.

    Entries are kept until they expire, at about 250 bytes each. A revocation is never shortened.
    """

    def __init__(self, clock: Callable[[], float] = time.time, *, leeway_seconds: float = 30.0) -> None:
        self._clock = clock
        self._leeway_seconds = leeway_seconds
        self._tokens = _Table()  # jti -> end of the revocation
        self._users = _Table()  # user -> latest `iat` that is refused
        self._tables = {"tokens": self._tokens, "users": self._users}
        self._extended: dict[str, float] = {}
        self._sweep_at = 0.0

    def __len__(self) -> int:
        return len(self._tokens.moments) + len(self._users.moments)

    def revoke_token(self, jti: str, expires_at: float | None = None) -> Snapshot:
        """Refuse the token `jti` until `expires_at`, or for 30 days if its expiry is unknown.

        If a token with this id turns up that expires later, it is refused until then. Returns a snapshot with this
        revocation only, for other nodes to merge.
        """
        until = self._clock() + TOKEN_SECONDS if expires_at is None else self._end_of(expires_at)
        return self._revoke("tokens", jti, until)

    def revoke_user(self, user: str, at: float | None = None) -> Snapshot:
        """Refuse tokens of `user` issued up to `at`, and tokens without `iat`, for 30 days.

        The default of `at` is now plus the leeway, since the signer's clock may be ahead. Returns a snapshot like
        `revoke_token`.
        """
        return self._revoke("users", user, self._clock() + self._leeway_seconds if at is None else at)

    def is_revoked(self, identity: Identity) -> bool:
        """Whether the token of `identity` is revoked, by its id or by its user."""
        now = self._clock()
        if identity.token_id is not None and self._is_token_revoked(identity.token_id, identity.expires_at, now):
            return True
        at = self._users.moments.get(identity.user)
        if at is None or at + USER_SECONDS <= now:
            return False
        return identity.issued_at is None or identity.issued_at <= at

    def snapshot(self) -> Snapshot:
        """Return all current revocations: {"tokens": {jti: until}, "users": {user: at}}. Any codec can encode them."""
        now = self._clock()
        return {
            "tokens": {jti: until for jti, until in self._tokens.moments.items() if until > now},
            "users": {user: at for user, at in self._users.moments.items() if at + USER_SECONDS > now},
        }

    def merge(self, snapshot: Mapping[str, Mapping[str, float]]) -> bool:
        """Add the revocations of another node; the later of two times wins. Returns whether anything changed."""
        now = self._clock()
        if now >= self._sweep_at:
            self._sweep_at = now + HOUR_SECONDS
            self._tokens.forget_before(now)
            self._users.forget_before(now - USER_SECONDS)
        changed = False
        for table, since in (("tokens", now), ("users", now - USER_SECONDS)):
            own = self._tables[table]
            for name, moment in snapshot.get(table, {}).items():
                # False for NaN, which is left out.
                if moment > since:
                    changed |= own.raise_to(name, min(float(moment), now + FURTHEST_SECONDS))
        return changed

    def later_than(self, snapshot: Mapping[str, Mapping[str, float]]) -> Snapshot:
        """Return the entries of `snapshot` that have a later time here, with that time."""
        return {
            table: {
                name: self._tables[table].moments[name]
                for name, moment in snapshot.get(table, {}).items()
                if self._tables[table].moments.get(name, moment) > moment
            }
            for table in TABLES
        }

    def missing_from(self, known: Mapping[str, float], table: str) -> Iterator[dict[str, float]]:
        """Yield entries of `table` that `known` lacks or has with an earlier time, in dicts of at most PAGE entries.

        A dict is empty if nothing is missing in a whole hour, so that the caller can let others run.
        """
        since = self._clock() - (USER_SECONDS if table == "users" else 0.0)
        own = self._tables[table]
        for hour in list(own.hours):
            moments = {name: own.moments[name] for name in own.hours.get(hour, ())}
            missing = [(name, at) for name, at in moments.items() if at > since and known.get(name, since) < at]
            for start in range(0, max(len(missing), 1), PAGE):
                yield dict(missing[start : start + PAGE])

    def of(self, *, tokens: Iterable[str] = (), users: Iterable[str] = ()) -> Snapshot:
        """Return the revocations of these tokens and users only."""
        names = {"tokens": tokens, "users": users}
        return {
            table: {name: moments[name] for name in names[table] if name in moments}
            for table, moments in ((table, self._tables[table].moments) for table in TABLES)
        }

    def count_ahead(self, table: str) -> tuple[int, int]:
        """Return a time in the near future, and the number of entries of `table` at that time or later.

        No node has dropped any of these entries yet. Nodes with the same entries get the same number for the same time,
        even if their clocks differ.
        """
        since = self._clock() - (USER_SECONDS if table == "users" else 0.0)
        hour = int((since + CLOCK_SECONDS) // HOUR_SECONDS) + 1
        return hour * HOUR_SECONDS, self._tables[table].count_from(hour)

    def take_extended(self) -> Snapshot:
        """Return and forget the revocations that tokens have extended since the last call, for other nodes."""
        extended, self._extended = self._extended, {}
        return {"tokens": extended, "users": {}}

    def _revoke(self, table: str, name: str, moment: float) -> Snapshot:
        change: Snapshot = {"tokens": {}, "users": {}, table: {name: moment}}
        self.merge(change)
        return change

    def _is_token_revoked(self, jti: str, expires_at: float, now: float) -> bool:
        until = self._tokens.moments.get(jti)
        if until is None or until <= now:
            return False
        end = min(self._end_of(expires_at), now + FURTHEST_SECONDS)
        if end > until and self._tokens.raise_to(jti, end):
            self._extended[jti] = end
        return True

    def _end_of(self, expires_at: float) -> float:
        """Return the time until which some node may accept the token."""
        return expires_at + self._leeway_seconds + CLOCK_SECONDS
