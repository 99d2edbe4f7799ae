"""The end of a broadcaster: context managers, and a client that belongs to one event loop."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar


class AsyncClient(Protocol):
    """A client with open connections: of httpx, or of redis.asyncio."""

    async def aclose(self) -> None: ...


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
