"""What an application that embeds the server publishes with: `server.broadcaster`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping

from fastws.backend.admin import RegisteredConnections, admin_messages, tally
from fastws.backend.calls import Calls, Outcome
from fastws.backend.message import Message, check_connection_id, encode, from_body
from fastws.brokers.envelope import encode_body
from fastws.brokers.feed_forms import plain
from fastws.config import Config
from fastws.counters import Counters
from fastws.endpoints.application import Cluster
from fastws.endpoints.broadcast import AwaitedReceipt
from fastws.errors import BadRequest, Unencodable
from fastws.hub.hub import Hub
from fastws.hub.ports import Broker
from fastws.hub.roster import Roster
from fastws.vocabulary.publication import NOBODY, Encoded, Publication


class InProcessBroadcaster(Calls[Awaitable[Outcome]]):
    """The calls of a backend, without a way over the network. Use it on the server's event loop.

    `await server.broadcaster.publish("news", "hello", {"a": 1})`; the same calls as fastws.backend's, but that
    nothing is tried twice, so that `message_id` says nothing. `data` may be changed as soon as a call has returned.
    """

    def __init__(
        self, config: Config, *, hub: Hub, broker: Broker, roster: Roster, cluster: Cluster, counters: Counters
    ) -> None:
        super().__init__(workspace_channel=config.workspace_channel, jobs_channel=config.jobs_channel)
        self._loop = asyncio.get_running_loop()
        self._hub = hub
        self._broker = broker
        self._roster = roster
        self._cluster = cluster
        self._counters = counters
        self._registered = RegisteredConnections()

    async def deliver(self, message: Message) -> Outcome:
        """Publish one message.

        Raises BrokerUnavailable while Redis is away, BadRequest for data with no mapping, RuntimeError on another
        event loop than the server's.
        """
        return await self._hand_over(message, self._publication(message))

    async def publish_many(self, messages: Iterable[Mapping[str, object]]) -> list[Outcome]:
        """Publish many, each a dict in the words of `POST /broadcast`; the outcomes in their order.

        All are read before any is published; of several errors the first is raised.
        """
        return await self._deliver_many([from_body(message) for message in messages])

    def register_connection(self, connection_id: str) -> None:
        """Let this connection hear admin events without a subscription, until it is gone."""
        self._registered.add(check_connection_id(connection_id))

    async def broadcast_admin_event(self, data: object) -> Outcome:
        """Tell channel `admin` and the registered connections, each once; those gone are forgotten."""
        messages = admin_messages(data, self._registered.all())
        total, gone = tally(messages, await self._deliver_many(messages))
        self._registered.forget(gone)
        return total

    def get_connection_count(self, workspace: str | None = None) -> int:
        """Connections of this process: all of them, or those in a workspace."""
        if workspace is None:
            return len(self._roster)
        return self._hub.count(self._workspace(workspace))

    def get_workspace_connections(self, workspace: str) -> list[str]:
        """The ids of this process's connections in a workspace."""
        return [member.id for member in self._hub.members(self._workspace(workspace))]

    async def _deliver_many(self, messages: list[Message]) -> list[Outcome]:
        publications = [self._publication(message) for message in messages]
        return list(await asyncio.gather(*map(self._hand_over, messages, publications)))

    async def _hand_over(self, message: Message, publication: Publication) -> Outcome:
        self._check_loop()
        receipt = AwaitedReceipt()
        self._counters.publications["application"] += 1
        if message.connection_id is None:
            self._broker.publish(publication, receipt)
        else:
            self._cluster.send(message.connection_id, publication, receipt)
        sent, failed = await receipt.outcome
        is_stale = message.connection_id is not None and not sent and not failed
        return {"sent": sent, "failed": failed, "stale": int(is_stale)}

    def _publication(self, message: Message) -> Publication:
        return Publication(
            message.channel or "",
            message.event,
            self._as_it_is_now(message),
            type=message.type,
            priority=message.priority,
            key=message.key,
            exclude=frozenset(message.exclude) if message.exclude else NOBODY,
        )

    def _as_it_is_now(self, message: Message) -> object:
        """The data in bytes: clients are written to later, when the application may have changed its dict.

        In JSON, as a backend would send it, or in msgpack where there are bytes in it. Of a job update the server
        itself reads job_id and status. Raises BadRequest.
        """
        try:
            encoded = Encoded("json", encode(message.data))
        except BadRequest as error:
            encoded = _in_msgpack(message.data, error)
        return plain(encoded) if message.channel == self._jobs_channel else encoded

    def _check_loop(self) -> None:
        """On another loop the call would never end, and the server's own would be changed under its hands."""
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "server.broadcaster belongs to the event loop that runs the server: from a thread use "
                "asyncio.run_coroutine_threadsafe, or fastws.backend"
            )


def _in_msgpack(data: object, json_error: BadRequest) -> Encoded:
    """What JSON lacks and msgpack has. Raises `json_error` where neither can say it."""
    try:
        return encode_body(data)
    except Unencodable:
        raise json_error from None
