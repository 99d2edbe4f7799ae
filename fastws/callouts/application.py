"""Calls the application, within a time limit: an async function, a function in a thread, or an HTTP callback."""

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

# Threads for the synchronous functions of all callouts. Each callout may use `at_once` of them.
THREADS: Final = 64
MAX_CALLBACKS: Final = 256

log = structlog.stdlib.get_logger("fastws.callouts")


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "fastws-callout")


class ApplicationCall:
    """`await call(*arguments, body=…)` returns the answer of the application, or raises the error of the call.

    `where` is "package.module:function", called with the arguments. An async function runs on the loop, any other in a
    thread because it may block. `where` may also be the URL of an HTTP callback: `body` is sent to it by POST as JSON,
    and `read` converts the response to the answer. Without `read`, a URL is not accepted. A call that takes longer than
    `seconds` raises TimeoutError. Raises ConfigError if `where` cannot be loaded.
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
        # Threads that this callout may use. A function that hangs keeps its thread until it returns.
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
        """Log that a call failed, at most once per minute."""
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
        # The log names threads that still run when the process exits.
        threading.current_thread().name = f"fastws-{self._setting}"
        assert self._function is not None  # noqa: S101 # set with _call
        return self._function(*arguments)

    def _release(self, loop: asyncio.AbstractEventLoop) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._slots.release)

    async def _post(self, arguments: tuple[object, ...], body: object) -> object:
        if self._client is None:
            import httpx  # only HTTP callbacks need it

            # No timeout here: __call__ limits the time.
            self._client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=MAX_CALLBACKS))  # noqa: S113
        assert self._read is not None  # noqa: S101 # else __init__ has refused the URL
        return self._read(await self._client.post(self._url, json=body))


def _reason(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
