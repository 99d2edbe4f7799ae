"""An application that decides instead of claims: a Python callable or an HTTP callback, with a time limit."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import httpx
import structlog

from fastws.errors import ConfigError
from fastws.vocabulary.identity import Identity

Action = Literal["subscribe", "publish"]
Question = tuple[int, str, str]
# (user, action, channel, claims) -> bool; user None and no claims for somebody anonymous.
Decide = Callable[[str | None, str, str, Mapping[str, object]], Awaitable[bool]]

ANSWER_SECONDS: Final = 5.0
MAX_ANSWERS: Final = 10_000
SYNC_THREADS: Final = 8
LOG_SECONDS: Final = 60.0

log = structlog.get_logger("fastws.access.authorizer")


class Authorizer:
    """Asks the application who may subscribe and publish, and keeps each answer for some seconds.

    `where` is "package.module:function", called `(user, action, channel, claims) -> bool`, sync (in a thread)
    or async; or the URL of an HTTP callback: POST {"user","action","channel","claims"} -> {"allow": true}.
    No answer in time, an error and any other answer are refusals, and are asked again the next time. Raises
    ConfigError for what cannot be loaded.
    """

    def __init__(
        self,
        where: str,
        *,
        timeout_seconds: float = 2.0,
        answer_seconds: float = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._answer_seconds = answer_seconds
        self._clock = clock
        # Each answer keeps the identity it is for, so that its `id` cannot come to be another's.
        self._answers: dict[Question, tuple[Identity | None, bool, float]] = {}
        self._asking: dict[Question, asyncio.Task[bool]] = {}
        self._log_at = float("-inf")
        self._callback: _Callback | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._decide = self._open(where)

    async def allows(self, identity: Identity | None, action: Action, channel: str) -> bool:
        """Whether this user may do `action` on `channel`. Never raises; takes the time limit at most."""
        known = self.known(identity, action, channel)
        if known is not None:
            return known
        question = (id(identity), action, channel)
        task = self._asking.get(question)
        if task is None:
            task = asyncio.create_task(self._ask(identity, action, channel))
            self._asking[question] = task
            task.add_done_callback(lambda _: self._asking.pop(question, None))
        # Shielded: a client that goes away takes its own waiting along, not the answer others wait for.
        return await asyncio.shield(task)

    def known(self, identity: Identity | None, action: Action, channel: str) -> bool | None:
        """The answer that was given within the last seconds, or None: then ask `allows`."""
        answer = self._answers.get((id(identity), action, channel))
        return None if answer is None or answer[2] <= self._clock() else answer[1]

    async def close(self) -> None:
        """Ask nothing more; who still waits is refused."""
        for task in list(self._asking.values()):
            task.cancel()
        if self._callback is not None:
            await self._callback.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, identity: Identity | None, action: Action, channel: str) -> bool:
        user, claims = (None, {}) if identity is None else (identity.user, identity.claims)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                allowed = _boolean(await self._decide(user, action, channel, claims))
        except asyncio.CancelledError:
            return False
        except Exception as error:  # noqa: BLE001 the application's own; refused, and logged
            self._log_failure(error)
            return False
        self._keep((id(identity), action, channel), identity, allowed=allowed)
        return allowed

    def _keep(self, question: Question, identity: Identity | None, *, allowed: bool) -> None:
        now = self._clock()
        if len(self._answers) >= MAX_ANSWERS:
            self._answers = {q: answer for q, answer in self._answers.items() if answer[2] > now}
            while len(self._answers) >= MAX_ANSWERS:
                del self._answers[next(iter(self._answers))]
        self._answers[question] = (identity, allowed, now + self._answer_seconds)

    def _log_failure(self, error: Exception) -> None:
        now = self._clock()
        if now - self._log_at < LOG_SECONDS:
            return
        self._log_at = now
        reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
        log.error("authorizer failed: refused", reason=reason, kind=type(error).__name__)

    def _open(self, where: str) -> Decide:
        if is_url(where):
            self._callback = _Callback(where, self._timeout_seconds)
            return self._callback
        function = load_function(where, setting="authorizer")
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
            return function
        threads = self._threads = ThreadPoolExecutor(SYNC_THREADS, "fastws-authorizer")

        async def in_thread(user: str | None, action: str, channel: str, claims: Mapping[str, object]) -> bool:
            # It may ask a database: on the loop it would hold up everybody.
            loop = asyncio.get_running_loop()
            allowed: bool = await loop.run_in_executor(threads, function, user, action, channel, claims)
            return allowed

        return in_thread


class _Callback:
    """The HTTP callback. The client is made at the first question, in the loop that asks it."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._client: httpx.AsyncClient | None = None

    async def __call__(self, user: str | None, action: str, channel: str, claims: Mapping[str, object]) -> bool:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self._timeout_seconds)
        body = {"user": user, "action": action, "channel": channel, "claims": dict(claims)}
        response = await self._client.post(self._url, json=body)
        if response.status_code != httpx.codes.OK:
            raise ValueError(f"the authorizer's callback answered with status {response.status_code}")
        answer = response.json()
        return _boolean(answer.get("allow") if isinstance(answer, dict) else None)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


def _boolean(answer: object) -> bool:
    """`answer` if it is true or false: what is merely truthy is more often a mistake than a yes."""
    if not isinstance(answer, bool):
        raise TypeError(f"true or false is expected of an authorizer, not {type(answer).__name__}")
    return answer


def is_url(where: str) -> bool:
    """Whether an application is asked over HTTP rather than by a function of its own."""
    return where.startswith(("http://", "https://"))


def check_loads(where: str | None, *, setting: str) -> None:
    """Raise ConfigError naming `setting` unless `where` is None, a URL with a host, or names a function."""
    if where is None:
        return
    if not is_url(where):
        load_function(where, setting=setting)
        return
    try:
        url = urlsplit(where)
        has_host = url.hostname is not None and url.port != 0
    except ValueError as error:
        raise ConfigError(f"{setting}: this is no URL: {error}") from None
    if not has_host:
        raise ConfigError(f"{setting}: this URL names no host to ask")


def load_function(where: str, *, setting: str) -> Callable[..., Any]:
    """What "package.module:function" names. Raises ConfigError naming `setting` and what is missing."""
    module_name, colon, path = where.partition(":")
    if not colon or not module_name or not path:
        raise ConfigError(f"{setting}: {where!r} is neither package.module:function nor an http(s) URL")
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{setting}: cannot import {module_name!r}: {error}") from None
    for name in path.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        raise ConfigError(f"{setting}: there is no function {path!r} in {module_name!r}")
    function: Callable[..., Any] = found
    return function
