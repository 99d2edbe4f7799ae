"""Limits how many token signatures are verified per loop turn; further tokens wait for the next turns."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from fastws.access.tokens import Tokens

# Public-key operations per loop turn: 0.5 ms with ES256 or EdDSA, 3 ms with ES512.
OPERATIONS_PER_TURN: Final = 16


class Verifications:
    """One budget for the tokens of upgrades, refreshes and plain requests.

    A flood of tokens with bad signatures then delays only clients that present tokens. Tokens that need no public-key
    operation (shared secret, wrong algorithm, expired) cost nothing here. First come, first served.
    """

    __slots__ = ("_is_scheduled", "_left", "_tokens", "_waiting", "is_idle")

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._left = OPERATIONS_PER_TURN
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._is_scheduled = False
        # Whether no token ever has to wait, because no public key is configured.
        self.is_idle = not tokens.has_public_keys

    def may_begin(self, token: str) -> bool:
        """Charge `token` to the budget and return True if it may be verified now. Otherwise await `turn`."""
        cost = self._tokens.cost(token)
        if not cost:
            return True
        if self._waiting or self._left <= 0:
            return False
        self._spend(cost)
        return True

    async def turn(self, token: str) -> None:
        """Wait until `token` may be verified."""
        if self.may_begin(token):
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((self._tokens.cost(token), future))
        await future

    def _spend(self, cost: int) -> None:
        """Charge `cost`. What exceeds the budget of this turn is charged to the next ones."""
        self._left -= cost
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._is_scheduled = False
        self._left = min(OPERATIONS_PER_TURN, self._left + OPERATIONS_PER_TURN)
        while self._waiting and self._left > 0:
            cost, future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                self._spend(cost)
        if self._left <= 0:
            self._spend(0)
