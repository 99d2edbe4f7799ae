"""Message ids in Redis: a message that is published again, on any process, gets the outcome of the first time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

import orjson
import structlog

from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.once import REMEMBERED_SECONDS
from fastws.cluster.message_ids import UNKNOWN_OUTCOME
from fastws.cluster.port import Outcome, Publish
from fastws.errors import BrokerUnavailable, FastWSError, Repeated, Unavailable
from fastws.throttled_log import ThrottledLog

# How long a second try waits for the outcome of the first: longer than a publication takes to be accepted or refused.
WAIT_SECONDS: Final = 3.0
POLL_SECONDS: Final = 0.05
# What keys of processes of version 0.1 begin with between their claim and their publication.
_CLAIMED: Final = b"?"
_PUBLISHED: Final = b"!"

_log = structlog.get_logger("fastws.redis")


class RedisMessageIds:
    """Reads and writes the outcomes under the keys of message ids; see brokers/redis/once.py."""

    def __init__(self, broker: RedisBroker) -> None:
        self._broker = broker
        self._failures = ThrottledLog(_log)

    async def once(self, message_id: str, receiver: bytes, channel: str | None, publish: Publish) -> Outcome:
        """Publish on the Redis channel `receiver` unless that was done before. `channel` is its channel, if any.

        Raises what `publish` raises, or Unavailable if a process of version 0.1 has claimed the id.
        """
        topology = self._broker.topology
        call = (topology.home if channel is None else topology.node_of(channel)).commander.call
        key = self._broker.names.message(message_id, receiver)
        deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
        while True:
            try:
                outcome = await publish(message_id)
            except Repeated as repeated:
                value: object = repeated.first
            except BrokerUnavailable:
                raise
            except FastWSError:
                # The process of the connection has refused it: nothing was delivered.
                await self._store(call(b"DEL", key), message_id)
                raise
            else:
                await self._store(call(b"SET", key, orjson.dumps(dict(outcome)), b"EX", REMEMBERED_SECONDS), message_id)
                return outcome
            while isinstance(value, bytes) and value.startswith((_CLAIMED, _PUBLISHED)):
                if asyncio.get_running_loop().time() > deadline:
                    return _unfinished(value)
                await asyncio.sleep(POLL_SECONDS)
                value = await call(b"GET", key)
            if isinstance(value, bytes):
                return _outcome(value)

    async def _store(self, stored: Awaitable[object], message_id: str) -> None:
        try:
            await stored
        except BrokerUnavailable:
            self._failures.warning("outcome of message_id not stored", message_id=message_id)


def _unfinished(value: bytes) -> Outcome:
    """Return the outcome of a publication that nobody knows yet, with its position if it has one."""
    if value.startswith(_CLAIMED):
        raise Unavailable("a message with this message_id is being published; try again", reason="message_id")
    _, *position = value.decode(errors="replace").split(" ")
    if len(position) != 2:
        return UNKNOWN_OUTCOME
    return {**UNKNOWN_OUTCOME, "offset": int(position[0]), "epoch": position[1]}


def _outcome(value: bytes) -> Outcome:
    try:
        outcome = orjson.loads(value)
    except orjson.JSONDecodeError:
        return UNKNOWN_OUTCOME
    return outcome if isinstance(outcome, dict) else UNKNOWN_OUTCOME
