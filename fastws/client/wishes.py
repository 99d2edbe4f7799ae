"""What an application wants to hear, in each dialect: the requests that change it and those that restore it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from fastws.client.formats import Message

EVERYTHING: Final = "*"


class Wishes(Protocol):
    """The subscriptions of one client. Requests are told apart by identity: each is a dict of its own."""

    def add(self, names: Iterable[str]) -> list[Message]:
        """Subscribe to `names` too. Returns the requests that say so."""
        ...

    def remove(self, names: Iterable[str]) -> list[Message]:
        """Unsubscribe from `names`. Returns the requests that say so."""
        ...

    def restore(self) -> list[Message]:
        """The requests that bring a fresh connection to the present state."""
        ...

    def is_covered(self, request: Message, restored: Message) -> bool:
        """Whether the answer to `restored`, one of the requests of `restore`, answers `request` as well."""
        ...

    def was_confirmed(self, request: Message) -> bool:
        """Whether `request` asks for what the server has confirmed before."""
        ...

    def confirmed(self, request: Message) -> None:
        """The server has carried `request` out."""
        ...

    def refused(self, request: Message, *, for_good: bool) -> None:
        """The server has refused `request`: it has changed nothing, and is not repeated."""
        ...

    def left(self, message: Message) -> None:
        """The server has unsubscribed this client by itself (its new token allows less)."""
        ...


@dataclass(slots=True)
class _Subscription:
    """The latest request for a name. `is_open`: it has no answer yet. `was_confirmed`: one for the name has been."""

    request: Message
    is_open: bool = True
    was_confirmed: bool = False


class ChannelWishes:
    """Channels or rooms, one request for each; the latest one for a name decides. `verb` and `field` are the
    dialect's: action and channel, or type and room_id."""

    def __init__(self, verb: str, field: str) -> None:
        self._verb = verb
        self._field = field
        self._wanted: dict[str, _Subscription] = {}

    def add(self, names: Iterable[str]) -> list[Message]:
        return [self._subscribe(name) for name in list(names)]

    def remove(self, names: Iterable[str]) -> list[Message]:
        old = list(names)
        for name in old:
            self._wanted.pop(name, None)
        return [self._request("unsubscribe", name) for name in old]

    def restore(self) -> list[Message]:
        return [self._subscribe(name) for name in list(self._wanted)]

    def is_covered(self, request: Message, restored: Message) -> bool:
        return request == restored

    def was_confirmed(self, request: Message) -> bool:
        subscription = self._find(request)
        return subscription is not None and subscription.was_confirmed

    def confirmed(self, request: Message) -> None:
        subscription = self._find(request)
        if subscription is not None:
            subscription.is_open, subscription.was_confirmed = False, True

    def refused(self, request: Message, *, for_good: bool) -> None:
        subscription = self._find(request)
        if subscription is None:
            return
        subscription.is_open = False
        if for_good or not subscription.was_confirmed:
            del self._wanted[request[self._field]]

    def left(self, message: Message) -> None:
        name = message.get(self._field, "")
        subscription = self._wanted.get(name)
        if subscription is not None and not subscription.is_open:  # a later request has an answer of its own
            del self._wanted[name]

    def _find(self, request: Message) -> _Subscription | None:
        """The subscription that `request` is the latest word on."""
        subscription = self._wanted.get(request[self._field])
        return subscription if subscription is not None and subscription.request is request else None

    def _subscribe(self, name: str) -> Message:
        request = self._request("subscribe", name)
        before = self._wanted.get(name)
        was_confirmed = before is not None and before.was_confirmed
        self._wanted[name] = _Subscription(request, was_confirmed=was_confirmed)
        return request

    def _request(self, action: str, name: str) -> Message:
        return {self._verb: action, self._field: name}


class _FilterWishes:
    """One filter for all that is heard, which each request changes: the state that the server has confirmed, and
    the requests after that in the order of their calls."""

    def __init__(self) -> None:
        self._confirmed: list[Message] = []  # brings a fresh connection to the confirmed state; empty or one request
        self._unconfirmed: list[Message] = []
        self._restored: Message | None = None

    def restore(self) -> list[Message]:
        if self._confirmed:
            self._restored = self._confirmed[0]
        self._unconfirmed[:0] = self._confirmed
        self._confirmed = []
        return list(self._unconfirmed)

    def is_covered(self, request: Message, restored: Message) -> bool:
        return request is restored

    def was_confirmed(self, request: Message) -> bool:
        return request is self._restored

    def confirmed(self, request: Message) -> None:
        if self._drop(request):
            self._confirmed = self._applied(self._confirmed, request)

    def refused(self, request: Message, *, for_good: bool) -> None:
        self._drop(request)

    def left(self, message: Message) -> None:
        """There is nothing to leave here: a connection without its workspace or feed ends."""

    def _change(self, request: Message) -> list[Message]:
        self._unconfirmed.append(request)
        return [request]

    def _drop(self, request: Message) -> bool:
        before = len(self._unconfirmed)
        self._unconfirmed = [each for each in self._unconfirmed if each is not request]
        return len(self._unconfirmed) < before

    def _applied(self, state: list[Message], request: Message) -> list[Message]:
        raise NotImplementedError


class EventWishes(_FilterWishes):
    """Event types of a workspace: all until the first change, then only some or all but some."""

    def add(self, names: Iterable[str]) -> list[Message]:
        return self._say("subscribe", names)

    def remove(self, names: Iterable[str]) -> list[Message]:
        return self._say("unsubscribe", names)

    def _say(self, word: str, names: Iterable[str]) -> list[Message]:
        given = sorted(set(names))
        return self._change({"type": word, "event_types": given}) if given else []

    def _applied(self, state: list[Message], request: Message) -> list[Message]:
        """The one request with the effect of `state` and then `request`, by the rules of the server."""
        names, excludes = _filter_of(state)
        given = set(request["event_types"])
        if EVERYTHING in given:
            names, excludes = set(), request["type"] == "subscribe"
        elif request["type"] == "subscribe":
            names, excludes = (given if excludes else names | given), False
        else:
            names = names | given if excludes else names - given
        if names:
            return [{"type": "unsubscribe" if excludes else "subscribe", "event_types": sorted(names)}]
        return [] if excludes else [{"type": "unsubscribe", "event_types": [EVERYTHING]}]


def _filter_of(state: list[Message]) -> tuple[set[str], bool]:
    """The event types in `state`, and whether all but these are heard."""
    if not state:
        return set(), True
    names, excludes = set(state[0]["event_types"]), state[0]["type"] == "unsubscribe"
    return (set(), False) if EVERYTHING in names else (names, excludes)


class JobWishes(_FilterWishes):
    """Job ids and statuses. Each request states the whole filter; without one every job is heard."""

    def __init__(self, statuses: Iterable[str] = ()) -> None:
        super().__init__()
        self._statuses = sorted(statuses)

    def add(self, names: Iterable[str]) -> list[Message]:
        return self._say(self._jobs() | set(names))

    def remove(self, names: Iterable[str]) -> list[Message]:
        return self._say(self._jobs() - set(names))

    def _jobs(self) -> set[str]:
        latest = (self._confirmed + self._unconfirmed)[-1:]
        return set(latest[0].get("job_ids", ())) if latest else set()

    def _say(self, jobs: set[str]) -> list[Message]:
        if jobs or self._statuses:
            return self._change({"type": "subscribe", "job_ids": sorted(jobs), "statuses": self._statuses})
        return self._change({"type": "unsubscribe"}) if self._confirmed or self._unconfirmed else []

    def _applied(self, state: list[Message], request: Message) -> list[Message]:
        return [request] if request["type"] == "subscribe" else []
