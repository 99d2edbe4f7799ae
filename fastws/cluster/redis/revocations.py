"""Revocations in Redis: kept there as long as they hold, and told to every process as they come."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from fastws.access.revocation import CLOCK_SECONDS, TABLES, USER_SECONDS, Revocations, Snapshot
from fastws.brokers.redis.broker import RedisBroker
from fastws.codec.msgpack_binary import MSGPACK
from fastws.errors import BadRequest, BrokerUnavailable

RETRY_SECONDS: Final = 1.0
# Entries in one command or message.
PAGE: Final = 1000

_log = structlog.get_logger("fastws.redis")


class RedisRevocations:
    """Two sorted sets, `fastws:revoked:tokens` (scored by until when) and `:users` (by up to when issued).

    What others revoke is merged into `revocations`; `enforce` is then called to send those away who are connected.
    After every (re)connection both sides are brought together, and again until that succeeds. Every
    `timeouts.revocations_seconds` at most the numbers of both are compared, so that what a Redis has lost is put
    back; only where they differ are the sets read.
    """

    def __init__(self, broker: RedisBroker, revocations: Revocations, enforce: Callable[[], None]) -> None:
        self._broker = broker
        self._revocations = revocations
        self._enforce = enforce
        self._channel = broker.names.service("revocations")
        self._keys = {table: broker.names.service("revoked", table) for table in TABLES}
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        # Whether the two sides may differ; set again while they are brought together, it is done again.
        self._is_stale = False
        # What others were heard to keep for less long than we do.
        self._owed: Snapshot = {table: {} for table in TABLES}
        broker.serve(self._channel, self._hear, self._began)

    async def tell(self, change: Snapshot) -> None:
        """Keep `change` in Redis and tell every process. Raises BrokerUnavailable where Redis does not answer."""
        try:
            await self._tell(change)
        except BrokerUnavailable:
            self._began()
            raise

    async def reconcile(self) -> None:
        """Take over what Redis knows, and give it what only this process knows; page by page."""
        for table in TABLES:
            known = await self._read(table)
            for missing in self._revocations.missing_from(known, table):
                entries = list(missing.items())
                for start in range(0, len(entries), PAGE):
                    await self._tell({table: dict(entries[start : start + PAGE])})
                await asyncio.sleep(0)

    async def check(self) -> None:
        """Compare how many Redis knows with how many we know, and bring both together where they differ."""
        for table in TABLES:
            moment, ours = self._revocations.count_ahead(table)
            if await self._broker.commander.call(b"ZCOUNT", self._keys[table], moment, b"+inf") != ours:
                await self.reconcile()
                return

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self, table: str) -> dict[str, float]:
        """All of `table` in Redis, merged. From the latest on: what runs out meanwhile moves none of those before."""
        known: dict[str, float] = {}
        end = -1
        while True:
            words = (b"ZRANGE", self._keys[table], end - PAGE + 1, end, b"WITHSCORES")
            page = _scores(await self._broker.commander.call(*words))
            known.update(page)
            if self._revocations.merge({table: page}):
                self._enforce()
            if len(page) < PAGE:
                return known
            end -= PAGE

    async def _tell(self, change: Snapshot) -> None:
        await self._keep(change)
        await self._broker.commander.call(b"PUBLISH", self._channel, MSGPACK.dumps(change))

    async def _keep(self, change: Snapshot) -> None:
        now = time.time()
        for table, ended in (("tokens", now), ("users", now - USER_SECONDS - CLOCK_SECONDS)):
            entries = change.get(table, {})
            if not entries:
                continue
            key = self._keys[table]
            scores = [word for name, at in entries.items() for word in (repr(at), name)]
            await self._broker.commander.call(b"ZADD", key, b"GT", *scores)
            await self._broker.commander.call(b"ZREMRANGEBYSCORE", key, b"-inf", repr(ended))

    def _hear(self, payload: bytes) -> None:
        message = MSGPACK.loads(payload)
        if not isinstance(message, dict):
            raise BadRequest("revocations are a map")
        change = {table: _times(message.get(table)) for table in TABLES}
        if self._revocations.merge(change):
            self._enforce()
        later = self._revocations.later_than(change)
        if any(later.values()):
            for table in TABLES:
                self._owed[table].update(later[table])
            self._wake.set()

    def _began(self) -> None:
        self._is_stale = True
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        reason = ""
        while True:
            self._wake.clear()
            try:
                await self._bring_together()
                reason = ""
            except BrokerUnavailable as error:
                self._is_stale = True
                if error.message != reason:
                    reason = error.message
                    _log.warning("revocations could not be read from redis", reason=reason)
            # Not all processes at the same time: who comes later finds that it is done.
            seconds = self._broker.timeouts.revocations_seconds * random.uniform(0.5, 1.0)  # noqa: S311 no secret
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), RETRY_SECONDS if self._is_stale else seconds)

    async def _bring_together(self) -> None:
        owed, self._owed = self._owed, {table: {} for table in TABLES}
        for change in (owed, self._revocations.take_extended()):
            if any(change.values()):
                await self._tell(change)
        if self._is_stale:
            self._is_stale = False
            await self.reconcile()
        elif self._broker.commander.is_up:
            await self.check()


def _times(value: object) -> Mapping[str, float]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        isinstance(name, str) and isinstance(at, int | float) for name, at in value.items()
    ):
        raise BadRequest("revocations are times by name")
    return value


def _scores(reply: object) -> dict[str, float]:
    """A reply of ZRANGE WITHSCORES: flat in RESP2, in pairs with floats in RESP3."""
    if not isinstance(reply, list):
        return {}
    flat = [item for pair in reply for item in (pair if isinstance(pair, list) else (pair,))]
    # Anybody may have written there: a name that is no text is nobody's, and must not hide the others.
    return {name.decode(errors="replace"): float(score) for name, score in zip(flat[::2], flat[1::2], strict=False)}
