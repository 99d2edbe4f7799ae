"""The client for programs of threads: an asyncio client on a loop of its own, behind plain calls."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from fastws.client.client import Client
from fastws.client.formats import Message
from fastws.errors import BadRequest, FastWSError, Unavailable

log = logging.getLogger("fastws.client")

JOIN_SECONDS: Final = 5.0
CLOSED: Final = "this client was closed"
FROM_INSIDE: Final = (
    "`on_message` runs in the client's own thread and may not call the client; hand over to another thread"
)

T = TypeVar("T")


class ThreadedClient:
    """Takes the arguments of `connect`; every call may come from any thread and blocks only that one.

    Messages go to `on_message` (called in the client's thread, one after the other: it must be quick and may not
    call this client), or else to `for message in client` or `receive`. Raises as `connect` does where the server
    cannot be reached.
    """

    def __init__(
        self, url: str, *args: Any, on_message: Callable[[Message], None] | None = None, **options: Any
    ) -> None:
        self._client = Client(url, *args, **options)
        self._waiting: list[Message] = []  # taken from the client and not read yet, the latest first
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
        """The id of the present or last connection; another one after each reconnect. None in jobs."""
        return self._client.connection_id

    @property
    def connected(self) -> bool:
        return self._client.connected

    def subscribe(self, *names: str) -> None:
        """Hear `names` from now on, after every reconnect too."""
        self._call(self._client.subscribe(*names))

    def unsubscribe(self, *names: str) -> None:
        """Hear `names` no longer."""
        self._call(self._client.unsubscribe(*names))

    def send(self, channel: str, event: str, data: object = None, *, exclude_self: bool = False) -> dict[str, int]:
        """Send to everyone on `channel`: `{"sent": subscribers, "failed": those whose queue refused it}`."""
        return self._call(self._client.send(channel, event, data, exclude_self=exclude_self))

    def send_to(self, connection_id: str, event: str, data: object = None) -> dict[str, int]:
        """Send to one connection; one that is gone gives `{"sent": 0, "failed": 1}`."""
        return self._call(self._client.send_to(connection_id, event, data))

    def ping(self) -> float:
        """The seconds that a message to the server and back takes."""
        return self._call(self._client.ping())

    def request_metrics(self, metric_type: str | None = None) -> object:
        """The workspace's last metrics of that type."""
        return self._call(self._client.request_metrics(metric_type))

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message; None when the client was closed. Raises TimeoutError after `timeout` seconds, and
        the error that ended the connection for good."""
        if not self._taking.acquire(timeout=-1 if timeout is None else timeout):
            raise TimeoutError
        try:
            if not self._waiting and not self._closed:
                self._waiting = self._call(self._take(timeout))[::-1]
            return self._waiting.pop() if self._waiting else None
        finally:
            self._taking.release()

    def __iter__(self) -> Iterator[Message]:
        while (message := self.receive()) is not None:
            yield message

    def close(self) -> None:
        """Close the connection and end the thread. Iterations end; what they have not taken is dropped."""
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
        """The result of `coroutine`, which runs on the client's loop while this thread waits."""
        with self._calling:  # whatever gets past here reaches the loop before the stop does
            if self._closed or threading.current_thread() is self._thread:
                coroutine.close()
                raise Unavailable(CLOSED) if self._closed else BadRequest(FROM_INSIDE)
            result = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return result.result()
        except concurrent.futures.CancelledError:
            raise Unavailable(CLOSED) from None

    async def _take(self, timeout: float | None) -> list[Message]:
        try:
            async with asyncio.timeout(timeout):
                return await self._client.receive_all()
        except (StopAsyncIteration, asyncio.CancelledError):
            return []

    def _run(self, on_message: Callable[[Message], None] | None) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._live(on_message))

    async def _live(self, on_message: Callable[[Message], None] | None) -> None:
        """Run until `close`; what is still under way on this loop then is cancelled by the runner."""
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
                    log.exception("on_message failed for %r", message)
        except FastWSError as error:
            log.error("the client has ended: %s", error)  # noqa: TRY400 # the text says it all
