"""Publishing over HTTP with `POST /broadcast`, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import encodings.idna
import time
from abc import abstractmethod
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar, cast

import certifi
import httpcore
import httpx

from fastws.backend.address import find_address
from fastws.backend.admin import RegisteredConnections
from fastws.backend.batches import Batch, batches
from fastws.backend.channel_requests import (
    History,
    Presence,
    history_request,
    list_request,
    presence_request,
    with_page,
)
from fastws.backend.events import JOBS_CHANNEL, WORKSPACE_CHANNEL
from fastws.backend.lifetime import ClientOfLoop, ClientOfProcess, ClosedOnAsyncExit, ClosedOnExit
from fastws.backend.message import Message, check_connection_id, from_body
from fastws.backend.publishing_methods import Outcome, PublishingMethods
from fastws.backend.responses import read_object, read_outcomes
from fastws.backend.retry import TRANSIENT, RetrySchedule, Tries

# httpx and socket import these during the first call. That is too late for a process that forks: a fork while another
# thread imports a module leaves that module locked in the child, and the child's first call would wait forever.
_PRELOADED: Final = (certifi, encodings.idna, httpcore)

REQUEST_SECONDS = 5.0
RETRY_SECONDS = 10.0
HISTORY_LIMIT = 100

Result = TypeVar("Result")
Client = TypeVar("Client")  # httpx.Client or httpx.AsyncClient


class AnyHttpBroadcaster(PublishingMethods[Result], Generic[Result, Client]):
    """The parts that Broadcaster and AsyncBroadcaster share.

    `url` and `key` default to FASTWS_URL and FASTWS_BROADCAST_KEY, or the file FASTWS_BROADCAST_KEY_FILE. `timeout`
    limits one request, `retry_seconds` all attempts of a call together. Answers 429, 502, 503 and 504 and lost
    connections are retried with backoff and jitter; every attempt carries the same `message_id`, so subscribers get the
    message once. Other failures, and the last one when time is up, raise Unauthorized, BadRequest, TooLarge,
    RateLimited, Unavailable or BrokerUnavailable.
    `client` is your own httpx client, for example for a Unix socket, a proxy or a private CA; you close it yourself.
    `workspace_channel` and `jobs_channel` must be the same as in the server's settings.
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
        self._prepare_client()

    @abstractmethod
    def _prepare_client(self) -> None:
        """Prepare the client that is used if none was given."""

    def register_connection(self, connection_id: str) -> None:
        """Deliver admin events to this connection without a subscription, until it closes."""
        self._registered.add(check_connection_id(connection_id))


class Broadcaster(AnyHttpBroadcaster[Outcome, httpx.Client], ClosedOnExit):
    """Publishes over HTTP with keep-alive. Thread-safe, and usable after a fork."""

    def _prepare_client(self) -> None:
        self._own_client = ClientOfProcess(httpx.Client)

    def deliver(self, message: Message) -> Outcome:
        return self._deliver_many([message])[0]

    def publish_many(self, messages: Iterable[Mapping[str, object]]) -> list[Outcome]:
        """Publish many messages, each a dict with the fields of `POST /broadcast`. Returns the outcomes in order.

        Each request carries up to 1000 messages and 512 KiB, and is published as a whole or not at all.
        """
        return self._deliver_many([from_body(message) for message in messages])

    def broadcast_admin_event(self, data: object) -> Outcome:
        """Publish to channel `admin` and to the registered connections, once each. Closed ones are removed."""
        messages = self._registered.messages(data)
        return self._registered.record(messages, self._deliver_many(messages))

    def history(
        self,
        channel: str,
        *,
        limit: int = HISTORY_LIMIT,
        offset: int | None = None,
        epoch: str | None = None,
        reverse: bool = False,
    ) -> History:
        """Return a page of the history of `channel`: oldest first, after the position `offset` and `epoch` if given.

        `reverse`: newest first, before the position if given. `limit` is 1 to 1000. Raises Unrecoverable if the
        position is gone, and BadRequest if the channel has no history.
        """
        return cast("History", self._get(*history_request(channel, limit, offset, epoch, reverse=reverse)))

    def channels(self, prefix: str = "") -> list[dict[str, Any]]:
        """Return the channels that have subscribers or a history, by name:
        `{"channel", "subscribers"[, "offset", "presence"]}` each."""
        found: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = self._get(*list_request(prefix, cursor))
            found += page["channels"]
            cursor = page["cursor"]
        return found

    def presence(self, channel: str) -> Presence:
        """Return all members of `channel`, with the number of connections and of users.

        Raises BadRequest if the channel has no presence.
        """
        found, cursor = with_page(None, self._get(*presence_request(channel, None)))
        while cursor is not None:
            found, cursor = with_page(found, self._get(*presence_request(channel, cursor)))
        return found

    def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        tries, headers = Tries(self._schedule, self._address.url), self._address.headers
        while True:
            try:
                url = self._address.base + path
                return read_object(self._client().get(url, params=query, headers=headers, timeout=self._timeout))
            except TRANSIENT as error:
                time.sleep(tries.delay_after(error))

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        self._own_client.close()

    def _deliver_many(self, messages: list[Message]) -> list[Outcome]:
        return [outcome for batch in batches(messages) for outcome in self._post(batch)]

    def _post(self, batch: Batch) -> list[Outcome]:
        tries = Tries(self._schedule, self._address.url)
        url, headers = self._address.url, self._address.headers
        while not batch.is_done:
            try:
                answer = self._client().post(url, content=batch.body(), headers=headers, timeout=self._timeout)
                batch.record(read_outcomes(answer))
            except TRANSIENT as error:
                time.sleep(tries.delay_after(error))
        return batch.outcomes

    def _client(self) -> httpx.Client:
        return self._own_client.get() if self._given_client is None else self._given_client


class AsyncBroadcaster(AnyHttpBroadcaster[Awaitable[Outcome], httpx.AsyncClient], ClosedOnAsyncExit):
    """Broadcaster for asyncio: the same methods as coroutines, except `register_connection`, which is not async."""

    def _prepare_client(self) -> None:
        self._own_client = ClientOfLoop(httpx.AsyncClient)

    async def deliver(self, message: Message) -> Outcome:
        return (await self._deliver_many([message]))[0]

    async def publish_many(self, messages: Iterable[Mapping[str, object]]) -> list[Outcome]:
        """Publish many messages; see Broadcaster.publish_many."""
        return await self._deliver_many([from_body(message) for message in messages])

    async def broadcast_admin_event(self, data: object) -> Outcome:
        """Publish to channel `admin` and to the registered connections, once each. Closed ones are removed."""
        messages = self._registered.messages(data)
        return self._registered.record(messages, await self._deliver_many(messages))

    async def history(
        self,
        channel: str,
        *,
        limit: int = HISTORY_LIMIT,
        offset: int | None = None,
        epoch: str | None = None,
        reverse: bool = False,
    ) -> History:
        """Return a page of the history of `channel`; see Broadcaster.history."""
        return cast("History", await self._get(*history_request(channel, limit, offset, epoch, reverse=reverse)))

    async def channels(self, prefix: str = "") -> list[dict[str, Any]]:
        """Return the channels that have subscribers or a history; see Broadcaster.channels."""
        found: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await self._get(*list_request(prefix, cursor))
            found += page["channels"]
            cursor = page["cursor"]
        return found

    async def presence(self, channel: str) -> Presence:
        """Return all members of `channel`; see Broadcaster.presence."""
        found, cursor = with_page(None, await self._get(*presence_request(channel, None)))
        while cursor is not None:
            found, cursor = with_page(found, await self._get(*presence_request(channel, cursor)))
        return found

    async def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        tries, headers = Tries(self._schedule, self._address.url), self._address.headers
        while True:
            try:
                url = self._address.base + path
                answer = await self._client().get(url, params=query, headers=headers, timeout=self._timeout)
                return read_object(answer)
            except TRANSIENT as error:
                await asyncio.sleep(tries.delay_after(error))

    async def aclose(self) -> None:
        """Close the connections. The next call opens new ones."""
        await self._own_client.aclose()

    async def _deliver_many(self, messages: list[Message]) -> list[Outcome]:
        return [outcome for batch in batches(messages) for outcome in await self._post(batch)]

    async def _post(self, batch: Batch) -> list[Outcome]:
        tries = Tries(self._schedule, self._address.url)
        url, headers = self._address.url, self._address.headers
        while not batch.is_done:
            try:
                client = self._client()
                answer = await client.post(url, content=batch.body(), headers=headers, timeout=self._timeout)
                batch.record(read_outcomes(answer))
            except TRANSIENT as error:
                await asyncio.sleep(tries.delay_after(error))
        return batch.outcomes

    def _client(self) -> httpx.AsyncClient:
        return self._own_client.get() if self._given_client is None else self._given_client
