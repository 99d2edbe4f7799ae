"""Calling the application: its function in a thread or on the loop, or its HTTP callback, within a time limit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import structlog

from fastws.callouts.loading import is_async, is_url, load_function
from fastws.throttled_log import ThrottledLog

if TYPE_CHECKING:
    import httpx

# All synchronous functions of all callouts run in these; each callout may take `at_once` of them.
THREADS: Final = 64
MAX_CALLBACKS: Final = 256

log = structlog.stdlib.get_logger("fastws.callouts")


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "fastws-callout")


class ApplicationCall:
    """`await call(*arguments, body=…)` is what the application answered; it raises whatever went wrong.

    `where` is "package.module:function", called with the arguments, sync (in a thread, because it may ask a database)
    or async; or the URL of an HTTP callback, to which `body` is POSTed as JSON and whose response `read` turns into
    the answer. Without `read` a URL is refused. A call that takes longer than its `seconds` raises TimeoutError.
    Raises ConfigError for a `where` that cannot be loaded.
    """

    def __init__(
        self,
        where: str,
        *,
        setting: str,
        at_once: int,
        read: Callable[[httpx.Response], object] | None = None,
        adapt: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda function: function,
    ) -> None:
        self._url = where
        self._read = read
        self._client: httpx.AsyncClient | None = None
        # Threads that this callout may occupy; one that hangs occupies its thread until it returns.
        self._slots = asyncio.Semaphore(at_once)
        self._function: Callable[..., Any] | None = None
        self._failures = ThrottledLog(log)
        self._setting = setting
        self._call: Callable[..., Awaitable[object]] = self._post
        if read is None or not is_url(where):
            function = load_function(where, setting=setting)
            self._function = adapt(function)
            self._call = self._on_loop if is_async(function) else self._in_thread

    async def __call__(self, *arguments: object, seconds: float, body: object = None) -> object:
        async with asyncio.timeout(seconds):
            return await self._call(arguments, body)

    def log_failure(self, error: BaseException | str, **fields: str) -> None:
        """Log that a call failed, at most once a minute."""
        reason = error if isinstance(error, str) else _reason(error)
        self._failures.error("callout failed", setting=self._setting, reason=reason, **fields)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _on_loop(self, arguments: tuple[object, ...], body: object) -> object:
        assert self._function is not None  # noqa: S101 # set with _call
        return await self._function(*arguments)

    async def _in_thread(self, arguments: tuple[object, ...], body: object) -> object:
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        running = _threads().submit(self._run, *arguments)
        running.add_done_callback(lambda _: self._release(loop))
        return await asyncio.wrap_future(running)

    def _run(self, *arguments: object) -> object:
        # A thread that hangs is named in the log when the process ends without it.
        threading.current_thread().name = f"fastws-{self._setting}"
        assert self._function is not None  # noqa: S101 # set with _call
        return self._function(*arguments)

    def _release(self, loop: asyncio.AbstractEventLoop) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._slots.release)

    async def _post(self, arguments: tuple[object, ...], body: object) -> object:
        if self._client is None:
            import httpx  # only a callback over HTTP needs it

            # The time limit is the caller's.
            self._client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=MAX_CALLBACKS))  # noqa: S113
        assert self._read is not None  # noqa: S101 # else a URL is refused at the start
        return self._read(await self._client.post(self._url, json=body))


def _reason(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
