"""Revocations in Redis: stored there until they expire, and published to every process."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from fastws.access.revocation import CLOCK_SECONDS, PAGE, TABLES, USER_SECONDS, Revocations, Snapshot
from fastws.brokers.redis.broker import RedisBroker
from fastws.codec.msgpack_binary import MSGPACK
from fastws.errors import BadRequest, BrokerUnavailable

RETRY_SECONDS: Final = 1.0
# How long `start` waits for the first synchronization. Redis that stops answering ends it sooner.
START_SECONDS: Final = 5.0
Enforce = Callable[[Mapping[str, Mapping[str, float]]], None]

_log = structlog.get_logger("fastws.redis")


class RedisRevocations:
    """Synchronizes `revocations` with two sorted sets in Redis.

    The score in `fastws:revoked:tokens` is the time at which the revocation expires, in `fastws:revoked:users` the
    latest time of issue of the revoked tokens. Revocations of other processes are merged into `revocations`; then
    `enforce` is called with them to disconnect the clients concerned. After every (re)connection both sides are
    synchronized, and again until that succeeds. At least every `timeouts.revocations_seconds` the sizes of both are
    compared, so that what Redis has lost is restored. The sets are read only if the sizes differ.
    """

    def __init__(self, broker: RedisBroker, revocations: Revocations, enforce: Enforce) -> None:
        self._broker = broker
        self._revocations = revocations
        self._enforce = enforce
        self._channel = broker.names.service("revocations")
        self._keys = {table: broker.names.service("revoked", table) for table in TABLES}
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        # Whether the two sides may differ. If it is set during a synchronization, another one follows.
        self._is_stale = False
        # Revocations that other processes have published with an earlier end than is known here.
        self._unpublished: Snapshot = {table: {} for table in TABLES}
        self._has_tried = asyncio.Event()

    async def start(self) -> None:
        """Start to synchronize. Returns after the first attempt, or at once if Redis is unavailable."""
        self._broker.serve(self._channel, self._receive, self._subscribed)
        if self._broker.monitor.is_up:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(START_SECONDS):
                    await self._has_tried.wait()

    async def publish(self, change: Snapshot) -> None:
        """Store `change` in Redis and publish it to every process. Raises BrokerUnavailable, and tries again later."""
        try:
            await self._publish(change)
        except BrokerUnavailable:
            self._subscribed()
            raise

    async def reconcile(self) -> None:
        """Merge the revocations in Redis and store there those that only this process has, page by page."""
        for table in TABLES:
            known = await self._read(table)
            for missing in self._revocations.missing_from(known, table):
                if missing:
                    await self._publish({table: missing})
                await asyncio.sleep(0)

    async def check(self) -> None:
        """Compare the number of revocations in Redis with that of this process; reconcile if they differ."""
        for table in TABLES:
            moment, count = self._revocations.count_ahead(table)
            if await self._broker.commander.call(b"ZCOUNT", self._keys[table], moment, b"+inf") != count:
                await self.reconcile()
                return

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self, table: str) -> dict[str, float]:
        """Merge all of `table` in Redis and return it. Starts with the latest: expiry moves only what comes after."""
        known: dict[str, float] = {}
        end = -1
        while True:
            words = (b"ZRANGE", self._keys[table], end - PAGE + 1, end, b"WITHSCORES")
            page = _scores(await self._broker.commander.call(*words))
            known.update(page)
            if self._revocations.merge({table: page}):
                self._enforce({table: page})
            if len(page) < PAGE:
                return known
            end -= PAGE

    async def _publish(self, change: Snapshot) -> None:
        await self._store(change)
        await self._broker.commander.call_publish(self._channel, MSGPACK.dumps(change))

    async def _store(self, change: Snapshot) -> None:
        now = time.time()
        for table, ended in (("tokens", now), ("users", now - USER_SECONDS - CLOCK_SECONDS)):
            entries = change.get(table, {})
            if not entries:
                continue
            key = self._keys[table]
            scores = [word for name, at in entries.items() for word in (repr(at), name)]
            await self._broker.commander.call(b"ZADD", key, b"GT", *scores)
            await self._broker.commander.call(b"ZREMRANGEBYSCORE", key, b"-inf", repr(ended))

    def _receive(self, payload: bytes) -> None:
        message = MSGPACK.loads(payload)
        if not isinstance(message, dict):
            raise BadRequest("revocations: must be a map")
        change = {table: _times(message.get(table)) for table in TABLES}
        if self._revocations.merge(change):
            self._enforce(change)
        later = self._revocations.later_than(change)
        if any(later.values()):
            for table in TABLES:
                self._unpublished[table].update(later[table])
            self._wake.set()

    def _subscribed(self) -> None:
        self._is_stale = True
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        reason = ""
        while True:
            self._wake.clear()
            try:
                await self._synchronize()
                reason = ""
            except BrokerUnavailable as error:
                self._is_stale = True
                if error.message != reason:
                    reason = error.message
                    _log.warning("cannot synchronize revocations with redis", reason=reason)
            self._has_tried.set()
            # Not all processes at the same time: those that come later find nothing left to do.
            seconds = self._broker.timeouts.revocations_seconds * random.uniform(0.5, 1.0)  # noqa: S311 no secret
            with contextlib.suppress(TimeoutError):
                # Not wait_for: before Python 3.12 it swallows a cancellation that arrives together with the event.
                async with asyncio.timeout(RETRY_SECONDS if self._is_stale else seconds):
                    await self._wake.wait()

    async def _synchronize(self) -> None:
        unpublished, self._unpublished = self._unpublished, {table: {} for table in TABLES}
        for change in (unpublished, self._revocations.take_extended()):
            if any(change.values()):
                await self._publish(change)
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
        raise BadRequest("revocations: each table must be a map of names to times")
    return value


def _scores(reply: object) -> dict[str, float]:
    """Convert a reply of ZRANGE WITHSCORES: a flat list in RESP2, pairs with floats in RESP3."""
    if not isinstance(reply, list):
        return {}
    flat = [item for pair in reply for item in (pair if isinstance(pair, list) else (pair,))]
    # Any Redis client may have written there: a name that is not UTF-8 matches no token or user, but must not raise.
    return {name.decode(errors="replace"): float(score) for name, score in zip(flat[::2], flat[1::2], strict=False)}
