"""The setting `event_hook`: sends `$connect`, `$default` and `$disconnect` to the application, as API Gateway does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog

from fastws.callouts.application import ApplicationCall
from fastws.callouts.backlog import Backlog
from fastws.callouts.gateway_events import (
    Caller,
    Event,
    body_in,
    default_event,
    disconnect_event,
    refusal_in,
    takes_context,
)
from fastws.counters import Counters
from fastws.errors import FastWSError, RateLimited, Unavailable

if TYPE_CHECKING:
    import httpx

# An upgrade waits this long for the application. After that it is refused.
CONNECT_SECONDS: Final = 2.0
# Time limit of all other events. They delay only the events after them in the same lane.
EVENT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 2.0
# Number of events sent at the same time. All events of a connection are in the same lane, so they stay in order.
LANES: Final = 64
MAX_EVENTS: Final = 100_000
SYNC_THREADS: Final = 32

log = structlog.stdlib.get_logger("fastws.callouts")

# Route, function that creates the event when its turn comes, and function that gets the answer or _FAILED.
_Job = tuple[str, Callable[[], Event], Callable[[object], None]]
_FAILED: Final = object()
_HOOK_FAILED: Final = "event_hook failed: see the log line `callout failed`"
_NO_ANSWER: Final = "the application did not answer; try again later"


class EventHook:
    """Sends the events of connections to the application at `where` (see ApplicationCall).

    Only upgrades wait for the answer. All other events wait in a bounded backlog. If a client's share of it is full,
    its messages are refused with `rate_limited`. If there are MAX_EVENTS, `$disconnect` events are dropped. Both are
    counted, and failures too.
    """

    def __init__(self, where: str, counters: Counters) -> None:
        self._call = ApplicationCall(where, setting="event_hook", read=_read, at_once=SYNC_THREADS, adapt=_with_context)
        self._counters = counters
        self._callers: dict[str, Caller] = {}
        self._lanes: tuple[deque[_Job], ...] = tuple(deque() for _ in range(LANES))
        self._backlog = Backlog()
        self._events = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self, caller: Caller, event: Event) -> None:
        """Ask whether this client may connect. Raises Unauthorized, Forbidden, or Unavailable without an answer."""
        answer = await self._ask("$connect", lambda: event, CONNECT_SECONDS)
        if answer is _FAILED:
            raise Unavailable(_NO_ANSWER, reason="hook", cause=_HOOK_FAILED)
        try:
            refusal = refusal_in(answer)
        except (TypeError, ValueError) as error:
            self._note("$connect", "failed", error)
            raise Unavailable(_NO_ANSWER, reason="hook", cause=_HOOK_FAILED) from None
        self._note("$connect", "done" if refusal is None else "refused")
        if refusal is not None:
            raise refusal
        self._callers[caller.connection_id] = caller

    def default(
        self, connection_id: str, size: int, text: Callable[[], str], reply: Callable[[str | bytes | FastWSError], None]
    ) -> None:
        """Queue a message with an unknown action, of `size` bytes. `text` returns it as JSON when its turn comes.

        `reply` gets the `body` of the answer, if there is one, or the error. Raises RateLimited if the backlog is full.
        """
        caller = self._callers.get(connection_id)
        if caller is None:
            return
        if not self._backlog.enter(caller, size):
            self._note("$default", "dropped")
            raise RateLimited("the application cannot keep up with these messages; send more slowly")

        def answered(answer: object) -> None:
            self._backlog.leave(caller, size)
            _reply_with(answer, reply)

        self._put(caller, ("$default", lambda: default_event(caller, text()), answered))

    def disconnected(self, connection_id: str, code: int, reason: str) -> None:
        """Queue `$disconnect` for a connection that has ended, or was allowed but never opened."""
        caller = self._callers.pop(connection_id, None)
        if caller is None:
            return
        if self._events >= MAX_EVENTS:
            self._note("$disconnect", "dropped")
            return
        self._put(caller, ("$disconnect", lambda: disconnect_event(caller, code, reason), _ignore))

    async def close(self) -> None:
        """Send the waiting events for up to 2 s. The rest is dropped and logged."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        if self._events:
            log.warning("events dropped: server is stopping", events=self._events)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._call.close()

    def _put(self, caller: Caller, job: _Job) -> None:
        lane = self._lanes[hash(caller.connection_id) % LANES]
        lane.append(job)
        self._events += 1
        if len(lane) == 1:
            task = asyncio.get_running_loop().create_task(self._send_all(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send_all(self, lane: deque[_Job]) -> None:
        while lane:
            route, make, answered = lane[0]
            answer = await self._ask(route, make, EVENT_SECONDS)
            try:
                answered(answer)
            except Exception as error:  # noqa: BLE001 an invalid answer must not stop the lane
                self._note(route, "failed", error)
            else:
                if answer is not _FAILED:
                    self._note(route, "done")
            lane.popleft()
            self._events -= 1

    async def _ask(self, route: str, make: Callable[[], Event], seconds: float) -> object:
        """Return the answer of the application, or _FAILED."""
        try:
            event = make()
            return await self._call(event, body=event, seconds=seconds)
        except Exception as error:  # noqa: BLE001 any error of the application is counted and logged
            self._note(route, "failed", error)
            return _FAILED

    def _note(self, route: str, outcome: str, error: Exception | None = None) -> None:
        self._counters.hook_calls[(route, outcome)] += 1
        if outcome in ("failed", "dropped"):
            self._call.log_failure(error or "the backlog is full", outcome=outcome, route=route)


def _reply_with(answer: object, reply: Callable[[str | bytes | FastWSError], None]) -> None:
    """Send the `body` of an answer to the client, or an error if it failed or is invalid. Raises for an invalid one."""
    if answer is _FAILED:
        reply(FastWSError("the application did not answer"))
        return
    try:
        body = body_in(answer)
    except (FastWSError, ValueError):
        reply(FastWSError("the application did not answer"))
        raise
    if body is not None:
        reply(body)


def _ignore(answer: object) -> None:
    """The answer to `$disconnect` is not used."""


def _with_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adapt a Lambda function, which also takes a context (here None), to a call with the event alone."""
    return (lambda event: function(event, None)) if takes_context(function) else function


def _read(response: httpx.Response) -> object:
    """Return the JSON of a response, or its status if it is a refusal (4xx). Raises ValueError for 3xx and 5xx."""
    if response.is_server_error or response.is_redirect:
        raise ValueError(f"the callback answered with status {response.status_code}")
    if response.is_client_error:
        return {"statusCode": response.status_code}
    try:
        return response.json() if response.content else None
    except ValueError:
        return None  # plain text such as `ok` is not sent to the client
