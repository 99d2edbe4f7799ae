"""Revocations in Redis: kept there as long as they hold, and told to every process as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from fastws.access.revocation import USER_SECONDS, Revocations, Snapshot
from fastws.brokers.redis.broker import RedisBroker
from fastws.codec.msgpack_binary import MSGPACK
from fastws.errors import BadRequest, BrokerUnavailable

_TABLES: Final = ("tokens", "users")
RETRY_SECONDS: Final = 1.0

_log = structlog.get_logger("fastws.redis")


class RedisRevocations:
    """Two sorted sets, `fastws:revoked:tokens` (scored by until when) and `:users` (by up to when issued).

    What others revoke is merged into `revocations`; `enforce` is then called to send those away who are connected.
    After every (re)connection both sides are brought together, and again until that succeeds, so that neither an
    outage nor a Redis that is restarted empty, or still loading, forgets one.
    """

    def __init__(self, broker: RedisBroker, revocations: Revocations, enforce: Callable[[], None]) -> None:
        self._broker = broker
        self._revocations = revocations
        self._enforce = enforce
        self._channel = broker.names.service("revocations")
        self._keys = {table: broker.names.service("revoked", table) for table in _TABLES}
        self._task: asyncio.Task[None] | None = None
        # Whether the two sides may differ; set again while they are brought together, it is done again.
        self._is_stale = False
        broker.serve(self._channel, self._hear, self._began)

    async def tell(self, change: Snapshot) -> None:
        """Keep `change` in Redis and tell every process. Raises BrokerUnavailable where Redis does not answer."""
        try:
            await self._tell(change)
        except BrokerUnavailable:
            self._began()
            raise

    async def _tell(self, change: Snapshot) -> None:
        await self._keep(change)
        await self._broker.commander.call(b"PUBLISH", self._channel, MSGPACK.dumps(change))

    async def reconcile(self) -> None:
        """Take over what Redis knows, and give it what only this process knows."""
        known: Snapshot = {}
        for table in _TABLES:
            reply = await self._broker.commander.call(b"ZRANGE", self._keys[table], 0, -1, b"WITHSCORES")
            known[table] = _scores(reply)
        ours = self._revocations.snapshot()
        unknown = {
            table: {name: at for name, at in ours[table].items() if known[table].get(name, 0.0) < at}
            for table in _TABLES
        }
        if self._revocations.merge(known):
            self._enforce()
        if any(unknown.values()):
            await self._tell(unknown)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self, change: Snapshot) -> None:
        now = time.time()
        for table, ended in (("tokens", now), ("users", now - USER_SECONDS)):
            entries = change.get(table, {})
            if not entries:
                continue
            key = self._keys[table]
            scores = [word for name, at in entries.items() for word in (repr(at), name)]
            await self._broker.commander.call(b"ZADD", key, b"GT", *scores)
            await self._broker.commander.call(b"ZREMRANGEBYSCORE", key, b"-inf", repr(ended))

    def _hear(self, payload: bytes) -> None:
        change = MSGPACK.loads(payload)
        if not isinstance(change, dict):
            raise BadRequest("revocations are a map")
        if self._revocations.merge({table: _times(change.get(table)) for table in _TABLES}):
            self._enforce()

    def _began(self) -> None:
        self._is_stale = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._reconcile_in_time())

    async def _reconcile_in_time(self) -> None:
        reason = ""
        while self._is_stale:
            self._is_stale = False
            try:
                await self.reconcile()
            except BrokerUnavailable as error:
                self._is_stale = True
                if error.message != reason:
                    reason = error.message
                    _log.warning("revocations could not be read from redis", reason=reason)
                await asyncio.sleep(RETRY_SECONDS)


def _times(value: object) -> Mapping[str, float]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(at, int | float) for at in value.values()):
        raise BadRequest("revocations are times by name")
    return value


def _scores(reply: object) -> dict[str, float]:
    """A reply of ZRANGE WITHSCORES: flat in RESP2, in pairs with floats in RESP3."""
    if not isinstance(reply, list):
        return {}
    flat = [item for pair in reply for item in (pair if isinstance(pair, list) else (pair,))]
    # Anybody may have written there: a name that is no text is nobody's, and must not hide the others.
    return {name.decode(errors="replace"): float(score) for name, score in zip(flat[::2], flat[1::2], strict=False)}
