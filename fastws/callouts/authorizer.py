"""The setting `authorizer`: the application decides who may subscribe and publish, instead of token claims."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from fastws.callouts.application import ApplicationCall
from fastws.vocabulary.identity import Identity

if TYPE_CHECKING:
    import httpx

Action = Literal["subscribe", "publish"]
Question = tuple[int, str, str]

ANSWER_SECONDS: Final = 5.0
MAX_ANSWERS: Final = 10_000
SYNC_THREADS: Final = 8
_OK: Final = 200


class Authorizer:
    """Asks the application who may subscribe and publish, and caches each answer for `answer_seconds`.

    `where` is "package.module:function", called as `(user, action, channel, claims) -> bool`, sync (in a thread) or
    async; or the URL of an HTTP callback: POST {"user","action","channel","claims"} -> {"allow": true}. An error, any
    other answer and no answer within `timeout_seconds` count as a refusal and are not cached. `clock` returns
    monotonic seconds. Raises ConfigError if `where` cannot be loaded.
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
        # Each answer keeps its identity alive, so that no other identity can get the same `id()`.
        # The one that expires first comes first.
        self._answers: OrderedDict[Question, tuple[Identity | None, bool, float]] = OrderedDict()
        self._asking: dict[Question, asyncio.Task[bool]] = {}
        self._call = ApplicationCall(where, setting="authorizer", read=_read, at_once=SYNC_THREADS)

    async def allows(self, identity: Identity | None, action: Action, channel: str) -> bool:
        """Return whether this user may do `action` on `channel`, within the time limit. Never raises."""
        known = self.known(identity, action, channel)
        if known is not None:
            return known
        question = (id(identity), action, channel)
        task = self._asking.get(question)
        if task is None:
            task = asyncio.create_task(self._ask(identity, action, channel))
            self._asking[question] = task
            task.add_done_callback(lambda _: self._asking.pop(question, None))
        # Shielded: if one client disconnects, the others still get the answer.
        return await asyncio.shield(task)

    def known(self, identity: Identity | None, action: Action, channel: str) -> bool | None:
        """Return the cached answer. Returns None if there is none: then call `allows`."""
        answer = self._answers.get((id(identity), action, channel))
        return None if answer is None or answer[2] <= self._clock() else answer[1]

    async def close(self) -> None:
        """Cancel all questions under way; they count as refused."""
        for task in list(self._asking.values()):
            task.cancel()
        await self._call.close()

    async def _ask(self, identity: Identity | None, action: Action, channel: str) -> bool:
        user, claims = (None, {}) if identity is None else (identity.user, identity.claims)
        try:
            body = {"user": user, "action": action, "channel": channel, "claims": dict(claims)}
            answer = await self._call(user, action, channel, claims, body=body, seconds=self._timeout_seconds)
            allowed = _boolean(answer)
        except asyncio.CancelledError:
            return False
        except Exception as error:  # noqa: BLE001 any error of the application is a refusal, and logged
            self._call.log_failure(error)
            return False
        self._keep((id(identity), action, channel), identity, allowed=allowed)
        return allowed

    def _keep(self, question: Question, identity: Identity | None, *, allowed: bool) -> None:
        self._answers.pop(question, None)
        if len(self._answers) >= MAX_ANSWERS:
            self._answers.popitem(last=False)
        self._answers[question] = (identity, allowed, self._clock() + self._answer_seconds)


def _boolean(answer: object) -> bool:
    """Return `answer` if it is a bool. Other truthy values are more often a mistake than permission."""
    if not isinstance(answer, bool):
        raise TypeError(f"an authorizer must answer true or false, not {type(answer).__name__}")
    return answer


def _read(response: httpx.Response) -> bool:
    """Return the answer in the response of an HTTP callback: `{"allow": true}` with status 200."""
    if response.status_code != _OK:
        raise ValueError(f"the callback answered with status {response.status_code}")
    answer = response.json()
    return _boolean(answer.get("allow") if isinstance(answer, dict) else None)
