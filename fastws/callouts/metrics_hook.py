"""The setting `metrics_hook`: an application's own answers to `request_metrics`, within time and number."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog

from fastws.callouts.authorizer import load_function
from fastws.errors import FastWSError, RateLimited
from fastws.vocabulary.channels import workspace_channels

ANSWER_SECONDS: Final = 5.0
# Questions under way; a hook that is slow is asked nothing more.
MAX_QUESTIONS: Final = 256
SYNC_THREADS: Final = 8
LOG_SECONDS: Final = 60.0

log = structlog.stdlib.get_logger("fastws.hook")

Spawn = Callable[[Coroutine[None, None, None]], None]


class MetricsHook:
    """`where` is "package.module:function", called `(workspace, metric_type)`; sync (in a thread) or async.

    What it returns is the answer's `data`. Raises ConfigError for what cannot be loaded.
    """

    def __init__(self, where: str, workspace_channel: str, spawn: Spawn) -> None:
        self._function: Callable[..., Any] = load_function(where, setting="metrics_hook")
        self._workspaces = workspace_channels(workspace_channel)
        self._spawn = spawn
        self._questions = 0
        self._log_at = float("-inf")
        is_async = inspect.iscoroutinefunction(self._function) or inspect.iscoroutinefunction(
            type(self._function).__call__
        )
        self._threads = None if is_async else ThreadPoolExecutor(SYNC_THREADS, "fastws-metrics-hook")

    def ask(self, channel: str, metric_type: str, answer: Callable[[object], None]) -> None:
        """`answer` hears, within ANSWER_SECONDS, what the hook says of the workspace of `channel`, or a FastWSError."""
        workspace = self._workspaces.fullmatch(channel)
        if workspace is None or self._questions >= MAX_QUESTIONS:
            answer(RateLimited("the application cannot keep up with these questions; ask again later"))
            return
        self._questions += 1
        self._spawn(self._ask(workspace[1], metric_type, answer))

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, workspace: str, metric_type: str, answer: Callable[[object], None]) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found = await self._call(workspace, metric_type)
        except Exception as error:  # noqa: BLE001 the application's own; answered so, and logged
            self._note(error)
            found = FastWSError("the application did not answer")
        finally:
            self._questions -= 1
        answer(found)

    async def _call(self, workspace: str, metric_type: str) -> object:
        if self._threads is None:
            return await self._function(workspace, metric_type)
        # It may ask a database: on the loop it would hold up everybody.
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._function, workspace, metric_type)

    def _note(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._log_at >= LOG_SECONDS:
            self._log_at = now
            log.error("the metrics hook failed", reason=str(error) or type(error).__name__)
