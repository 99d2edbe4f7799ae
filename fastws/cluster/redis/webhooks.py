"""Webhook events of all processes over Redis: each is put into a queue there once, and one process sends it.

Every process reports its subjects and events in batches, one after the other. A batch without an answer is repeated,
and Redis ignores what it has executed. Once a second, each process says that it lives, removes the subjects of dead
ones, and takes over the queues of URLs that nobody sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import orjson
import structlog

from fastws.brokers.redis.broker import RedisBroker
from fastws.callouts.webhooks import MAX_WAITING, REPLY_SECONDS, WaitingEvent, WebhookTarget
from fastws.cluster.redis.webhook_scripts import BATCH, BEAT, BYE, Script
from fastws.cluster.webhooks import MISS_SECONDS, Subject, WebhookEvent, by_app
from fastws.errors import BrokerUnavailable
from fastws.throttled_log import ThrottledLog

# Operations in one batch: about 5 ms of Redis.
MAX_BATCH: Final = 200
# After a beat, requests may be started for so long. The lease covers them to their end.
HELD_SECONDS: Final = 2.5
LEASE_MS: Final = int((HELD_SECONDS + REPLY_SECONDS + 1.0) * 1000)

_log = structlog.get_logger("fastws.redis")


class RedisWebhooks:
    """A WebhookStore over Redis. Call `start` after the start of the broker and `stop` before its stop."""

    def __init__(self, broker: RedisBroker, targets: Sequence[WebhookTarget]) -> None:
        self._broker = broker
        self._loop = asyncio.get_running_loop()
        self._prefix = broker.names.service("{webhooks}:")
        # Scripts may only publish in the slot of their keys.
        is_cluster = broker.names.is_cluster
        self._channel = self._prefix + b"changes" if is_cluster else broker.names.service("webhooks")
        self._targets = {target.id: target for target in targets}
        self._config = _config(targets, self._channel.decode(), "SPUBLISH" if is_cluster else "PUBLISH")
        self._reports = Reports(targets)
        # Whether Redis knows the subjects of this process, except those that wait.
        self._is_synced = False
        self._up_since: float | None = None
        self._epoch = b""
        # Until when requests to a target may be started, and the lengths of these queues.
        self._held: dict[str, float] = {}
        self._lengths: dict[str, int] = {}
        self._next_beat = 0.0
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._wake: Callable[[str], None] = lambda _: None
        self._task: asyncio.Task[None] | None = None
        self._failures = ThrottledLog(_log)
        broker.serve(self._channel, self._receive, self._beat_soon)

    @property
    def lengths(self) -> Mapping[str, int]:
        return self._lengths

    @property
    def unwritten(self) -> int:
        return self._reports.events

    async def start(self, wake: Callable[[str], None]) -> None:
        self._wake = wake
        self._task = self._loop.create_task(self._run())

    async def settle(self) -> None:
        self._settled.clear()
        self._changed.set()
        await self._settled.wait()

    async def stop(self) -> None:
        """Let another process send. What waits stays in Redis."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        if self._broker.commander.is_up:
            with contextlib.suppress(BrokerUnavailable):
                await self._call(BYE)

    # --- reports

    def entered(self, subject: Subject) -> None:
        self._reports.set_present(subject, is_present=True)
        self._changed.set()

    def left(self, subject: Subject) -> None:
        self._reports.set_present(subject, is_present=False)
        self._changed.set()

    def add(self, event: WebhookEvent) -> None:
        self._reports.add(event)
        self._changed.set()

    # --- Redis

    async def _run(self) -> None:
        while True:
            try:
                if self._loop.time() >= self._next_beat:
                    await self._beat()
                elif self._is_synced and self._reports.is_waiting:
                    await self._write()
                else:
                    await self._rest()
            except BrokerUnavailable:
                self._is_synced = False
                self._up_since = None
                await asyncio.sleep(self._broker.timeouts.heartbeat_seconds / 10)
            except Exception as error:  # noqa: BLE001 one failure must not end all webhooks
                self._failures.error("bug in webhooks over redis", exc_info=error)
                await asyncio.sleep(self._broker.timeouts.heartbeat_seconds)

    async def _rest(self) -> None:
        """Wait until something changes or the next beat is due."""
        self._settled.set()
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._next_beat):
                await self._changed.wait()

    async def _beat(self) -> None:
        timeouts = self._broker.timeouts
        if not self._is_synced:
            # Perhaps another Redis, which does not know the scripts.
            for script in (BATCH, BEAT, BYE):
                await self._broker.commander.for_key(self._prefix).call(b"SCRIPT", b"LOAD", script.text)
        begun = self._loop.time()
        since = begun if self._up_since is None else self._up_since
        # After an outage of Redis all others seem to be dead until their first beat.
        expiry = timeouts.node_expiry_seconds if begun - since >= timeouts.node_expiry_seconds else 0.0
        reply = await self._call(BEAT, int(expiry * 1000), secrets.token_hex(8), LEASE_MS)
        if not isinstance(reply, list) or len(reply) != 4:
            raise BrokerUnavailable("Redis answered the beat of webhooks with something else")
        epoch, is_new, dropped, held = reply
        self._up_since = since
        self._next_beat = begun + timeouts.heartbeat_seconds
        self._count_dropped(dropped)
        self._hold(held, begun + HELD_SECONDS)
        if is_new or not self._is_synced:
            self._sync(epoch)

    def _sync(self, epoch: bytes) -> None:
        """Report all subjects again, before anything else: Redis or another node may have forgotten them."""
        self._reports.begin_again(is_lost=bool(self._epoch) and epoch != self._epoch)
        self._epoch = epoch
        self._is_synced = True

    def _hold(self, held: Sequence[object], until: float) -> None:
        """Note which queues this process sends."""
        pairs = zip(held[::2], held[1::2], strict=True)
        self._lengths = {key.decode(): length for key, length in pairs if isinstance(key, bytes)}  # type: ignore[misc]
        self._held = dict.fromkeys(self._lengths, until)
        for target_id, length in self._lengths.items():
            if length:
                self._wake(target_id)

    async def _write(self) -> None:
        """Write the next batch, or the last one again if Redis has not answered."""
        operations = self._reports.batch()
        reply = await self._call(BATCH, self._reports.batch_number, orjson.dumps(operations), self._epoch)
        if isinstance(reply, list):
            self._reports.written(operations)
            self._count_dropped(reply)
        else:
            self._is_synced = False
            self._next_beat = 0.0

    def _count_dropped(self, dropped: Sequence[object]) -> None:
        for each in dropped:
            text = each.decode() if isinstance(each, bytes) else ""
            target = self._targets.get(text[:24])
            if target is not None:
                target.count(text[24:], "dropped")

    async def _call(self, script: Script, *arguments: bytes | str | int) -> object:
        words = (2, self._prefix, self._prefix + b"none", self._broker.node_id, self._config, *arguments)
        return await self._broker.commander.call(b"EVALSHA", script.sha, *words)

    # --- queues

    def _receive(self, payload: bytes) -> None:
        """Another process, or this one, has put an event into a queue, or given up its leases."""
        if not payload:
            self._beat_soon()
        elif self.holds(payload.decode("ascii", "replace")):
            self._wake(payload.decode())

    def _beat_soon(self) -> None:
        self._next_beat = 0.0
        self._changed.set()

    def holds(self, target_id: str) -> bool | None:
        until = self._held.get(target_id)
        if until is None:
            return False
        return True if self._loop.time() < until else None

    async def read(self, target_id: str, limit: int) -> Sequence[WaitingEvent]:
        reply = await self._broker.commander.call(b"XRANGE", self._queue(target_id), b"-", b"+", b"COUNT", limit)
        return [_event(entry) for entry in reply] if isinstance(reply, list) else []

    async def remove(self, target_id: str, ids: Collection[bytes]) -> None:
        await self._broker.commander.call(b"XDEL", self._queue(target_id), *ids)

    def _queue(self, target_id: str) -> bytes:
        return self._prefix + b"queue:" + target_id.encode()


class Reports:
    """Reports that Redis does not know yet, in order. A subject is in it once, and is written as it is then."""

    def __init__(self, targets: Sequence[WebhookTarget]) -> None:
        self.events = 0
        self.batch_number = 0
        self._targets = by_app(targets)
        self._here: set[Subject] = set()
        self._waiting: deque[Subject | WebhookEvent] = deque()
        self._queued: set[Subject] = set()
        # The batch under way, until Redis has answered.
        self._batch: list[Subject | WebhookEvent] = []
        # Subjects that were reported as present; and those of them that Redis has lost since.
        self._reported: set[Subject] = set()
        self._lost: set[Subject] = set()

    @property
    def is_waiting(self) -> bool:
        return bool(self._batch or self._waiting)

    def set_present(self, subject: Subject, *, is_present: bool) -> None:
        if is_present:
            self._here.add(subject)
        else:
            self._here.discard(subject)
        if subject not in self._queued:
            self._queued.add(subject)
            self._waiting.append(subject)

    def add(self, event: WebhookEvent) -> None:
        if self.events >= MAX_WAITING:
            self._drop_oldest()
        self.events += 1
        self._waiting.append(event)

    def _drop_oldest(self) -> None:
        """Drop the oldest event that is not under way, while Redis is away. Subjects stay."""
        for position, each in enumerate(self._waiting):
            if isinstance(each, WebhookEvent):
                del self._waiting[position]
                self.events -= 1
                for target in self._targets.get(each.app, ()):
                    if each.name in target.events:
                        target.count(each.name, "dropped")
                return

    def begin_again(self, *, is_lost: bool) -> None:
        """Report all present subjects, before anything else. `is_lost`: Redis has lost all data."""
        if is_lost:
            self._lost |= self._reported
        missing = [subject for subject in self._here if subject not in self._queued]
        self._queued.update(missing)
        self._waiting.extendleft(missing)

    def batch(self) -> list[list[object]]:
        """Return the operations of the next batch, or those of the last one if it was not written."""
        if not self._batch:
            count = min(len(self._waiting), MAX_BATCH)
            self._batch = [self._waiting.popleft() for _ in range(count)]
            self.batch_number += 1
            self._queued.difference_update(each for each in self._batch if isinstance(each, Subject))
        return [self._operation(each) for each in self._batch]

    def _operation(self, each: Subject | WebhookEvent) -> list[object]:
        if isinstance(each, WebhookEvent):
            return ["event", each.app, each.channel, each.name, each.body.decode(), each.once]
        kind = "enter" if each in self._here else "leave"
        return [kind, each.key, each.fields.decode(), each in self._lost]

    def written(self, operations: Sequence[Sequence[object]]) -> None:
        """Redis has executed the batch with these operations."""
        for each, operation in zip(self._batch, operations, strict=True):
            if isinstance(each, WebhookEvent):
                self.events -= 1
                continue
            self._lost.discard(each)
            if operation[0] == "enter":
                self._reported.add(each)
            else:
                self._reported.discard(each)
        self._batch = []


def _config(targets: Sequence[WebhookTarget], channel: str, publish: str) -> bytes:
    """Return what the scripts need to know of the settings."""
    apps = {
        app: {
            "grace": int(some[0].grace_seconds * 1000),
            "targets": [{"id": target.id, "events": dict.fromkeys(target.events, True)} for target in some],
        }
        for app, some in by_app(targets).items()
    }
    config = {
        "apps": apps,
        "limit": MAX_WAITING,
        "miss": int(MISS_SECONDS * 1000),
        "channel": channel,
        "publish": publish,
    }
    return orjson.dumps(config, option=orjson.OPT_SORT_KEYS)


def _event(entry: object) -> WaitingEvent:
    if not isinstance(entry, list) or len(entry) != 2:
        raise BrokerUnavailable("the queue of a webhook contains something else")
    number, fields = entry
    _, name, _, channel, _, body = fields
    return WaitingEvent(number, name.decode(), channel.decode(), body)
