"""Revoked tokens and users: what is no longer good although its signature and its times are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from fastws.vocabulary.identity import Identity

DAY_SECONDS: Final = 24 * 3600.0
# A token whose `exp` nobody knows is revoked for so long.
TOKEN_SECONDS: Final = 30 * DAY_SECONDS
USER_SECONDS: Final = 30 * DAY_SECONDS
# Whatever a message claims, nothing is kept longer.
FURTHEST_SECONDS: Final = 3660 * DAY_SECONDS
# Processes whose clocks differ by less agree on what has run out.
CLOCK_SECONDS: Final = 60.0
HOUR_SECONDS: Final = 3600
TABLES: Final = ("tokens", "users")
Snapshot = dict[str, dict[str, float]]


class _Table:
    """Moments by name, and names by the hour of their moment: what has run out is found without a search."""

    __slots__ = ("hours", "moments")

    def __init__(self) -> None:
        self.moments: dict[str, float] = {}
        self.hours: dict[int, set[str]] = {}

    def raise_to(self, name: str, moment: float) -> bool:
        """Of two moments the later holds. Returns whether `moment` is it."""
        before = self.moments.get(name)
        if before is not None:
            if before >= moment:
                return False
            self.hours[int(before // HOUR_SECONDS)].discard(name)
        self.moments[name] = moment
        self.hours.setdefault(int(moment // HOUR_SECONDS), set()).add(name)
        return True

    def count_from(self, hour: int) -> int:
        """How many moments are in `hour` or later."""
        return sum(len(names) for at, names in self.hours.items() if at >= hour)

    def forget_before(self, moment: float) -> None:
        """Drop what lies in an hour that was over at `moment`."""
        for hour in [hour for hour in self.hours if (hour + 1) * HOUR_SECONDS <= moment]:
            for name in self.hours.pop(hour):
                del self.moments[name]


class Revocations:
    """Spec 3.5. Times are seconds since the epoch, of `clock`.

    Nothing is dropped before its time, so the store is as large as what backends revoked in the last days: some
    250 bytes each. No revocation is ever shortened.
    """

    def __init__(self, clock: Callable[[], float] = time.time, *, leeway_seconds: float = 30.0) -> None:
        self._clock = clock
        self._leeway_seconds = leeway_seconds
        self._tokens = _Table()  # jti -> until when
        self._users = _Table()  # user -> tokens issued up to then
        self._tables = {"tokens": self._tokens, "users": self._users}
        self._extended: dict[str, float] = {}
        self._sweep_at = 0.0

    def __len__(self) -> int:
        return len(self._tokens.moments) + len(self._users.moments)

    def revoke_token(self, jti: str, expires_at: float | None = None) -> Snapshot:
        """Refuse the token `jti` until it has expired: at `expires_at`, if that is known, else for 30 days.

        Where a token with that id is seen that lives longer, it is refused until that one has expired. Returns the
        snapshot of this one revocation, for other processes to merge.
        """
        until = self._clock() + TOKEN_SECONDS if expires_at is None else self._end_of(expires_at)
        return self._revoke("tokens", jti, until)

    def revoke_user(self, user: str, at: float | None = None) -> Snapshot:
        """Refuse, for 30 days, tokens of `user` that were issued up to `at` or don't say when.

        `at` is by default now and the leeway: the signer's clock may be ahead. Returns as `revoke_token`.
        """
        return self._revoke("users", user, self._clock() + self._leeway_seconds if at is None else at)

    def is_revoked(self, identity: Identity) -> bool:
        """Whether the token that `identity` came with has been revoked, by its id or with its user."""
        now = self._clock()
        if identity.token_id is not None and self._is_token_revoked(identity.token_id, identity.expires_at, now):
            return True
        at = self._users.moments.get(identity.user)
        if at is None or at + USER_SECONDS <= now:
            return False
        return identity.issued_at is None or identity.issued_at <= at

    def snapshot(self) -> Snapshot:
        """All that is in force: {"tokens": {jti: until}, "users": {user: at}}, plain enough for any codec."""
        now = self._clock()
        return {
            "tokens": {jti: until for jti, until in self._tokens.moments.items() if until > now},
            "users": {user: at for user, at in self._users.moments.items() if at + USER_SECONDS > now},
        }

    def merge(self, snapshot: Mapping[str, Mapping[str, float]]) -> bool:
        """Take over what another process knows; of two times the later holds. True: something is new."""
        now = self._clock()
        if now >= self._sweep_at:
            self._sweep_at = now + HOUR_SECONDS
            self._tokens.forget_before(now)
            self._users.forget_before(now - USER_SECONDS)
        changed = False
        for table, since in (("tokens", now), ("users", now - USER_SECONDS)):
            mine = self._tables[table]
            for name, moment in snapshot.get(table, {}).items():
                # Written so that what is not a number is left out.
                if moment > since:
                    changed |= mine.raise_to(name, min(float(moment), now + FURTHEST_SECONDS))
        return changed

    def later_than(self, snapshot: Mapping[str, Mapping[str, float]]) -> Snapshot:
        """What is kept here for longer than `snapshot` says, of the names in it."""
        return {
            table: {
                name: self._tables[table].moments[name]
                for name, moment in snapshot.get(table, {}).items()
                if self._tables[table].moments.get(name, moment) > moment
            }
            for table in TABLES
        }

    def missing_from(self, known: Mapping[str, float], table: str) -> Iterator[dict[str, float]]:
        """What `known`, all that another knows of `table`, lacks or keeps for less long; in slices of an hour."""
        since = self._clock() - (USER_SECONDS if table == "users" else 0.0)
        mine = self._tables[table]
        for hour in list(mine.hours):
            moments = {name: mine.moments[name] for name in mine.hours.get(hour, ())}
            yield {name: at for name, at in moments.items() if at > since and known.get(name, since) < at}

    def of(self, *, tokens: Iterable[str] = (), users: Iterable[str] = ()) -> Snapshot:
        """What is known of these names alone."""
        names = {"tokens": tokens, "users": users}
        return {
            table: {name: moments[name] for name in names[table] if name in moments}
            for table, moments in ((table, self._tables[table].moments) for table in TABLES)
        }

    def count_ahead(self, table: str) -> tuple[int, int]:
        """A moment, and how many of `table` lie there or later: far enough ahead that nobody has dropped one of them.

        Two who know the same get the same number for that moment, whatever their clocks.
        """
        since = self._clock() - (USER_SECONDS if table == "users" else 0.0)
        hour = int((since + CLOCK_SECONDS) // HOUR_SECONDS) + 1
        return hour * HOUR_SECONDS, self._tables[table].count_from(hour)

    def take_extended(self) -> Snapshot:
        """Revocations that a token made longer by being seen, since the last call: others do not know it."""
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
        """Until when a token may be accepted by anybody."""
        return expires_at + self._leeway_seconds + CLOCK_SECONDS
