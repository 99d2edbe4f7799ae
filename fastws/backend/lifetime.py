"""The end of a broadcaster: context managers, and a client that belongs to one process or to one event loop."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from fastws.backend.fork_safe_lock import ForkSafeLock


class BlockingClient(Protocol):
    """A client with open connections: of httpx, or of redis."""

    def close(self) -> None: ...


class AsyncClient(Protocol):
    """A client with open connections: of httpx, or of redis.asyncio."""

    async def aclose(self) -> None: ...


Blocking = TypeVar("Blocking", bound=BlockingClient)
Client = TypeVar("Client", bound=AsyncClient)


class ClosedOnExit(ABC):
    """A context manager that closes itself."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections. The next call opens new ones."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ClosedOnAsyncExit(ABC):
    """An asynchronous context manager that closes itself."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connections. The next call opens new ones."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class ClientOfProcess(Generic[Blocking]):
    """A client for the threads of one process, created on first use.

    After a fork the open connections are shared with the parent, and each process would read the other's answers. The
    child therefore gets a client of its own. The parent's is dropped without closing it.
    """

    def __init__(self, make: Callable[[], Blocking]) -> None:
        self._make = make
        self._client: Blocking | None = None
        self._process_id = 0
        self._making = ForkSafeLock()

    def get(self) -> Blocking:
        """Return the client of this process."""
        process_id = os.getpid()
        with self._making:
            if self._client is None or self._process_id != process_id:
                self._client = self._make()
                self._process_id = process_id
            return self._client

    def close(self) -> None:
        """Close the client if it belongs to this process. `get` creates a new one."""
        with self._making:
            client, self._client = self._client, None
        if client is not None and self._process_id == os.getpid():
            client.close()


class ClientOfLoop(Generic[Client]):
    """A client for the running event loop, created on first use.

    Connections belong to the event loop that opened them; a global broadcaster may outlive that loop. The client of
    another loop is dropped without closing it, because only its own loop could close it.
    """

    def __init__(self, make: Callable[[], Client]) -> None:
        self._make = make
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> Client:
        """Return the client of the running loop."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client = self._make()
            self._loop = loop
        return self._client

    async def aclose(self) -> None:
        """Close the client if it belongs to the running loop. `get` creates a new one."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()
