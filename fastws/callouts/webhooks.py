"""Webhooks: sends the events that wait for a URL, signed, in order within a channel, and again if that fails."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import structlog

from fastws.throttled_log import ThrottledLog

if TYPE_CHECKING:
    import httpx

# A URL must answer in this time.
REPLY_SECONDS: Final = 10.0
# A request is repeated after 1, 2, 4, … s for so long.
RETRY_SECONDS: Final = 300.0
# Events that wait for a URL. Of more, the oldest are dropped.
MAX_WAITING: Final = 10_000
# Requests to a URL at the same time; never two with events of the same channel.
MAX_REQUESTS: Final = 8
# Events that are read at a time, and the most in one request.
WINDOW: Final = 128
# The response has no use, but the connection is kept only if it is read.
MAX_RESPONSE_BYTES: Final = 65_536
# How often a request that waits for its repetition looks whether Redis is back.
POLL_SECONDS: Final = 0.5

log = structlog.stdlib.get_logger("fastws.callouts")


@dataclass(slots=True, frozen=True)
class WebhookTarget:
    """A URL and the events of one app that it gets. `app` is "" for the setting `webhooks`.

    `results` counts the events by name and result: sent, failed (one try), dropped.
    """

    app: str
    url: str
    secret: str
    events: frozenset[str]
    # The key of a Pusher app: selects its header names.
    key: str | None = None
    batch_seconds: float = 0.0
    grace_seconds: float = 3.0
    results: dict[tuple[str, str], int] = field(default_factory=dict, compare=False)

    @property
    def id(self) -> str:
        """The name of its queue, the same in all processes and without the secrets that a URL may contain."""
        return hashlib.sha256(f"{self.app}\n{self.url}".encode()).hexdigest()[:24]

    @property
    def shown_url(self) -> str:
        """The URL without credentials and query, for the log."""
        url = urlsplit(self.url)
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"

    def headers(self, body: bytes) -> dict[str, str]:
        """Return the headers of a request with `body`."""
        signature = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        content = {"Content-Type": "application/json"}
        if self.key is None:
            return content | {"X-FastWS-Signature": signature}
        return content | {"X-Pusher-Key": self.key, "X-Pusher-Signature": signature}

    def count(self, name: str, result: str) -> None:
        self.results[name, result] = self.results.get((name, result), 0) + 1


class WaitingEvent(NamedTuple):
    """An event in the queue of a target. `body` is its JSON object; `id` is unique in that queue."""

    id: bytes
    name: str
    channel: str
    body: bytes


class WebhookQueue(Protocol):
    """The queues of all targets, shared by all processes if there is a Redis."""

    def holds(self, target_id: str) -> bool | None:
        """Whether this process, and no other, may send a request to the target now. None: unknown at the moment."""
        ...

    async def read(self, target_id: str, limit: int) -> Sequence[WaitingEvent]:
        """Return the oldest events. Raises BrokerUnavailable."""
        ...

    async def remove(self, target_id: str, ids: Collection[bytes]) -> None:
        """Remove events. Raises BrokerUnavailable."""
        ...


class WebhookClient:
    """Posts bodies to targets. The HTTP library is loaded with the first one."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def post(self, target: WebhookTarget, body: bytes) -> str:
        """POST `body` once. Returns "" for an answer of 2xx within REPLY_SECONDS, else what went wrong."""
        if self._client is None:
            import httpx  # only webhooks need it here

            # Targets have limits of their own: those that hang must not take the connections of the others.
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
            self._client = httpx.AsyncClient(timeout=None, limits=limits, follow_redirects=False)  # noqa: S113 # limited above
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                status = await _post(self._client, target, body)
        except TimeoutError:
            return f"no answer within {REPLY_SECONDS:g} s"
        except Exception as error:  # noqa: BLE001 the library raises OSError, ValueError and its own; logged by the caller
            return str(error) or type(error).__name__
        return "" if 200 <= status < 300 else f"status {status}"

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


async def _post(client: httpx.AsyncClient, target: WebhookTarget, body: bytes) -> int:
    async with client.stream("POST", target.url, content=body, headers=target.headers(body)) as response:
        size = 0
        async for piece in response.aiter_raw():
            size += len(piece)
            if size > MAX_RESPONSE_BYTES:
                break
        return response.status_code


class WebhookSender:
    """Sends the events of one target: `run` is its task, `wake` says that there may be something to send."""

    def __init__(
        self,
        target: WebhookTarget,
        queue: WebhookQueue,
        post: Callable[[WebhookTarget, bytes], Awaitable[str]],
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.target = target
        self._queue = queue
        self._post = post
        self._clock = clock
        self._wall_clock = wall_clock
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._draining = asyncio.Event()
        self._requests: set[asyncio.Task[None]] = set()
        self._busy: set[str] = set()
        # Events that were sent or given up, and are perhaps still in the queue.
        self._done: set[bytes] = set()
        self._failures = ThrottledLog(log)

    def wake(self) -> None:
        """Look into the queue soon."""
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                await self._wake.wait()
                if self.target.batch_seconds:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self.target.batch_seconds):
                            await self._draining.wait()
                self._wake.clear()
                await self.turn()
        finally:
            requests = list(self._requests)
            for request in requests:
                request.cancel()
            await asyncio.gather(*requests, return_exceptions=True)

    async def drain(self) -> None:
        """Return when nothing waits and no request is under way."""
        self._draining.set()
        self._idle.clear()
        self._wake.set()
        await self._idle.wait()

    async def turn(self) -> None:
        """Start the requests that may start now."""
        if self._queue.holds(self.target.id) is not True:
            if not self._requests:
                self._idle.set()
            return
        try:
            if self._done:
                removed = set(self._done)
                await self._queue.remove(self.target.id, removed)
                self._done -= removed
            waiting = await self._queue.read(self.target.id, WINDOW)
        except Exception as error:  # noqa: BLE001 Redis is away, or a bug: either is logged, and the next turn tries again
            self._failures.warning("webhook queue not readable", reason=str(error) or type(error).__name__)
            return
        for events in self._groups([event for event in waiting if event.id not in self._done]):
            if len(self._requests) < MAX_REQUESTS:
                self._begin(events)
        if not self._requests and not self._done:
            self._idle.set()

    def _groups(self, waiting: Sequence[WaitingEvent]) -> Iterator[list[WaitingEvent]]:
        """Yield the events of each request: all together, or the first of each channel."""
        ready = [event for event in waiting if event.channel not in self._busy]
        if self.target.batch_seconds:
            if ready:
                yield ready
            return
        first: dict[str, WaitingEvent] = {}
        for event in ready:
            first.setdefault(event.channel, event)
        yield from ([event] for event in first.values())

    def _begin(self, events: list[WaitingEvent]) -> None:
        channels = {event.channel for event in events}
        self._busy |= channels
        task = asyncio.get_running_loop().create_task(self._send(events))
        self._requests.add(task)
        task.add_done_callback(lambda _: self._end(task, channels))

    def _end(self, task: asyncio.Task[None], channels: set[str]) -> None:
        self._requests.discard(task)
        self._busy -= channels
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("internal error in a task", exc_info=error)
        self._wake.set()

    async def _send(self, events: list[WaitingEvent]) -> None:
        """Send one request until it succeeds, or RETRY_SECONDS are over, or another process sends instead."""
        body = body_of(events, self._wall_clock())
        begun, delay = self._clock(), 1.0
        while await self._is_allowed():
            failure = await self._post(self.target, body)
            result = "failed" if failure else "sent"
            for event in events:
                self.target.count(event.name, result)
            is_late = self._clock() + delay - begun > RETRY_SECONDS
            if failure:
                self._log_failure(failure, events if is_late else [])
            if not failure or is_late:
                self._done.update(event.id for event in events)
                return
            await asyncio.sleep(delay)
            delay *= 2

    async def _is_allowed(self) -> bool:
        while (held := self._queue.holds(self.target.id)) is None:  # noqa: ASYNC110 # Redis sets no event
            await asyncio.sleep(POLL_SECONDS)
        return held

    def _log_failure(self, failure: str, dropped: list[WaitingEvent]) -> None:
        for event in dropped:
            self.target.count(event.name, "dropped")
        if dropped:
            self._failures.error("webhook dropped", url=self.target.shown_url, reason=failure, events=len(dropped))
        else:
            self._failures.warning("webhook failed", url=self.target.shown_url, reason=failure)


def body_of(events: Sequence[WaitingEvent], now: float) -> bytes:
    """Return the body of a request. `now` is in seconds since the epoch."""
    return b'{"time_ms":%d,"events":[%b]}' % (int(now * 1000), b",".join(event.body for event in events))
