"""Presence over Redis: a hash for each channel, written once when a connection joins and once when it leaves.

The key is `fastws:{<channel>}:presence`. The Redis channel of the same name carries the changes to the processes with
subscribers of that channel. Each of them keeps a mirror of the hash, and is responsible for its own entries in it:

- It reads the hash when it has subscribed to the changes, and again after every reconnection.
- It compares the sizes of the two every few seconds, and reads the hash if they differ.
- Own entries that the hash has lost are written again. An entry of another node that the hash has lost is kept until
  that node has had the time to write it again.
- Entries of a node without a heartbeat are deleted; those of a living node that does not know them, by that node.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Final

import structlog

from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.resp import pack
from fastws.cluster.channel_presence import ChannelPresence, Entry
from fastws.cluster.presence import LocalPresence
from fastws.cluster.redis.nodes import RedisNodes
from fastws.cluster.redis.presence_entries import (
    Change,
    decode_change,
    encode_change,
    encode_entry,
    fields_after,
)
from fastws.cluster.redis.presence_hash import FoundEntries, read_hash
from fastws.cluster.redis.presence_reader import PresenceReader
from fastws.cluster.redis.registry import RedisRegistry
from fastws.errors import BadRequest
from fastws.vocabulary.connection_ids import NODE_ID_LENGTH

# Changes are written together over this time: a connection that leaves before its end is never written.
GATHER_SECONDS: Final = 0.05
# Fields in one command.
PART: Final = 1_000
# Mirrors that are compared with Redis in one beat.
CHECKS: Final = 2_000
# A hash expires if no process has refreshed it for this long: after all of them have died.
EXPIRY_SECONDS: Final = 3_600
# An entry of another node is dropped if the hash has not had it for this many times `presence_seconds`.
DOUBT: Final = 1.5

_log = structlog.get_logger("fastws.redis")


class _Mirror:
    """The hash of one channel as this process knows it."""

    __slots__ = ("arrived", "changed", "channel", "checked_at", "foreign", "is_stale", "key", "missing", "refresh_at")

    def __init__(self, channel: ChannelPresence, key: bytes) -> None:
        self.channel = channel
        self.key = key
        # Fields to be written or deleted.
        self.changed: dict[str, None] = {}
        # Changes that have arrived while the hash is read; None at other times.
        self.arrived: list[Change] | None = None
        # Fields of other nodes that the hash does not have, and since when.
        self.missing: dict[str, float] = {}
        # Number of entries in the hash of another form.
        self.foreign = 0
        # Whether the hash must be read again.
        self.is_stale = False
        self.checked_at = 0.0
        self.refresh_at = 0.0


class RedisPresence:
    """The presence of other nodes. Call `start` after the start of the broker and `stop` before its stop."""

    def __init__(
        self,
        broker: RedisBroker,
        nodes: RedisNodes,
        registry: RedisRegistry,
        presence: LocalPresence,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`clock` returns monotonic seconds; by default it is that of the loop."""
        # Questions about channels that have no complete mirror.
        self.read = PresenceReader(broker, registry, presence).read
        self._clock = clock or asyncio.get_running_loop().time
        self._broker = broker
        self._peers = nodes
        self._registry = registry
        self._presence = presence
        # By channel; those that were compared longest ago come first.
        self._mirrors: OrderedDict[str, _Mirror] = OrderedDict()
        self._dirty: dict[_Mirror, None] = {}
        # Dropped mirrors whose last entries Redis has not deleted.
        self._orphans: dict[_Mirror, None] = {}
        # Number of entries of each other node in all mirrors, and since when a node seems to be dead.
        self._nodes: dict[str, int] = {}
        self._suspects: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        nodes.notices[presence.kind] = self._compare_count
        presence.others = self

    async def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Write what is not yet written. Stop the broker after this."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._flush()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._broker.timeouts.heartbeat_seconds)
            try:
                self.beat()
            except Exception:  # noqa: BLE001 one failure must not end the checks for ever
                _log.exception("bug while checking presence")

    def _commander(self, channel: str) -> RedisCommander:
        return self._broker.topology.node_of(channel).commander

    # --- this process

    def opened(self, channel: ChannelPresence) -> None:
        """Mirror `channel`, which is about to get its first connection here."""
        mirror = _Mirror(channel, self._broker.names.of_channel(channel.name, self._presence.kind))
        self._mirrors[channel.name] = mirror
        self._broker.serve(mirror.key, partial(self._receive, mirror), partial(self._read, mirror), channel.name)

    def closed(self, channel: ChannelPresence) -> None:
        """Write what is not yet written and drop the mirror: no connection here is left."""
        mirror = self._mirrors.pop(channel.name)
        self._dirty.pop(mirror, None)
        self._broker.unserve(mirror.key)
        self._write(mirror)
        for field in channel.entries:
            self._count(field, -1)

    def changed(self, channel: ChannelPresence, field: str) -> None:
        """Write `field` soon, together with other changes."""
        mirror = self._mirrors[channel.name]
        mirror.changed[field] = None
        self._dirty[mirror] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        dirty, self._dirty = self._dirty, {}
        for mirror in dirty:
            self._write(mirror)

    def _write(self, mirror: _Mirror) -> None:
        """Write the changed fields as they are now, and publish them."""
        changed, mirror.changed = list(mirror.changed), {}
        for start in range(0, len(changed), PART):
            self._write_part(mirror, changed[start : start + PART])

    def _write_part(self, mirror: _Mirror, fields: list[str]) -> None:
        channel, node = mirror.channel, self._broker.node_id
        written: dict[str, bytes] = {}
        deleted: list[str] = []
        for field in fields:
            entry = channel.entries.get(field)
            if entry is None:
                deleted.append(field)
            elif field.startswith(node):
                written[field] = encode_entry(entry, channel.rule.mode)
        answered = partial(self._has_written, mirror, fields)
        if written:
            words = (word for pair in written.items() for word in pair)
            self._commander(mirror.channel.name).send(pack(b"HSET", mirror.key, *words), answered)
        if deleted:
            self._commander(mirror.channel.name).send(pack(b"HDEL", mirror.key, *deleted), answered)
        if written or deleted:
            self._commander(mirror.channel.name).publish(mirror.key, encode_change(node, written, deleted), answered)

    def _has_written(self, mirror: _Mirror, fields: list[str], reply: object) -> None:
        """Redis has executed a write, or refused it: then the fields are written again with the next check."""
        if isinstance(reply, int):
            return
        self._commander(mirror.channel.name).log_refusal(b"HSET", reply)
        mirror.changed.update(dict.fromkeys(fields))
        mirror.is_stale = True
        if self._mirrors.get(mirror.channel.name) is not mirror:
            self._orphans[mirror] = None

    # --- the hash

    def _read(self, mirror: _Mirror) -> None:
        """Read the hash. The changes of this process are written before; those that arrive meanwhile are kept."""
        if mirror.arrived is not None:
            mirror.is_stale = True
            return
        self._write(mirror)
        mirror.arrived, mirror.is_stale = [], False
        answered = partial(self._has_read, mirror)
        read_hash(self._commander(mirror.channel.name), mirror.key, mirror.channel.rule.mode, answered)

    def _has_read(self, mirror: _Mirror, reply: object) -> None:
        arrived, mirror.arrived = mirror.arrived or [], None
        channel = mirror.channel
        if self._mirrors.get(channel.name) is not mirror:
            return
        if isinstance(reply, FoundEntries):
            mirror.foreign = len(reply.foreign)
            self._merge(mirror, reply.entries, self._clock())
            channel.is_complete = True
            self._send_counts(channel.name, fields_after(reply.entries, arrived))
        else:
            self._commander(mirror.channel.name).log_refusal(b"HSCAN", reply)
            mirror.is_stale = True
        for change in arrived:
            self._apply(mirror, change)
        self._presence.changed(channel)
        self._write(mirror)
        if not mirror.is_stale:
            self._refresh(mirror, self._clock())
        elif isinstance(reply, FoundEntries):
            self._read(mirror)

    def _refresh(self, mirror: _Mirror, now: float) -> None:
        """Let the hash live on while this process does."""
        mirror.refresh_at = now + EXPIRY_SECONDS / 3
        answered = partial(self._commander(mirror.channel.name).log_refusal, b"EXPIRE")
        self._commander(mirror.channel.name).send(pack(b"EXPIRE", mirror.key, EXPIRY_SECONDS), answered)

    def _merge(self, mirror: _Mirror, found: Mapping[str, Entry], now: float) -> None:
        """Make mirror and hash equal: own entries as they are here, those of other nodes as they are in the hash."""
        channel, node = mirror.channel, self._broker.node_id
        for field, entry in found.items():
            if field.startswith(node):
                if channel.entries.get(field) != entry:
                    mirror.changed[field] = None
            else:
                self._put(mirror, field, entry, is_news=channel.is_complete)
        mirror.changed.update(dict.fromkeys(channel.own_fields() - found.keys()))
        missing, mirror.missing = mirror.missing, {}
        for field in [field for field in channel.entries if field not in found and not field.startswith(node)]:
            since = missing.get(field, now)
            if now - since >= DOUBT * self._broker.timeouts.presence_seconds:
                self._drop(mirror, field)
            else:
                mirror.missing[field] = since

    # --- other nodes

    def _receive(self, mirror: _Mirror, payload: bytes) -> None:
        change = decode_change(payload, mirror.channel.rule.mode)
        if change.node == self._broker.node_id:
            return
        if mirror.arrived is not None:
            mirror.arrived.append(change)
            return
        self._apply(mirror, change)
        self._presence.changed(mirror.channel)

    def _apply(self, mirror: _Mirror, change: Change) -> None:
        node = self._broker.node_id
        for field, entry in change.entries.items():
            if not field.startswith(node):
                self._put(mirror, field, entry)
        for field in change.deleted:
            if not field.startswith(node):
                self._drop(mirror, field)
            elif field in mirror.channel.entries:
                # This node was silent for so long that another one has deleted its entries.
                self.changed(mirror.channel, field)

    def _put(self, mirror: _Mirror, field: str, entry: Entry, *, is_news: bool = True) -> None:
        mirror.missing.pop(field, None)
        if field not in mirror.channel.entries:
            self._count(field, 1)
        mirror.channel.put(field, entry, is_news=is_news)

    def _drop(self, mirror: _Mirror, field: str) -> None:
        mirror.missing.pop(field, None)
        if mirror.channel.drop(field):
            self._count(field, -1)

    def _count(self, field: str, change: int) -> None:
        """Count an entry of another node."""
        node = field[:NODE_ID_LENGTH]
        if node == self._broker.node_id:
            return
        count = self._nodes.get(node, 0) + change
        if count:
            self._nodes[node] = count
        else:
            self._nodes.pop(node, None)
            self._suspects.pop(node, None)

    # --- entries that their node does not know

    def _send_counts(self, name: str, found: Iterable[str]) -> None:
        """Send each other node the number of its entries in the hash, so that it deletes those that it does not have.

        A Redis that has been restored to an earlier state, or a replica that has become primary, may have such.
        """
        counts = Counter(field[:NODE_ID_LENGTH] for field in found)
        counts.pop(self._broker.node_id, None)
        for node, count in counts.items():
            self._peers.notify(node, self._presence.kind, [name, count])

    def _compare_count(self, body: object) -> None:
        """Another node has found this number of entries of this node in a hash."""
        name, count = body if isinstance(body, list) and len(body) == 2 else (None, None)
        if not isinstance(name, str) or not isinstance(count, int):
            raise BadRequest("presence: must be a list of a channel and a number")
        mirror = self._mirrors.get(name)
        if mirror is None:
            key = self._broker.names.of_channel(name, self._presence.kind)
            read_hash(self._commander(name), key, "members", partial(self._delete_own, name, key))
        elif count != len(mirror.channel.own_fields()) and mirror.arrived is None:
            self._read(mirror)

    def _delete_own(self, name: str, key: bytes, reply: object) -> None:
        """Delete the entries of this node in the hash of a channel in which it has no connection."""
        if not isinstance(reply, FoundEntries) or name in self._mirrors:
            return
        own = self._broker.node_id
        fields = [field for field in reply.fields if field.startswith(own)]
        if fields:
            answered = partial(self._commander(name).log_refusal, b"HDEL")
            self._commander(name).send(pack(b"HDEL", key, *fields), answered)
            self._commander(name).publish(key, encode_change(own, {}, fields), answered)

    # --- every second

    def beat(self) -> None:
        """Delete the entries of dead nodes, and compare mirrors with Redis."""
        if not self._broker.listener.is_up or not self._broker.commander.is_up:
            self._suspects.clear()
            return
        now = self._clock()
        self._sweep(now)
        orphans, self._orphans = self._orphans, {}
        for mirror in orphans:
            if (
                mirror.channel.name not in self._mirrors
            ):  # otherwise the new mirror has found them when it read the hash
                self._write(mirror)
        for mirror in list(islice(self._mirrors.values(), CHECKS)):
            if now - mirror.checked_at < self._broker.timeouts.presence_seconds:
                break
            self._mirrors.move_to_end(mirror.channel.name)
            mirror.checked_at = now
            self._check(mirror, now)

    def _sweep(self, now: float) -> None:
        """Delete the entries of nodes that were dead in this beat and in an earlier one."""
        dead = set()
        for node in self._nodes:
            if self._registry.is_alive(node):
                self._suspects.pop(node, None)
            elif now > self._suspects.setdefault(node, now):
                dead.add(node)
        for mirror in self._mirrors.values() if dead else ():
            fields = [field for field in mirror.channel.entries if field[:NODE_ID_LENGTH] in dead]
            for field in fields:
                self._drop(mirror, field)
                mirror.changed[field] = None
            if fields:
                self._write(mirror)
                self._presence.changed(mirror.channel)

    def _check(self, mirror: _Mirror, now: float) -> None:
        """Compare the sizes of mirror and hash. Read the hash if that is due anyway."""
        if mirror.is_stale or mirror.missing or not mirror.channel.is_complete:
            self._read(mirror)
            return
        # With all that it has of this process: otherwise each member who joins meanwhile would cause a read.
        self._write(mirror)
        size = len(mirror.channel.entries) + mirror.foreign
        self._commander(mirror.channel.name).send(pack(b"HLEN", mirror.key), partial(self._compare, mirror, size))
        if now >= mirror.refresh_at:
            self._refresh(mirror, now)

    def _compare(self, mirror: _Mirror, expected: int, size: object) -> None:
        is_current = self._mirrors.get(mirror.channel.name) is mirror
        if not is_current or mirror.arrived is not None:
            return
        if not isinstance(size, int):
            self._commander(mirror.channel.name).log_refusal(b"HLEN", size)
        elif size != expected:
            self._read(mirror)
