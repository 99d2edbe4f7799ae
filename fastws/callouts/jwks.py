"""The keys of an identity provider (RFC 7517), fetched in the background so that clients never wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Final

import httpx
import structlog

from fastws.access.keys import VerificationKey, jwks_keys
from fastws.errors import ConfigError

REFRESH_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 15.0
UNKNOWN_KID_SECONDS: Final = 10.0
FETCH_SECONDS: Final = 5.0
MAX_DOCUMENT_BYTES: Final = 262_144
HEADERS: Final = {"accept": "application/json"}

log = structlog.get_logger("fastws.jwks")


class Jwks:
    """The keys at `url`. If a fetch fails, it is logged and the present keys stay in use.

    The keys are fetched at `start`, every `refresh_seconds`, and when a token names an unknown key. In the last case
    the fetch is at least `unknown_kid_seconds` after the previous one, because anyone can send such tokens. Raises
    ConfigError if `url` is not an http:// or https:// URL.
    """

    def __init__(
        self,
        url: str,
        *,
        refresh_seconds: float = REFRESH_SECONDS,
        unknown_kid_seconds: float = UNKNOWN_KID_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError("jwt_jwks_url: must be an http:// or https:// URL")
        self._url = url
        self._refresh_seconds = refresh_seconds
        self._unknown_kid_seconds = unknown_kid_seconds
        self._clock = clock
        self._keys: tuple[VerificationKey, ...] = ()
        self._fetched_at = float("-inf")
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._client: httpx.AsyncClient | None = None

    def find(self, kid: str | None) -> Sequence[VerificationKey]:
        """Return the keys with this `kid`. Never waits.

        If there are none, returns the keys without a `kid` and requests a fetch. With `kid` None, returns all keys.
        """
        if kid is None:
            return self._keys
        found = [key for key in self._keys if key.kid == kid]
        if found:
            return found
        self._wanted.set()
        return [key for key in self._keys if key.kid is None]

    async def start(self) -> None:
        """Fetch the keys, for at most 5 s, and continue in the background. Never raises."""
        self._client = httpx.AsyncClient(timeout=FETCH_SECONDS, follow_redirects=False)
        await self.refresh()
        self._task = asyncio.create_task(self._keep_fresh())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def refresh(self) -> bool:
        """Fetch now. Returns False if that failed; the keys are then unchanged."""
        if self._client is None:
            raise RuntimeError("call start() before refresh()")
        self._wanted.clear()
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                self._keys = jwks_keys(await self._fetch(self._client))
        except (httpx.HTTPError, ValueError, TimeoutError, RecursionError) as error:
            log.warning("JWKS not fetched: old keys kept", keys=len(self._keys), reason=str(error) or "time-out")
            return False
        finally:
            self._fetched_at = self._clock()
        return True

    async def _fetch(self, client: httpx.AsyncClient) -> object:
        async with client.stream("GET", self._url, headers=HEADERS) as response:
            answer = JwksAnswer(response.status_code)
            async for piece in response.aiter_bytes():
                answer.take(piece)
        return answer.document()

    async def _keep_fresh(self) -> None:
        seconds = self._refresh_seconds if self._keys else RETRY_SECONDS
        while True:
            # Earlier only if a token names an unknown key, and then not at once.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wanted.wait()
                    await asyncio.sleep(self._fetched_at + self._unknown_kid_seconds - self._clock())
            fetched = await self.refresh()
            seconds = self._refresh_seconds if fetched else min(RETRY_SECONDS, self._refresh_seconds)


class JwksAnswer:
    """The response of a provider, received in pieces. Raises ValueError that states what is wrong with it."""

    __slots__ = ("_body",)

    def __init__(self, status: int) -> None:
        if status != httpx.codes.OK:
            # The text of httpx is not used: it shows the URL, which may contain credentials.
            raise ValueError(f"status {status}")
        self._body = bytearray()

    def take(self, piece: bytes) -> None:
        self._body += piece
        if len(self._body) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"the document must be at most {MAX_DOCUMENT_BYTES} bytes")

    def document(self) -> object:
        """Return the complete document, decoded from JSON."""
        return json.loads(self._body)
