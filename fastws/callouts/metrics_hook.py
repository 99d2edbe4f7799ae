"""The setting `metrics_hook`: the application answers `request_metrics`, within limits of time and number."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Final

from fastws.callouts.application import ApplicationCall
from fastws.errors import FastWSError, RateLimited
from fastws.vocabulary.channels import workspace_channels

ANSWER_SECONDS: Final = 5.0
# Requests under way. Further requests are refused.
MAX_QUESTIONS: Final = 256
SYNC_THREADS: Final = 8

Spawn = Callable[[Coroutine[None, None, None]], None]


class MetricsHook:
    """Calls "package.module:function" in `where` as `(workspace, metric_type)`, sync (in a thread) or async.

    Its result is the `data` of the answer. Raises ConfigError if `where` cannot be loaded.
    """

    def __init__(self, where: str, workspace_channel: str, spawn: Spawn) -> None:
        self._call = ApplicationCall(where, setting="metrics_hook", at_once=SYNC_THREADS)
        self._workspaces = workspace_channels(workspace_channel)
        self._spawn = spawn
        self._questions = 0

    def ask(self, channel: str, metric_type: str, answer: Callable[[object], None]) -> None:
        """Call `answer` within ANSWER_SECONDS with the result for the workspace of `channel`, or with a FastWSError."""
        workspace = self._workspaces.fullmatch(channel)
        if workspace is None or self._questions >= MAX_QUESTIONS:
            answer(RateLimited("the application cannot keep up with these requests; try again later"))
            return
        self._questions += 1
        self._spawn(self._ask(workspace[1], metric_type, answer))

    async def close(self) -> None:
        await self._call.close()

    async def _ask(self, workspace: str, metric_type: str, answer: Callable[[object], None]) -> None:
        try:
            found = await self._call(workspace, metric_type, seconds=ANSWER_SECONDS)
        except Exception as error:  # noqa: BLE001 any error of the application is answered as such, and logged
            self._call.log_failure(error)
            found = FastWSError("the application did not answer")
        finally:
            self._questions -= 1
        answer(found)
