"""The token of a client: where it comes from, when it expires, and when to replace it."""

from __future__ import annotations

import asyncio
import base64
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import orjson

from fastws.errors import BadRequest

TokenProvider = Callable[[], "str | Awaitable[str]"]

BEFORE_SECONDS: Final = 60.0
LEAST_SECONDS: Final = 0.1


class TokenSource:
    """A fixed token, or a `provider`: a function or coroutine function without arguments that returns a new one.

    A plain function runs in a thread, so that it may block.
    """

    def __init__(self, token: str | None, provider: TokenProvider | None) -> None:
        self.token = token
        self._provider = provider

    @property
    def can_renew(self) -> bool:
        return self._provider is not None

    async def current(self) -> str | None:
        """The token to connect with; a new one if the last has expired."""
        if self._provider is None:
            return self.token
        if self.token is None or (self.seconds_left() or LEAST_SECONDS) <= 0:
            await self.renew()
        return self.token

    async def renew(self) -> str:
        """Get a new token from the provider. Raises its errors, and BadRequest if it does not return a token."""
        provider = self._provider
        if provider is None:
            raise BadRequest("a new token is needed, but there is no `token_provider`")
        result = provider() if inspect.iscoroutinefunction(provider) else await asyncio.to_thread(provider)
        token = await cast("Awaitable[str]", result) if inspect.isawaitable(result) else result
        if not isinstance(token, str) or not token:
            raise BadRequest(f"`token_provider` must return a token as a non-empty string, not {type(token).__name__}")
        self.token = token
        return token

    def seconds_left(self) -> float | None:
        """Seconds until the `exp` of the token; None if it cannot be read."""
        expires = None if self.token is None else expiry_of(self.token)
        return None if expires is None else expires - time.time()

    def seconds_until_refresh(self) -> float | None:
        """Seconds until a minute before the expiry, or half of the remaining time if that is under two minutes."""
        left = self.seconds_left()
        if left is None or self._provider is None:
            return None
        return max(LEAST_SECONDS, left - BEFORE_SECONDS if left > 2 * BEFORE_SECONDS else left / 2)


def expiry_of(token: str) -> float | None:
    """The `exp` of a JWT in seconds since the epoch. The signature is not verified: only the server can do that."""
    try:
        return float(_claims_of(token)["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def claim_of(token: str | None, claim: str) -> str | None:
    """A claim of a JWT that is a string; None if there is none. The signature is not verified."""
    try:
        value = None if token is None else _claims_of(token)[claim]
    except (IndexError, ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, str) else None


def _claims_of(token: str) -> Any:
    payload = token.split(".")[1]
    return orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
