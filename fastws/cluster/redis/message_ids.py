"""Message ids in Redis: detects publications repeated on any process and returns the first outcome."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

import orjson
import structlog

from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.resp import pack
from fastws.cluster.port import Outcome
from fastws.errors import BrokerUnavailable, Unavailable
from fastws.throttled_log import ThrottledLog

REMEMBERED_SECONDS: Final = 300
# A process that dies between reservation and publication blocks the id for no longer than this.
UNDER_WAY_SECONDS: Final = 10
# How long a second try waits for the first: longer than any publication takes to be accepted or refused.
WAIT_SECONDS: Final = 3.0
POLL_SECONDS: Final = 0.05
UNDER_WAY: Final = b"?"  # followed by the id of the node that tries
PUBLISHED: Final = b"!"  # followed by the id of the node that has published
# The outcome for an id that was published with an unknown result.
_UNKNOWN_OUTCOME: Final = {"sent": 0, "failed": 0, "stale": 0, "duplicate": 1}

_log = structlog.get_logger("fastws.redis")


class RedisMessageIds:
    """Keys `fastws:message:<message id>`, in a Redis Cluster `fastws:{<channel>}:message:<message id>`.

    The value is `?<node>` when reserved, `!<node>` when published, then the outcome as JSON.

    `!` is written just before the publication, in the same loop iteration. If the process dies or the outcome takes
    long, no other process publishes with that id a second time.
    """

    def __init__(self, broker: RedisBroker) -> None:
        self._broker = broker
        self._mark = UNDER_WAY + broker.node_id.encode()
        self._published = PUBLISHED + broker.node_id.encode()
        self._under_way: set[str] = set()
        self._failures = ThrottledLog(_log)

    async def reserve(self, message_id: str, channel: str | None = None) -> Outcome | None:
        """Return None for the first try, which must then call `record_outcome` or `leave`, or the outcome of the first.

        If the first try has published but has no outcome after WAIT_SECONDS, the outcome is that of a duplicate.
        Raises BrokerUnavailable, or Unavailable if the first try has not published by then.
        """
        call, key = self._commander(channel).call, self._key(message_id, channel)
        now = asyncio.get_running_loop().time
        deadline = now() + WAIT_SECONDS
        while True:
            asked_at = now()
            is_new = await call(b"SET", key, self._mark, b"NX", b"EX", UNDER_WAY_SECONDS)
            value = self._mark if is_new is not None else await call(b"GET", key)
            # The mark of this process without a try under way: Redis has set it although it seemed not to answer.
            is_ours = value == self._mark and (is_new is not None or message_id not in self._under_way)
            # After a long delay of this process, Redis may have dropped the mark in the meantime: ask again.
            if is_ours and now() - asked_at < UNDER_WAY_SECONDS / 2:
                self._under_way.add(message_id)
                return None
            if isinstance(value, bytes) and not value.startswith((UNDER_WAY, PUBLISHED)):
                return _outcome(value)
            if now() > deadline and isinstance(value, bytes) and value.startswith(PUBLISHED):
                return _UNKNOWN_OUTCOME
            if now() > deadline:
                raise Unavailable("a message with this message_id is being published; try again", reason="message_id")
            await asyncio.sleep(POLL_SECONDS)

    def publishing(self, message_id: str, channel: str | None = None) -> None:
        """Mark the id as published. The caller must publish next, in the same loop iteration."""
        command = pack(b"SET", self._key(message_id, channel), self._published, b"EX", REMEMBERED_SECONDS)
        commander = self._commander(channel)
        commander.send(command, partial(commander.log_refusal, b"SET"))

    def leave(self, message_id: str) -> None:
        """The outcome of the try with this id is unknown. Its state in Redis stays as it is."""
        self._under_way.discard(message_id)

    async def record_outcome(self, message_id: str, outcome: Outcome | None, channel: str | None = None) -> None:
        """Store the outcome of the try with this id. None: nothing was published, so the next try may publish."""
        call, key = self._commander(channel).call, self._key(message_id, channel)
        try:
            if outcome is None:
                await call(b"DEL", key)
            else:
                await call(b"SET", key, orjson.dumps(dict(outcome)), b"EX", REMEMBERED_SECONDS)
        except BrokerUnavailable:
            self._failures.warning("outcome of message_id not stored", message_id=message_id)
        finally:
            # Only after the reply: replies arrive in order, so a try that has read the mark still finds the id here.
            self._under_way.discard(message_id)

    def _commander(self, channel: str | None) -> RedisCommander:
        """The id of a publication lies on the server of its channel, so that it needs no other server."""
        topology = self._broker.topology
        return (topology.home if channel is None else topology.node_of(channel)).commander

    def _key(self, message_id: str, channel: str | None) -> bytes:
        names = self._broker.names
        if channel is not None and names.is_cluster:
            return names.of_channel(channel, f"message:{message_id}")
        return names.service("message", message_id)


def _outcome(value: bytes) -> Outcome:
    try:
        outcome = orjson.loads(value)
    except orjson.JSONDecodeError:
        return _UNKNOWN_OUTCOME
    return outcome if isinstance(outcome, dict) else _UNKNOWN_OUTCOME
