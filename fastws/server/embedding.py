"""`server.broadcaster`: publishes from an application that embeds the server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping

from fastws.backend.admin import RegisteredConnections
from fastws.backend.message import Message, check_connection_id, encode, from_body
from fastws.backend.publishing_methods import Outcome, PublishingMethods
from fastws.brokers.envelope import encode_body
from fastws.cluster.port import Cluster
from fastws.codec.registry import decoded
from fastws.config import Config
from fastws.counters import Counters
from fastws.endpoints.broadcast import AwaitedReceipt
from fastws.errors import BadRequest, Unencodable
from fastws.hub.hub import Hub
from fastws.hub.ports import Broker, Receipt
from fastws.hub.publication_log import LoggedReceipt
from fastws.hub.roster import Roster
from fastws.logs import LogLevel
from fastws.vocabulary.publication import NOBODY, Encoded, Publication


class InProcessBroadcaster(PublishingMethods[Awaitable[Outcome]]):
    """Publishes without the network. Use it on the server's event loop.

    `await server.broadcaster.publish("news", "hello", {"a": 1})`. Has the methods of the broadcasters in
    fastws.backend, but never retries, so `message_id` has no effect. `data` may be changed once a call has returned.
    """

    def __init__(
        self,
        config: Config,
        *,
        hub: Hub,
        broker: Broker,
        roster: Roster,
        cluster: Cluster,
        counters: Counters,
        log_level: LogLevel,
    ) -> None:
        super().__init__(workspace_channel=config.workspace_channel, jobs_channel=config.jobs_channel)
        self._loop = asyncio.get_running_loop()
        self._hub = hub
        self._broker = broker
        self._roster = roster
        self._cluster = cluster
        self._counters = counters
        self._log_level = log_level
        self._registered = RegisteredConnections()

    async def deliver(self, message: Message) -> Outcome:
        """Publish one message.

        Raises BrokerUnavailable while Redis is unavailable, BadRequest for data that cannot be encoded, RuntimeError
        on any event loop but the server's.
        """
        return await self._publish(message, self._publication(message))

    async def publish_many(self, messages: Iterable[Mapping[str, object]]) -> list[Outcome]:
        """Publish messages, each a dict with the fields of `POST /broadcast`. Returns the outcomes in the same order.

        All messages are checked before any is published. Raises the first of several errors.
        """
        return await self._deliver_many([from_body(message) for message in messages])

    def register_connection(self, connection_id: str) -> None:
        """Send admin events to this connection without a subscription, until it closes."""
        self._registered.add(check_connection_id(connection_id))

    async def broadcast_admin_event(self, data: object) -> Outcome:
        """Publish to channel `admin` and to the registered connections, once each; forget closed connections."""
        messages = self._registered.messages(data)
        return self._registered.record(messages, await self._deliver_many(messages))

    def get_connection_count(self, workspace: str | None = None) -> int:
        """Return the number of connections of this process, or of those in a workspace."""
        if workspace is None:
            return len(self._roster)
        return self._hub.count(self._workspace(workspace))

    def get_workspace_connections(self, workspace: str) -> list[str]:
        """Return the ids of the connections of this process in a workspace."""
        return [member.id for member in self._hub.members(self._workspace(workspace))]

    async def _deliver_many(self, messages: list[Message]) -> list[Outcome]:
        publications = [self._publication(message) for message in messages]
        return list(await asyncio.gather(*map(self._publish, messages, publications)))

    async def _publish(self, message: Message, publication: Publication) -> Outcome:
        self._check_loop()
        awaited = AwaitedReceipt()
        receipt: Receipt = awaited
        if self._log_level.is_debug:
            receipt = LoggedReceipt(publication, "application", receipt, message.connection_id)
        self._counters.publications["application"] += 1
        if message.connection_id is None:
            self._broker.publish(publication, receipt)
        else:
            self._cluster.send(message.connection_id, publication, receipt)
        sent, failed = await awaited.outcome
        is_stale = message.connection_id is not None and not sent and not failed
        return {"sent": sent, "failed": failed, "stale": int(is_stale)}

    def _publication(self, message: Message) -> Publication:
        return Publication(
            message.channel or "",
            message.event,
            self._snapshot(message),
            type=message.type,
            priority=message.priority,
            key=message.key,
            exclude=frozenset(message.exclude) if message.exclude else NOBODY,
        )

    def _snapshot(self, message: Message) -> object:
        """Encode the data now: clients are written to later, when the application may have changed its dict.

        Uses JSON, as the backends do, or msgpack for data that contains bytes. Job updates are decoded again, because
        the server reads their job_id and status. Raises BadRequest.
        """
        try:
            encoded = Encoded("json", encode(message.data))
        except BadRequest as error:
            encoded = _in_msgpack(message.data, error)
        return decoded(encoded) if message.channel == self._jobs_channel else encoded

    def _check_loop(self) -> None:
        """Raise RuntimeError on another event loop: the call would never return, and the server is not thread-safe."""
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "server.broadcaster must be used on the event loop of the server; from another thread, use "
                "asyncio.run_coroutine_threadsafe or fastws.backend"
            )


def _in_msgpack(data: object, json_error: BadRequest) -> Encoded:
    """Encode data that JSON cannot express. Raises `json_error` if msgpack cannot either."""
    try:
        return encode_body(data)
    except Unencodable:
        raise json_error from None
