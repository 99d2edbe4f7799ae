"""The client for threaded programs: an asyncio client on its own event loop, behind blocking calls."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from fastws.client.client import Client
from fastws.client.formats import Message
from fastws.client.inbox import Entry
from fastws.errors import BadRequest, FastWSError, Unavailable

log = logging.getLogger("fastws.client")

JOIN_SECONDS: Final = 5.0
CLOSED: Final = "the client was closed"
FROM_INSIDE: Final = (
    "`on_message` runs in the client's own thread and must not call the client; use another thread for that"
)
FORKED: Final = "a client belongs to the process that created it; create another one after the fork"
GEVENT: Final = (
    "ThreadedClient runs an event loop in its own thread, but gevent has replaced threads in this process (as Locust "
    "does): use a client for gevent such as websocket-client, or a process without gevent.monkey"
)
# Modules that the event loop's thread depends on.
PATCHED_BY_GEVENT: Final = ("threading", "select", "socket")

T = TypeVar("T")


class ThreadedClient:
    """Takes the arguments of `connect`. All methods are thread-safe and block only the calling thread.

    Messages are passed to `on_message` if there is one, otherwise they are read by `for message in client` or
    `receive`. `on_message` is called in the client's thread, for one message after the other: it must return quickly
    and must not call the client. Raises the same errors as `connect` if the server cannot be reached, and BadRequest if
    gevent has replaced threads in this process. A child process needs a client of its own.
    """

    def __init__(
        self, url: str, *args: Any, on_message: Callable[[Message], None] | None = None, **options: Any
    ) -> None:
        _check_threads()
        self._client = Client(url, *args, **options)
        self._process_id = os.getpid()
        self._waiting: list[Entry] = []  # taken from the client but not read yet, in reverse order
        self._taking = threading.Lock()
        self._calling = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(on_message,), name="fastws client", daemon=True)
        self._thread.start()
        try:
            self._call(self._client.__aenter__())
        except BaseException:
            self.close()
            raise

    @property
    def connection_id(self) -> str | None:
        """The id of the current or last connection. It changes with each reconnect; None in the jobs dialect."""
        return self._client.connection_id

    @property
    def connected(self) -> bool:
        return self._client.connected

    @property
    def positions(self) -> dict[str, dict[str, object]]:
        """The position on each channel with history after the last message that was read or passed to `on_message`:
        `{channel: {"offset", "epoch"}}`, for `positions` of a later client."""
        if self._waiting or self._closed or threading.current_thread() is self._thread:
            return self._client.last_positions
        return self._call(self._current_positions())

    def subscribe(self, *names: str) -> None:
        """Subscribe to `names`, now and after every reconnect."""
        self._call(self._client.subscribe(*names))

    def unsubscribe(self, *names: str) -> None:
        """Unsubscribe from `names`."""
        self._call(self._client.unsubscribe(*names))

    def send(self, channel: str, event: str, data: object = None, **options: bool) -> dict[str, int]:
        """Publish to `channel`. Returns `{"sent": subscribers reached, "failed": subscribers with a full queue}`.

        The options are `exclude_self` and `ephemeral`; see Client.send.
        """
        return self._call(self._client.send(channel, event, data, **options))

    def history(self, channel: str | None = None, **options: Any) -> Message:
        """Return a page of the history of a channel; see Client.history."""
        return self._call(self._client.history(channel, **options))

    def presence(self, channel: str | None = None, **options: Any) -> Message:
        """Return a page of the members of a channel; see Client.presence."""
        return self._call(self._client.presence(channel, **options))

    def send_to(self, connection_id: str, event: str, data: object = None) -> dict[str, int]:
        """Send to one connection. Returns `{"sent": 0, "failed": 1}` if it no longer exists."""
        return self._call(self._client.send_to(connection_id, event, data))

    def ping(self) -> float:
        """Measure the round trip to the server, in seconds."""
        return self._call(self._client.ping())

    def request_metrics(self, metric_type: str | None = None) -> object:
        """Return the workspace's latest metrics of this type."""
        return self._call(self._client.request_metrics(metric_type))

    def receive(self, timeout: float | None = None) -> Message | None:
        """Wait for the next message; None if the client was closed. Raises TimeoutError after `timeout` seconds, and
        the error if the client cannot go on."""
        self._check_process()
        if not self._taking.acquire(timeout=-1 if timeout is None else timeout):
            raise TimeoutError
        try:
            if not self._waiting and not self._closed:
                self._waiting = self._call(self._take(timeout))[::-1]
            while self._waiting:
                entry = self._waiting.pop()
                self._client.inbox.apply(entry)
                if entry.message is not None:
                    return entry.message
            return None
        finally:
            self._taking.release()

    def __iter__(self) -> Iterator[Message]:
        while (message := self.receive()) is not None:
            yield message

    def close(self) -> None:
        """Close the connection and end the thread. Iterations end, and unread messages are dropped."""
        if self._process_id != os.getpid():
            return  # only the parent has the thread, and the connection is the parent's
        if threading.current_thread() is self._thread:
            raise BadRequest(FROM_INSIDE)
        with self._calling:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(JOIN_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` on the client's loop and wait for its result."""
        try:
            self._check_process()
            result = self._submit(coroutine)
        except FastWSError:
            coroutine.close()
            raise
        try:
            return result.result()
        except concurrent.futures.CancelledError:
            raise Unavailable(CLOSED) from None

    def _submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        with self._calling:  # a call that gets past here reaches the loop before the stop does
            if self._closed or threading.current_thread() is self._thread:
                raise Unavailable(CLOSED) if self._closed else BadRequest(FROM_INSIDE)
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _check_process(self) -> None:
        if self._process_id != os.getpid():
            raise BadRequest(FORKED)

    async def _current_positions(self) -> dict[str, dict[str, object]]:
        return self._client.last_positions if self._waiting else self._client.positions

    async def _take(self, timeout: float | None) -> list[Entry]:
        try:
            async with asyncio.timeout(timeout):
                return await self._client.inbox.take_entries()
        except (StopAsyncIteration, asyncio.CancelledError):
            return []

    def _run(self, on_message: Callable[[Message], None] | None) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._live(on_message))

    async def _live(self, on_message: Callable[[Message], None] | None) -> None:
        """Run until `close`. The runner then cancels whatever is still running on the loop."""
        delivering = None if on_message is None else asyncio.create_task(self._deliver(on_message))
        await self._stop.wait()
        await self._client.close()
        if delivering is not None:
            await delivering

    async def _deliver(self, on_message: Callable[[Message], None]) -> None:
        try:
            async for message in self._client:
                try:
                    on_message(message)
                except Exception:
                    log.exception("on_message raised an error for %r", message)
        except FastWSError as error:
            log.error("the client has stopped: %s", error)  # noqa: TRY400 # the message is complete without a traceback


def _check_threads() -> None:
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and any(monkey.is_module_patched(name) for name in PATCHED_BY_GEVENT):
        raise BadRequest(GEVENT)
