"""Reads the presence of channels without subscribers in this process, once for each question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.wire.resp import refusal_text
from fastws.cluster.channel_presence import ChannelPresence, Entry, PresenceRule
from fastws.cluster.presence import LocalPresence
from fastws.cluster.redis.presence_hash import FoundEntries, read_hash
from fastws.cluster.redis.registry import RedisRegistry
from fastws.errors import BrokerUnavailable, FastWSError
from fastws.vocabulary.connection_ids import NODE_ID_LENGTH

Read = Callable[[ChannelPresence | FastWSError], None]


class PresenceReader:
    """Reads hashes of presence. Leaves out the entries of nodes without a heartbeat."""

    def __init__(self, broker: RedisBroker, registry: RedisRegistry, presence: LocalPresence) -> None:
        self._broker = broker
        self._registry = registry
        self._presence = presence
        # Channels that are being read, and the questions that wait for each.
        self._reads: dict[str, list[Read]] = {}

    def read(self, name: str, rule: PresenceRule, answer: Read) -> None:
        """Call `answer` with the presence of a channel that has no complete mirror. One read serves all that wait."""
        waiting = self._reads.get(name)
        if waiting is not None:
            waiting.append(answer)
            return
        self._reads[name] = [answer]
        key = self._broker.names.of_channel(name, self._presence.kind)
        read_hash(self._broker.topology.node_of(name).commander, key, rule.mode, partial(self._answer, name, rule))

    def _answer(self, name: str, rule: PresenceRule, reply: object) -> None:
        found: ChannelPresence | FastWSError
        if isinstance(reply, FoundEntries):
            found = self._presence_of(name, rule, reply.entries)
        elif isinstance(reply, BrokerUnavailable):
            found = BrokerUnavailable("Redis is unavailable: it has the presence of this channel", channel=name)
        else:
            self._broker.topology.node_of(name).commander.log_refusal(b"HSCAN", reply)
            found = BrokerUnavailable(refusal_text(reply), cause=str(reply), channel=name)
        for answer in self._reads.pop(name):
            answer(found)

    def _presence_of(self, name: str, rule: PresenceRule, found: Mapping[str, Entry]) -> ChannelPresence:
        """Return the entries of living nodes: of this one as they are here, of others as in the hash."""
        node, presence = self._broker.node_id, ChannelPresence(name, rule, is_complete=True)
        for field, entry in found.items():
            if not field.startswith(node) and self._registry.is_alive(field[:NODE_ID_LENGTH]):
                presence.put(field, entry)
        local = self._presence.channels.get(name)
        if local is not None:
            for field in local.own_fields():
                presence.put(field, local.entries[field])
        return presence
