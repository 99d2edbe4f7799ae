"""What an application wants to hear: how to ask for it, and how to ask again after a reconnect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from fastws.client.formats import Message

EVERYTHING = "*"


class Wishes(Protocol):
    """The state of one client's subscriptions, in the words of its dialect."""

    def add(self, names: Iterable[str]) -> list[Message]:
        """Want `names` too; the requests that say so."""
        ...

    def remove(self, names: Iterable[str]) -> list[Message]:
        """Want `names` no longer; the requests that say so."""
        ...

    def restore(self) -> list[Message]:
        """The requests that bring a fresh connection to the present state."""
        ...

    def refused(self, request: Message) -> None:
        """The server refused `request` for good: do not ask again."""
        ...

    def left(self, message: Message) -> None:
        """The server took this client off something by itself (a new token allows less)."""
        ...


class ChannelWishes:
    """Channels or rooms, one request each. `verb` and `field` are the dialect's: action and channel, or type
    and room_id."""

    def __init__(self, verb: str, field: str) -> None:
        self._verb = verb
        self._field = field
        self._wanted: dict[str, None] = {}

    def add(self, names: Iterable[str]) -> list[Message]:
        fresh = list(names)
        self._wanted.update(dict.fromkeys(fresh))
        return [self._request("subscribe", name) for name in fresh]

    def remove(self, names: Iterable[str]) -> list[Message]:
        old = list(names)
        for name in old:
            self._wanted.pop(name, None)
        return [self._request("unsubscribe", name) for name in old]

    def restore(self) -> list[Message]:
        return [self._request("subscribe", name) for name in self._wanted]

    def refused(self, request: Message) -> None:
        if request[self._verb] == "subscribe":
            self._wanted.pop(request[self._field], None)

    def left(self, message: Message) -> None:
        self._wanted.pop(message.get(self._field, ""), None)

    def _request(self, action: str, name: str) -> Message:
        return {self._verb: action, self._field: name}


class EventWishes:
    """Event types of a workspace: all until the first change, then only some or all but some, as the server
    keeps it itself."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._excluding = True

    def add(self, names: Iterable[str]) -> list[Message]:
        fresh = set(names)
        if not fresh:
            return []
        if EVERYTHING in fresh:
            self._names, self._excluding = set(), True
        elif self._excluding:
            self._names, self._excluding = fresh, False
        else:
            self._names |= fresh
        return [{"type": "subscribe", "event_types": sorted(fresh)}]

    def remove(self, names: Iterable[str]) -> list[Message]:
        old = set(names)
        if not old:
            return []
        if EVERYTHING in old:
            self._names, self._excluding = set(), False
        else:
            self._names = self._names | old if self._excluding else self._names - old
        return [{"type": "unsubscribe", "event_types": sorted(old)}]

    def restore(self) -> list[Message]:
        if self._names:
            return [{"type": "unsubscribe" if self._excluding else "subscribe", "event_types": sorted(self._names)}]
        return [] if self._excluding else [{"type": "unsubscribe", "event_types": [EVERYTHING]}]

    def refused(self, request: Message) -> None:
        if (request["type"] == "unsubscribe") is self._excluding:
            self._names -= set(request["event_types"])

    def left(self, message: Message) -> None:
        """A workspace is all or nothing: the connection ends instead."""


class JobWishes:
    """Job ids and statuses. Each request says the whole wish; none at all hears every job."""

    def __init__(self, statuses: Iterable[str] = ()) -> None:
        self._jobs: dict[str, None] = {}
        self._statuses = sorted(statuses)

    def add(self, names: Iterable[str]) -> list[Message]:
        self._jobs.update(dict.fromkeys(names))
        return self.restore()

    def remove(self, names: Iterable[str]) -> list[Message]:
        for name in names:
            self._jobs.pop(name, None)
        return self.restore() or [{"type": "unsubscribe"}]

    def restore(self) -> list[Message]:
        if not self._jobs and not self._statuses:
            return []
        return [{"type": "subscribe", "job_ids": sorted(self._jobs), "statuses": self._statuses}]

    def refused(self, request: Message) -> None:
        """Too many ids, or one that is none. Which of them is not said: none of these is asked for again."""
        for name in request.get("job_ids", ()):
            self._jobs.pop(name, None)

    def left(self, message: Message) -> None:
        """There is nothing to leave on the jobs feed."""
