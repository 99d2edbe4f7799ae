"""Webhook events of all processes: which channels and users are present, and what is reported about them.

A channel or a user in it is a subject. Each process reports the first and the last connection of a subject here; the
store knows the subject in all processes, and puts an event into the queue of each URL when it has come or gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import orjson

from fastws.callouts.webhooks import WebhookClient, WebhookQueue, WebhookSender, WebhookTarget

# A cache_miss is reported once per channel in this time.
MISS_SECONDS: Final = 10.0
# "" every time; "miss" once in MISS_SECONDS; "owner" only by one of the processes with the channel.
Once = Literal["", "miss", "owner"]


@dataclass(slots=True, frozen=True)
class Subject:
    """A channel of an app, or a user in it."""

    app: str
    channel: str
    user: str | None = None

    @property
    def key(self) -> str:
        """Its name in a store. Names of apps and channels contain no line break."""
        name = f"{self.app}\n{self.channel}"
        return name if self.user is None else f"{name}\n{self.user}"

    @property
    def fields(self) -> bytes:
        """Its fields in events: JSON members without the braces."""
        user = {} if self.user is None else {"user_id": self.user}
        return orjson.dumps({"channel": self.channel, **user})[1:-1]

    def event_name(self, *, has_come: bool) -> str:
        if self.user is None:
            return "channel_occupied" if has_come else "channel_vacated"
        return "member_added" if has_come else "member_removed"


@dataclass(slots=True, frozen=True)
class WebhookEvent:
    """Another event of a channel. `body` is its JSON object."""

    app: str
    channel: str
    name: str
    body: bytes
    once: Once = ""


class WebhookStore(WebhookQueue, Protocol):
    """The subjects and queues of all processes. `wake(target_id)` is called when a queue may have got something."""

    @property
    def lengths(self) -> Mapping[str, int]:
        """Number of events in each queue that this process sends, by target."""
        ...

    @property
    def unwritten(self) -> int:
        """Number of events that are in no queue yet."""
        ...

    def entered(self, subject: Subject) -> None:
        """The first connection in this process has come."""
        ...

    def left(self, subject: Subject) -> None:
        """The last connection in this process has gone."""
        ...

    def add(self, event: WebhookEvent) -> None: ...
    async def start(self, wake: Callable[[str], None]) -> None: ...

    async def settle(self) -> None:
        """No connection is left here: put into the queues what has not been put there yet."""
        ...

    async def stop(self) -> None: ...


class Webhooks:
    """Takes the reports of the rest of the server. No method waits or raises. Must be made on the event loop."""

    def __init__(self, targets: Sequence[WebhookTarget], store: WebhookStore) -> None:
        self._store = store
        self._client = WebhookClient()
        clock = asyncio.get_running_loop().time
        self._senders = {target.id: WebhookSender(target, store, self._client.post, clock=clock) for target in targets}
        self._wanted = {(target.app, name) for target in targets for name in target.events}
        self._here: set[Subject] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def wants(self, app: str, *names: str) -> bool:
        """Whether any URL of `app` gets one of these events."""
        return any((app, name) in self._wanted for name in names)

    def waiting(self, *, is_pusher: bool) -> int:
        """Return the number of events that wait for the URLs of Pusher apps, or for those of `webhooks`."""
        lengths = self._store.lengths
        targets = (sender.target for sender in self._senders.values())
        count = sum(lengths.get(target.id, 0) for target in targets if bool(target.app) is is_pusher)
        return count + (self._store.unwritten if is_pusher else 0)

    def set_present(self, app: str, channel: str, user: str | None = None, *, is_present: bool) -> None:
        """The channel, or the user in it, has at least one connection in this process, or has none. Idempotent."""
        subject = Subject(app, channel, user)
        if is_present is (subject in self._here):
            return
        if is_present:
            self._here.add(subject)
            self._store.entered(subject)
        else:
            self._here.discard(subject)
            self._store.left(subject)

    def tell(self, app: str, name: str, channel: str, once: Once = "", **fields: object) -> None:
        """Another event of `channel`, with these fields in addition to name and channel."""
        if self.wants(app, name):
            body = orjson.dumps({"name": name, "channel": channel, **fields})
            self._store.add(WebhookEvent(app, channel, name, body, once))

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(sender.run()) for sender in self._senders.values()]
        await self._store.start(self._wake)

    def _wake(self, target_id: str) -> None:
        sender = self._senders.get(target_id)
        if sender is not None:
            sender.wake()

    async def drain(self, seconds: float) -> None:
        """Send what waits, for at most so long. Call it when no connection is left here."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._store.settle()
                await asyncio.gather(*(sender.drain() for sender in self._senders.values()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._store.stop()
        await self._client.close()


def body_of_subject(subject: Subject, *, has_come: bool) -> bytes:
    return b'{"name":"%b",%b}' % (subject.event_name(has_come=has_come).encode(), subject.fields)


def by_app(targets: Sequence[WebhookTarget]) -> Mapping[str, list[WebhookTarget]]:
    """Return the targets of each app."""
    apps: dict[str, list[WebhookTarget]] = {}
    for target in targets:
        apps.setdefault(target.app, []).append(target)
    return apps
