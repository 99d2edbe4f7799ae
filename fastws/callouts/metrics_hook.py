"""The setting `metrics_hook`: an application's own answers to `request_metrics`, within time and number."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Final

from fastws.callouts.application import ApplicationCall
from fastws.errors import FastWSError, RateLimited
from fastws.vocabulary.channels import workspace_channels

ANSWER_SECONDS: Final = 5.0
# Questions under way; a hook that is slow is asked nothing more.
MAX_QUESTIONS: Final = 256
SYNC_THREADS: Final = 8

Spawn = Callable[[Coroutine[None, None, None]], None]


class MetricsHook:
    """`where` is "package.module:function", called `(workspace, metric_type)`; sync (in a thread) or async.

    What it returns is the answer's `data`. Raises ConfigError for what cannot be loaded.
    """

    def __init__(self, where: str, workspace_channel: str, spawn: Spawn) -> None:
        self._call = ApplicationCall(where, setting="metrics_hook", at_once=SYNC_THREADS)
        self._workspaces = workspace_channels(workspace_channel)
        self._spawn = spawn
        self._questions = 0

    def ask(self, channel: str, metric_type: str, answer: Callable[[object], None]) -> None:
        """`answer` hears, within ANSWER_SECONDS, what the hook says of the workspace of `channel`, or a FastWSError."""
        workspace = self._workspaces.fullmatch(channel)
        if workspace is None or self._questions >= MAX_QUESTIONS:
            answer(RateLimited("the application cannot keep up with these questions; ask again later"))
            return
        self._questions += 1
        self._spawn(self._ask(workspace[1], metric_type, answer))

    async def close(self) -> None:
        await self._call.close()

    async def _ask(self, workspace: str, metric_type: str, answer: Callable[[object], None]) -> None:
        try:
            found = await self._call(workspace, metric_type, seconds=ANSWER_SECONDS)
        except Exception as error:  # noqa: BLE001 the application's own; answered so, and logged
            self._call.log_failure(error)
            found = FastWSError("the application did not answer")
        finally:
            self._questions -= 1
        answer(found)
