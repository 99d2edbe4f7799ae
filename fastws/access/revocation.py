"""Revoked tokens and users: what is no longer good although its signature and its times are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from fastws.vocabulary.identity import Identity

TOKEN_SECONDS: Final = 24 * 3600.0
USER_SECONDS: Final = 30 * 24 * 3600.0
Snapshot = dict[str, dict[str, float]]


class Revocations:
    """Spec 3.5. Times are seconds since the epoch, of `clock`.

    What has run out is dropped as more comes in. Nothing is ever dropped before its time, so the store is as
    large as what backends revoked in the last days: some 150 bytes each.
    """

    def __init__(self, clock: Callable[[], float] = time.time, *, leeway_seconds: float = 30.0) -> None:
        self._clock = clock
        self._leeway_seconds = leeway_seconds
        self._tokens: dict[str, float] = {}  # jti -> until when
        self._users: dict[str, float] = {}  # user -> tokens issued up to then
        self._sweep_at_entries = 1024

    def __len__(self) -> int:
        return len(self._tokens) + len(self._users)

    def revoke_token(self, jti: str, expires_at: float | None = None) -> Snapshot:
        """Refuse the token `jti` until its `expires_at` and the leeway, where known, and for 24 h at least.

        Returns the snapshot of this one revocation, for other processes to merge.
        """
        until = self._clock() + TOKEN_SECONDS
        if expires_at is not None:
            until = max(until, expires_at + self._leeway_seconds)
        change: Snapshot = {"tokens": {jti: until}, "users": {}}
        self.merge(change)
        return change

    def revoke_user(self, user: str, at: float | None = None) -> Snapshot:
        """Refuse, for 30 days, tokens of `user` that were issued up to `at` (default: now) or don't say when.

        Returns the snapshot of this one revocation, for other processes to merge.
        """
        change: Snapshot = {"tokens": {}, "users": {user: self._clock() if at is None else at}}
        self.merge(change)
        return change

    def is_revoked(self, identity: Identity) -> bool:
        """Whether the token that `identity` came with has been revoked, by its id or with its user."""
        now = self._clock()
        if identity.token_id is not None and self._tokens.get(identity.token_id, 0.0) > now:
            return True
        at = self._users.get(identity.user)
        if at is None or at + USER_SECONDS <= now:
            return False
        return identity.issued_at is None or identity.issued_at <= at

    def snapshot(self) -> Snapshot:
        """All that is in force: {"tokens": {jti: until}, "users": {user: at}}, plain enough for any codec."""
        self._forget()
        return {"tokens": dict(self._tokens), "users": dict(self._users)}

    def merge(self, snapshot: Mapping[str, Mapping[str, float]]) -> bool:
        """Take over what another process knows; of two times the later holds. True: something is new."""
        changed = False
        for mine, theirs in ((self._tokens, "tokens"), (self._users, "users")):
            for name, moment in snapshot.get(theirs, {}).items():
                if mine.get(name, float("-inf")) < moment:
                    mine[name] = moment
                    changed = True
        if len(self) >= self._sweep_at_entries:
            self._forget()
            self._sweep_at_entries = max(1024, 2 * len(self))
        return changed

    def _forget(self) -> None:
        now = self._clock()
        self._tokens = {jti: until for jti, until in self._tokens.items() if until > now}
        self._users = {user: at for user, at in self._users.items() if at + USER_SECONDS > now}
