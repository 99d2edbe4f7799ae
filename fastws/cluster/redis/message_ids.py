"""Message ids in Redis: which publications were made already, by any process, and how they ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import orjson
import structlog

from fastws.brokers.redis.broker import RedisBroker
from fastws.errors import BrokerUnavailable, Unavailable

REMEMBERED_SECONDS: Final = 300
# A process that dies in the middle of a publication blocks its id no longer; every publication ends before that.
UNDER_WAY_SECONDS: Final = 10
# How long a second try waits for the first: longer than any publication takes to be taken or refused.
PATIENCE_SECONDS: Final = 3.0
LOOK_SECONDS: Final = 0.05
UNDER_WAY: Final = b"?"  # and the node that tries
# An id of which it is only known that it was published.
_UNKNOWN_OUTCOME: Final = {"sent": 0, "failed": 0, "stale": 0, "duplicate": 1}

_log = structlog.get_logger("fastws.redis")


class RedisMessageIds:
    """Keys `fastws:message:<message id>`: `?<node>` while the first try is under way, then its outcome as JSON."""

    def __init__(self, broker: RedisBroker) -> None:
        self._broker = broker
        self._mark = UNDER_WAY + broker.node_id.encode()
        self._under_way: set[str] = set()

    async def reserve(self, message_id: str) -> Mapping[str, int] | None:
        """None: the caller is first, and must `settle`. Else how the first try ended, once it has ended.

        Raises BrokerUnavailable, or Unavailable where the first try takes too long.
        """
        call, key = self._broker.commander.call, self._key(message_id)
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            is_new = await call(b"SET", key, self._mark, b"NX", b"EX", UNDER_WAY_SECONDS)
            value = self._mark if is_new is not None else await call(b"GET", key)
            # A mark of ours that nobody here stands for: we gave up on a Redis that set it all the same.
            if value == self._mark and (is_new is not None or message_id not in self._under_way):
                self._under_way.add(message_id)
                return None
            if isinstance(value, bytes) and not value.startswith(UNDER_WAY):
                return _outcome(value)
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable("a message with this message_id is under way", reason="message_id")
            await asyncio.sleep(LOOK_SECONDS)

    async def record_outcome(self, message_id: str, outcome: Mapping[str, int] | None) -> None:
        """The try under this id ended so; None: nothing was published, and the next one may."""
        call, key = self._broker.commander.call, self._key(message_id)
        try:
            if outcome is None:
                await call(b"DEL", key)
            else:
                await call(b"SET", key, orjson.dumps(dict(outcome)), b"EX", REMEMBERED_SECONDS)
        except BrokerUnavailable:
            # The id is free again after UNDER_WAY_SECONDS: rather heard twice than lost.
            _log.warning("how a publication ended could not be kept", message_id=message_id)
        finally:
            # Not before the reply: replies come in order, so whoever read our mark before it finds the id here.
            self._under_way.discard(message_id)

    def _key(self, message_id: str) -> bytes:
        return self._broker.names.service("message", message_id)


def _outcome(value: bytes) -> Mapping[str, int]:
    try:
        outcome = orjson.loads(value)
    except orjson.JSONDecodeError:
        return _UNKNOWN_OUTCOME
    return outcome if isinstance(outcome, dict) else _UNKNOWN_OUTCOME
