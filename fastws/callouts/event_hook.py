"""The application's hook: told of `$connect`, `$default` and `$disconnect` as by API Gateway (seed 004)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog

from fastws.callouts.application import ApplicationCall
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

# An upgrade waits this long for the application, then it is refused.
CONNECT_SECONDS: Final = 2.0
# What nobody waits for may take longer, but holds up what is behind it in its lane.
EVENT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 2.0
# Events of one connection share a lane, so they are told in order; so many lanes are told at once.
LANES: Final = 64
MAX_MESSAGES: Final = 1000
MAX_MESSAGES_OF_ONE: Final = 64
# Of all messages that wait; a client's may have max_message_bytes each.
MAX_BYTES: Final = 67_108_864
MAX_EVENTS: Final = 100_000
SYNC_THREADS: Final = 32

log = structlog.stdlib.get_logger("fastws.callouts")

# The event, made when its turn comes, and who hears the answer, or that there was none.
_Job = tuple[str, Callable[[], Event], Callable[[object], None]]
_FAILED: Final = object()


class EventHook:
    """Tells the application at `where` (see ApplicationCall) what happens to connections.

    Only an upgrade waits for it. Everything else stands in a bounded backlog: a client whose messages find it full
    is told so (`rate_limited`), a `$disconnect` that finds it full is dropped. Both are counted, and failures too.
    """

    def __init__(self, where: str, counters: Counters) -> None:
        self._call = ApplicationCall(where, setting="event_hook", read=_read, at_once=SYNC_THREADS, adapt=_with_context)
        self._counters = counters
        self._callers: dict[str, Caller] = {}
        self._lanes: tuple[deque[_Job], ...] = tuple(deque() for _ in range(LANES))
        self._messages = 0
        self._bytes = 0
        self._events = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self, caller: Caller, event: Event) -> None:
        """Ask whether this client may connect. Raises Unauthorized or Forbidden, Unavailable if there is no answer."""
        answer = await self._ask("$connect", lambda: event, CONNECT_SECONDS)
        if answer is _FAILED:
            raise Unavailable("the application did not answer; come again later", reason="hook")
        try:
            refusal = refusal_in(answer)
        except (TypeError, ValueError) as error:
            self._note("$connect", "failed", error)
            raise Unavailable("the application did not answer; come again later", reason="hook") from None
        self._note("$connect", "done" if refusal is None else "refused")
        if refusal is not None:
            raise refusal
        self._callers[caller.connection_id] = caller

    def default(
        self, connection_id: str, size: int, text: Callable[[], str], reply: Callable[[str | bytes | FastWSError], None]
    ) -> None:
        """Hand on a message of unknown action, of `size` bytes, as the JSON text that `text` gives when its turn comes.

        `reply` gets the `body` that the application answers, where it answers one, or the error. Raises RateLimited
        where too many wait already.
        """
        caller = self._callers.get(connection_id)
        if caller is None:
            return
        is_full = self._messages >= MAX_MESSAGES or self._bytes + size > MAX_BYTES
        if is_full or caller.waiting >= MAX_MESSAGES_OF_ONE:
            self._note("$default", "dropped")
            raise RateLimited("the application cannot keep up with these messages; send more slowly")
        caller.waiting += 1
        self._messages += 1
        self._bytes += size

        def answered(answer: object) -> None:
            caller.waiting -= 1
            self._messages -= 1
            self._bytes -= size
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

        self._put(caller, ("$default", lambda: default_event(caller, text()), answered))

    def disconnected(self, connection_id: str, code: int, reason: str) -> None:
        """Tell of a connection that has ended, or that was never opened though the application let it in."""
        caller = self._callers.pop(connection_id, None)
        if caller is None:
            return
        if self._events >= MAX_EVENTS:
            self._note("$disconnect", "dropped")
            return
        self._put(caller, ("$disconnect", lambda: disconnect_event(caller, code, reason), _nobody_waits))

    async def close(self) -> None:
        """Tell what is still to be told, within 2 s, then nothing more."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        if self._events:
            log.warning("events not told to the application: the server stops", events=self._events)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._call.close()

    def _put(self, caller: Caller, job: _Job) -> None:
        lane = self._lanes[hash(caller.connection_id) % LANES]
        lane.append(job)
        self._events += 1
        if len(lane) == 1:
            task = asyncio.get_running_loop().create_task(self._empty(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _empty(self, lane: deque[_Job]) -> None:
        while lane:
            route, make, answered = lane[0]
            answer = await self._ask(route, make, EVENT_SECONDS)
            try:
                answered(answer)
            except Exception as error:  # noqa: BLE001 an answer of the application's own make; the lane goes on
                self._note(route, "failed", error)
            else:
                if answer is not _FAILED:
                    self._note(route, "done")
            lane.popleft()
            self._events -= 1

    async def _ask(self, route: str, make: Callable[[], Event], seconds: float) -> object:
        """The application's answer, or _FAILED."""
        try:
            event = make()
            return await self._call(event, body=event, seconds=seconds)
        except Exception as error:  # noqa: BLE001 the application's own; counted, and logged
            self._note(route, "failed", error)
            return _FAILED

    def _note(self, route: str, outcome: str, error: Exception | None = None) -> None:
        self._counters.hook_calls[(route, outcome)] += 1
        if outcome in ("failed", "dropped"):
            self._call.log_failure(error or "the backlog is full", outcome=outcome, route=route)


def _nobody_waits(answer: object) -> None:
    """What is answered to `$disconnect` interests nobody."""


def _with_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as it is called with an event alone; Lambda functions take a context beside it, here None."""
    return (lambda event: function(event, None)) if takes_context(function) else function


def _read(response: httpx.Response) -> object:
    """The answer of an HTTP callback: its JSON, or its status where it refuses. Raises ValueError for its failure."""
    if response.is_server_error or response.is_redirect:
        raise ValueError(f"the callback answered with status {response.status_code}")
    if response.is_client_error:
        return {"statusCode": response.status_code}
    try:
        return response.json() if response.content else None
    except ValueError:
        return None  # plain text such as `ok` says nothing to the client
