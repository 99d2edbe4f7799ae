"""The application's hook: told of `$connect`, `$default` and `$disconnect` as by API Gateway (seed 004)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from fastws.callouts.application import ApplicationCall, body_in, refusal_in
from fastws.callouts.gateway_events import Caller, Event, default_event, disconnect_event
from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.counters import Counters
from fastws.errors import FastWSError, InvalidPayload, InvalidText, RateLimited, Unavailable
from fastws.wire.opcodes import TEXT

if TYPE_CHECKING:
    from fastws.session.session import RequestId, Session

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
LOG_SECONDS: Final = 60.0

log = structlog.stdlib.get_logger("fastws.hook")

# The event, made when its turn comes, and who hears the answer, or that there was none.
_Job = tuple[str, Callable[[], Event], Callable[[object], None]]
_FAILED: Final = object()


class EventHook:
    """Tells the application at `where` (see ApplicationCall) what happens to connections.

    Only an upgrade waits for it. Everything else stands in a bounded backlog: a client whose messages find it full
    is told so (`rate_limited`), a `$disconnect` that finds it full is dropped. Both are counted, and failures too.
    """

    def __init__(self, where: str, counters: Counters) -> None:
        self._call = ApplicationCall(where, setting="event_hook")
        self._counters = counters
        self._callers: dict[str, Caller] = {}
        self._lanes: tuple[deque[_Job], ...] = tuple(deque() for _ in range(LANES))
        self._messages = 0
        self._bytes = 0
        self._events = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._log_at = float("-inf")

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

    def default(self, session: Session, payload: bytes, request_id: RequestId) -> None:
        """Hand on a message of unknown action; what it answers as `body` goes to the client.

        Raises RateLimited where too many wait already.
        """
        caller = self._callers.get(session.connection.id)
        if caller is None:
            return
        size = len(payload)
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
            self._reply(session, answer, request_id)

        self._put(caller, ("$default", lambda: default_event(caller, _text(session, payload)), answered))

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
            async with asyncio.timeout(seconds):
                return await self._call(make())
        except Exception as error:  # noqa: BLE001 the application's own; counted, and logged
            self._note(route, "failed", error)
            return _FAILED

    def _reply(self, session: Session, answer: object, request_id: RequestId) -> None:
        if session.connection.is_gone:
            return
        if answer is _FAILED:
            session.refuse(FastWSError("the application did not answer"), request_id)
            return
        body = body_in(answer)
        if body is not None:
            session.write_reply_frame(session.form.verbatim(_bytes(session, body)))

    def _note(self, route: str, outcome: str, error: Exception | None = None) -> None:
        self._counters.hook_calls[(route, outcome)] += 1
        now = time.monotonic()
        if outcome not in ("failed", "dropped") or now - self._log_at < LOG_SECONDS:
            return
        self._log_at = now
        reason = "the backlog is full" if error is None else str(error) or type(error).__name__
        log.error("event hook failed", outcome=outcome, route=route, reason=reason)


def _nobody_waits(answer: object) -> None:
    """What is answered to `$disconnect` interests nobody."""


def _text(session: Session, payload: bytes) -> str:
    """A client's message as JSON text, in whichever codec it came."""
    if session.form.codec.opcode == TEXT:
        return payload.decode()
    return JSON.dumps(MSGPACK.loads(payload)).decode()


def _bytes(session: Session, body: str | bytes) -> bytes:
    """The application's answer as this client reads: JSON text as it is, or its msgpack; bytes always as they are."""
    if isinstance(body, bytes):
        return body
    if session.form.codec.opcode == TEXT:
        return body.encode()
    try:
        return MSGPACK.dumps(JSON.loads(body.encode()))
    except (InvalidPayload, InvalidText):
        return MSGPACK.dumps(body)
