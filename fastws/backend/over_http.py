"""Publishing through the server's `POST /broadcast`, from threads or from asyncio."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Iterable, Mapping
from threading import Lock
from types import TracebackType
from typing import Generic, Self, TypeVar

import httpx

from fastws.backend.address import find_address
from fastws.backend.admin import RegisteredConnections, admin_messages, tally
from fastws.backend.answers import read_answers
from fastws.backend.batches import Parcel, parcels
from fastws.backend.calls import Calls, Outcome
from fastws.backend.events import JOBS_CHANNEL, WORKSPACE_CHANNEL
from fastws.backend.message import Message, check_connection_id, from_body
from fastws.backend.retry import TRANSIENT, RetrySchedule, Tries

REQUEST_SECONDS = 5.0
RETRY_SECONDS = 10.0

Result = TypeVar("Result")
Client = TypeVar("Client")  # httpx.Client or httpx.AsyncClient


class HttpBroadcaster(Calls[Result], Generic[Result, Client]):
    """What Broadcaster and AsyncBroadcaster have in common.

    `url` and `key` default to FASTWS_URL and FASTWS_BROADCAST_KEY. `timeout` bounds one request and
    `retry_seconds` all tries of a call: 503, 429, a proxy's 502 and 504 and a connection that broke are tried
    again with backoff and jitter, and heard once all the same: every try carries the same `message_id`. What
    still fails is raised as the FastWSError of its kind: Unauthorized, BadRequest, TooLarge, RateLimited,
    Unavailable, BrokerUnavailable. `client` is an httpx client of your own (for a Unix socket, a proxy, a
    CA), which you close yourself. `workspace_channel` and `jobs_channel` are as in the server's settings.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = REQUEST_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        client: Client | None = None,
        workspace_channel: str = WORKSPACE_CHANNEL,
        jobs_channel: str = JOBS_CHANNEL,
    ) -> None:
        super().__init__(workspace_channel=workspace_channel, jobs_channel=jobs_channel)
        self._address = find_address(url, key)
        self._timeout = timeout
        self._schedule = RetrySchedule(retry_seconds)
        self._registered = RegisteredConnections()
        self._given_client = client
        self._own_client: Client | None = None
        self._owner: object = None  # the process or the loop that `_own_client` belongs to
        self._opening = Lock()

    def register_connection(self, connection_id: str) -> None:
        """Let this connection hear admin events without a subscription, until it is gone."""
        self._registered.add(check_connection_id(connection_id))


class Broadcaster(HttpBroadcaster[Outcome, httpx.Client]):
    """Publishes over HTTP on kept connections. May be used from any thread, and after a fork."""

    def deliver(self, message: Message) -> Outcome:
        return self._deliver_many([message])[0]

    def publish_many(self, messages: Iterable[Mapping[str, object]]) -> list[Outcome]:
        """Publish many at once, each a dict in the words of `POST /broadcast`; the outcomes in their order.

        Whatever fits one request (1000 messages, half a megabyte) is published whole or not at all.
        """
        return self._deliver_many([from_body(message) for message in messages])

    def broadcast_admin_event(self, data: object) -> Outcome:
        """Tell channel `admin` and the registered connections, each once; those gone are forgotten."""
        messages = admin_messages(data, self._registered.all())
        total, gone = tally(messages, self._deliver_many(messages))
        self._registered.forget(gone)
        return total

    def close(self) -> None:
        """Close the kept connections; the next call opens new ones."""
        with self._opening:
            client, self._own_client = self._own_client, None
        if client is not None and self._owner == os.getpid():
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _deliver_many(self, messages: list[Message]) -> list[Outcome]:
        return [outcome for parcel in parcels(messages) for outcome in self._post(parcel)]

    def _post(self, parcel: Parcel) -> list[Outcome]:
        tries = Tries(self._schedule, self._address.url)
        url, headers = self._address.url, self._address.headers
        while not parcel.is_done:
            try:
                answer = self._client().post(url, content=parcel.body(), headers=headers, timeout=self._timeout)
                parcel.take(read_answers(answer))
            except TRANSIENT as error:
                time.sleep(tries.delay_after(error))
        return parcel.outcomes

    def _client(self) -> httpx.Client:
        if self._given_client is not None:
            return self._given_client
        with self._opening:
            if self._own_client is None or self._owner != os.getpid():
                # After a fork the kept connections are the parent's: two would read each other's answers.
                self._own_client = httpx.Client()
                self._owner = os.getpid()
            return self._own_client


class AsyncBroadcaster(HttpBroadcaster[Awaitable[Outcome], httpx.AsyncClient]):
    """Broadcaster for asyncio: the same calls, to be awaited; only `register_connection` is a plain call."""

    async def deliver(self, message: Message) -> Outcome:
        return (await self._deliver_many([message]))[0]

    async def publish_many(self, messages: Iterable[Mapping[str, object]]) -> list[Outcome]:
        """Publish many at once; see Broadcaster.publish_many."""
        return await self._deliver_many([from_body(message) for message in messages])

    async def broadcast_admin_event(self, data: object) -> Outcome:
        """Tell channel `admin` and the registered connections, each once; those gone are forgotten."""
        messages = admin_messages(data, self._registered.all())
        total, gone = tally(messages, await self._deliver_many(messages))
        self._registered.forget(gone)
        return total

    async def aclose(self) -> None:
        """Close the kept connections; the next call opens new ones."""
        if self._own_client is not None and self._owner is asyncio.get_running_loop():
            await self._own_client.aclose()
        self._own_client = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _deliver_many(self, messages: list[Message]) -> list[Outcome]:
        return [outcome for parcel in parcels(messages) for outcome in await self._post(parcel)]

    async def _post(self, parcel: Parcel) -> list[Outcome]:
        tries = Tries(self._schedule, self._address.url)
        url, headers = self._address.url, self._address.headers
        while not parcel.is_done:
            try:
                client = self._client()
                answer = await client.post(url, content=parcel.body(), headers=headers, timeout=self._timeout)
                parcel.take(read_answers(answer))
            except TRANSIENT as error:
                await asyncio.sleep(tries.delay_after(error))
        return parcel.outcomes

    def _client(self) -> httpx.AsyncClient:
        if self._given_client is not None:
            return self._given_client
        loop = asyncio.get_running_loop()
        if self._own_client is None or self._owner is not loop:
            # Kept connections belong to the loop they were opened on; a global broadcaster may outlive one.
            self._own_client = httpx.AsyncClient()
            self._owner = loop
        return self._own_client
