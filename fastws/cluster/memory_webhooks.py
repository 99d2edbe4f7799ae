"""The webhook events of one process without Redis: kept in memory."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice

from fastws.callouts.webhooks import MAX_WAITING, WaitingEvent, WebhookTarget
from fastws.cluster.webhooks import MISS_SECONDS, Subject, WebhookEvent, body_of_subject, by_app


class MemoryWebhooks:
    """A WebhookStore of this process alone. `loop` is anything with the timers and the clock of an event loop."""

    def __init__(self, targets: Sequence[WebhookTarget], loop: asyncio.AbstractEventLoop) -> None:
        self._targets = by_app(targets)
        self._loop = loop
        self._queues: dict[str, OrderedDict[bytes, WaitingEvent]] = {target.id: OrderedDict() for target in targets}
        self._number = 0
        self._leaving: dict[Subject, asyncio.TimerHandle] = {}
        # Those of them that are users, by their channel.
        self._leaving_members: dict[Subject, dict[Subject, None]] = {}
        # When a cache_miss was last reported. The oldest comes first.
        self._missed: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._wake: Callable[[str], None] = lambda _: None

    @property
    def lengths(self) -> Mapping[str, int]:
        return {target_id: len(queue) for target_id, queue in self._queues.items()}

    @property
    def unwritten(self) -> int:
        return 0

    async def start(self, wake: Callable[[str], None]) -> None:
        self._wake = wake

    async def settle(self) -> None:
        """No client can return: report at once what is vacated."""
        for subject in list(self._leaving):
            if subject in self._leaving:
                self._gone(subject)

    async def stop(self) -> None:
        for timer in self._leaving.values():
            timer.cancel()

    def entered(self, subject: Subject) -> None:
        timer = self._leaving.pop(subject, None)
        if timer is not None:
            timer.cancel()
            self._returned_or_gone(subject)
        else:
            self._put_subject(subject, has_come=True)

    def left(self, subject: Subject) -> None:
        targets = self._targets.get(subject.app)
        if targets:
            if subject.user is not None:
                self._leaving_members.setdefault(_channel_of(subject), {})[subject] = None
            self._leaving[subject] = self._loop.call_later(targets[0].grace_seconds, self._gone, subject)

    def _gone(self, subject: Subject) -> None:
        """Report it as gone, a channel after its last members: no connection is left that they could have."""
        for member in list(self._leaving_members.get(subject, ())):
            self._gone(member)
        self._leaving.pop(subject).cancel()
        self._returned_or_gone(subject)
        self._put_subject(subject, has_come=False)

    def _returned_or_gone(self, subject: Subject) -> None:
        if subject.user is not None:
            channel = _channel_of(subject)
            members = self._leaving_members[channel]
            del members[subject]
            if not members:
                del self._leaving_members[channel]

    def _put_subject(self, subject: Subject, *, has_come: bool) -> None:
        body = body_of_subject(subject, has_come=has_come)
        self._put(subject.app, subject.channel, subject.event_name(has_come=has_come), body)

    def add(self, event: WebhookEvent) -> None:
        if event.once != "miss" or self._is_new_miss(event.app, event.channel):
            self._put(event.app, event.channel, event.name, event.body)

    def _is_new_miss(self, app: str, channel: str) -> bool:
        now = self._loop.time()
        while self._missed and now - next(iter(self._missed.values())) >= MISS_SECONDS:
            self._missed.popitem(last=False)
        if (app, channel) in self._missed:
            return False
        self._missed[app, channel] = now
        return True

    def _put(self, app: str, channel: str, name: str, body: bytes) -> None:
        for target in self._targets.get(app, ()):
            if name not in target.events:
                continue
            self._number += 1
            event = WaitingEvent(b"%d" % self._number, name, channel, body)
            queue = self._queues[target.id]
            if len(queue) >= MAX_WAITING:
                target.count(queue.popitem(last=False)[1].name, "dropped")
            queue[event.id] = event
            self._wake(target.id)

    def holds(self, target_id: str) -> bool:
        return True

    async def read(self, target_id: str, limit: int) -> Sequence[WaitingEvent]:
        return list(islice(self._queues[target_id].values(), limit))

    async def remove(self, target_id: str, ids: Collection[bytes]) -> None:
        queue = self._queues[target_id]
        for each in ids:
            queue.pop(each, None)


def _channel_of(member: Subject) -> Subject:
    return Subject(member.app, member.channel)
