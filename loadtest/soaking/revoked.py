"""Revoked tokens: every server must refuse them, whatever happens to Redis."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
import uuid
from typing import Any

import httpx
import jwt
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from soaking.basic_clients import GONE, OPEN_SECONDS
from soaking.ledger import Ledger

SECRET = "a secret of at least thirty-two bytes, for a soak"
BROADCAST_KEY = "the broadcast key of the soak"
# A connection must be closed this soon after its token was revoked. A second is promised; a busy machine needs longer.
CLOSE_SECONDS = 5.0
# After this long the other servers must know of a revocation.
SPREAD_SECONDS = 5.0
REVOKE_EVERY_SECONDS = 8.0
CHECK_EVERY_SECONDS = 1.0
TOKEN_SECONDS = 36_000
_UNAUTHORIZED, _TOKEN_ENDED = 401, 4401


def make_token(user: str, **claims: Any) -> str:
    now = int(time.time())
    return jwt.encode({"sub": user, "iat": now - 60, "exp": now + TOKEN_SECONDS, **claims}, SECRET, "HS256")


def http_url(ws_url: str, path: str = "") -> str:
    return f"http{ws_url[2:]}{path}"


class Door:
    """One server that accepts or refuses tokens."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        self.url = url
        self._options: dict[str, Any] = {} if tls is None else {"ssl": tls}

    def open(self, token: str) -> connect:
        return connect(f"{self.url}?token={token}", proxy=None, open_timeout=OPEN_SECONDS, **self._options)

    async def accepts(self, token: str) -> bool | None:
        """Whether an upgrade with `token` succeeds; None if the server does not decide (it restarts or is full)."""
        try:
            async with self.open(token) as client:
                await client.recv()
        except InvalidStatus as error:
            return False if error.response.status_code == _UNAUTHORIZED else None
        except ConnectionClosed as error:
            return False if error.rcvd is not None and error.rcvd.code == _TOKEN_ENDED else None
        except GONE:
            return None
        return True


class RevocationWatch:
    """Revokes tokens by id and by user, and keeps trying them on every server."""

    def __init__(self, doors: list[Door], ledger: Ledger, rng: random.Random) -> None:
        self.doors = doors
        self.revoked: list[str] = []
        self._revoked_at: dict[str, float] = {}
        self.valid = make_token("soak-valid", jti="soak-valid")
        self._ledger, self._rng = ledger, rng
        self.is_stopping = False

    async def run(self) -> None:
        await asyncio.gather(self._revoke_in_turn(), self._try_all_the_time())

    async def revoke_one(self) -> bool:
        """Revoke a token with an open connection, which must be closed; whether the server accepted the request."""
        name = uuid.UUID(int=self._rng.getrandbits(128)).hex
        by_user = self._rng.random() < 0.5
        token = make_token(f"user-{name}", jti=name)
        door = self._rng.choice(self.doors)
        try:
            async with door.open(token) as client:
                await client.recv()
                if not await self._post({"user": f"user-{name}"} if by_user else {"jti": name}):
                    return False
                await self._must_be_closed(client, name)
        except GONE:
            return False
        self.revoked.append(token)
        self._revoked_at[token] = time.monotonic()
        self._ledger.counts["tokens revoked"] += 1
        return True

    async def _must_be_closed(self, client: Any, name: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while True:
                    await client.recv()
        except ConnectionClosed as error:
            code = None if error.rcvd is None else error.rcvd.code
            if code == _TOKEN_ENDED:
                self._ledger.counts["connections of revoked tokens closed"] += 1
            else:
                self._ledger.lost(f"the holder of {name}", code)
        except TimeoutError:
            self._ledger.fault("connection of a revoked token stayed open", name)

    async def _post(self, what: dict[str, str]) -> bool:
        headers = {"Authorization": f"Bearer {BROADCAST_KEY}"}
        try:
            async with httpx.AsyncClient(timeout=OPEN_SECONDS, headers=headers, trust_env=False) as client:
                answer = await client.post(http_url(self.doors[0].url, "revocations"), json=what)
        except httpx.HTTPError:
            return False
        return answer.status_code == 204

    async def _revoke_in_turn(self) -> None:
        while not self.is_stopping:
            await self.revoke_one()
            await asyncio.sleep(REVOKE_EVERY_SECONDS * self._rng.uniform(0.5, 1.5))

    async def _try_all_the_time(self) -> None:
        while not self.is_stopping:
            for door in self.doors:
                await self.check(door)
            await asyncio.sleep(CHECK_EVERY_SECONDS)

    async def check(self, door: Door, where: str = "a running server") -> None:
        """Three new revoked tokens and three older ones must be refused, the valid one must be accepted."""
        latest = time.monotonic() - SPREAD_SECONDS
        known = [token for token in self.revoked if self._revoked_at[token] <= latest]
        tokens = known[-3:] + self._rng.sample(known[:-3], min(3, len(known[:-3])))
        for token in tokens:
            accepted = await door.accepts(token)
            if accepted:
                self._ledger.fault("revoked token accepted", f"by {where}, token {self.revoked.index(token)}")
            elif accepted is False:
                self._ledger.counts["revoked tokens refused"] += 1
        accepted = await door.accepts(self.valid)
        if accepted is False:
            self._ledger.fault("valid token refused", f"by {where}")
        elif accepted:
            self._ledger.counts["valid tokens accepted"] += 1
            self._ledger.tried["revocations"] += bool(tokens)
