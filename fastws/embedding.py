"""What an application that embeds the server publishes with: `server.broadcaster`."""

from __future__ import annotations

from collections.abc import Awaitable

from fastws.backend.calls import Calls, Outcome
from fastws.backend.message import Message
from fastws.config import Config
from fastws.endpoints.application import Cluster
from fastws.endpoints.broadcast import AwaitedReceipt
from fastws.hub.hub import Hub
from fastws.hub.ports import Broker
from fastws.hub.roster import Roster
from fastws.metrics import Counters
from fastws.vocabulary.publication import NOBODY, Publication


class InProcessBroadcaster(Calls[Awaitable[Outcome]]):
    """The calls of a backend, without a way over the network. Use it on the server's event loop.

    `await server.broadcaster.publish("news", "hello", {"a": 1})`; the same calls as fastws.backend's.
    """

    def __init__(
        self, config: Config, *, hub: Hub, broker: Broker, roster: Roster, cluster: Cluster, counters: Counters
    ) -> None:
        super().__init__(workspace_channel=config.workspace_channel, jobs_channel=config.jobs_channel)
        self._hub = hub
        self._broker = broker
        self._roster = roster
        self._cluster = cluster
        self._counters = counters

    async def deliver(self, message: Message) -> Outcome:
        """Publish one message. Raises BrokerUnavailable while Redis is away, Unencodable for data with no mapping."""
        publication = Publication(
            message.channel or "",
            message.event,
            message.data,
            type=message.type,
            priority=message.priority,
            exclude=frozenset(message.exclude) if message.exclude else NOBODY,
        )
        receipt = AwaitedReceipt()
        self._counters.publications["application"] += 1
        if message.connection_id is None:
            self._broker.publish(publication, receipt)
        else:
            self._cluster.send(message.connection_id, publication, receipt)
        sent, failed = await receipt.outcome
        is_stale = message.connection_id is not None and not sent and not failed
        return {"sent": sent, "failed": failed, "stale": int(is_stale)}

    def get_connection_count(self, workspace: str | None = None) -> int:
        """Connections of this process: all of them, or those in a workspace."""
        if workspace is None:
            return len(self._roster)
        return self._hub.count(self._workspace(workspace))

    def get_workspace_connections(self, workspace: str) -> list[str]:
        """The ids of this process's connections in a workspace."""
        return [member.id for member in self._hub.members(self._workspace(workspace))]
