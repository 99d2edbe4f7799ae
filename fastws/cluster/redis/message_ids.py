"""Message ids in Redis: which publications were made already, by any process, and how they ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

import orjson
import structlog

from fastws.brokers.redis.broker import RedisBroker
from fastws.brokers.redis.wire.resp import pack
from fastws.errors import BrokerUnavailable, Unavailable

REMEMBERED_SECONDS: Final = 300
# A process that dies between its claim and its publication blocks the id no longer. The two are one turn of the loop.
UNDER_WAY_SECONDS: Final = 10
# How long a second try waits for the first: longer than any publication takes to be taken or refused.
PATIENCE_SECONDS: Final = 3.0
LOOK_SECONDS: Final = 0.05
UNDER_WAY: Final = b"?"  # and the node that tries
PUBLISHED: Final = b"!"  # and the node that did
# An id of which it is only known that it was published.
_UNKNOWN_OUTCOME: Final = {"sent": 0, "failed": 0, "stale": 0, "duplicate": 1}

_log = structlog.get_logger("fastws.redis")


class RedisMessageIds:
    """Keys `fastws:message:<message id>`: `?<node>` once claimed, `!<node>` once published, then the outcome as JSON.

    `!` goes to Redis together with the publication, before it: whatever becomes of this process, and however long
    the outcome takes, nobody publishes under that id a second time.
    """

    def __init__(self, broker: RedisBroker) -> None:
        self._broker = broker
        self._mark = UNDER_WAY + broker.node_id.encode()
        self._published = PUBLISHED + broker.node_id.encode()
        self._under_way: set[str] = set()

    async def reserve(self, message_id: str) -> Mapping[str, int] | None:
        """None: the caller is first and must call `record_outcome` or `leave`. Else how the first try ended.

        Of one that was published and has not ended in PATIENCE_SECONDS, or never will, it is only known that it is a
        duplicate. Raises BrokerUnavailable, or Unavailable where the first try takes too long before that.
        """
        call, key = self._broker.commander.call, self._key(message_id)
        now = asyncio.get_running_loop().time
        deadline = now() + PATIENCE_SECONDS
        while True:
            asked_at = now()
            is_new = await call(b"SET", key, self._mark, b"NX", b"EX", UNDER_WAY_SECONDS)
            value = self._mark if is_new is not None else await call(b"GET", key)
            # A mark of ours that nobody here stands for: we gave up on a Redis that set it all the same.
            is_ours = value == self._mark and (is_new is not None or message_id not in self._under_way)
            # A process that was held up for long may read of a mark that Redis has dropped since: it asks again.
            if is_ours and now() - asked_at < UNDER_WAY_SECONDS / 2:
                self._under_way.add(message_id)
                return None
            if isinstance(value, bytes) and not value.startswith((UNDER_WAY, PUBLISHED)):
                return _outcome(value)
            if now() > deadline and isinstance(value, bytes) and value.startswith(PUBLISHED):
                return _UNKNOWN_OUTCOME
            if now() > deadline:
                raise Unavailable("a message with this message_id is under way", reason="message_id")
            await asyncio.sleep(LOOK_SECONDS)

    def publishing(self, message_id: str) -> None:
        """What is published next, in this turn of the loop, goes out under this id."""
        command = pack(b"SET", self._key(message_id), self._published, b"EX", REMEMBERED_SECONDS)
        self._broker.commander.send(command, partial(self._broker.commander.log_refusal, b"SET"))

    def leave(self, message_id: str) -> None:
        """How the try under this id ends is not known: what Redis knows of it stays, be it published or not."""
        self._under_way.discard(message_id)

    async def record_outcome(self, message_id: str, outcome: Mapping[str, int] | None) -> None:
        """The try under this id ended so; None: nothing was published, and the next one may."""
        call, key = self._broker.commander.call, self._key(message_id)
        try:
            if outcome is None:
                await call(b"DEL", key)
            else:
                await call(b"SET", key, orjson.dumps(dict(outcome)), b"EX", REMEMBERED_SECONDS)
        except BrokerUnavailable:
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
