"""The subscriptions of a client in each dialect: the requests that change and restore them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from fastws.client.formats import Message

EVERYTHING: Final = "*"
# Of a filter in the query of an upgrade.
MOST_QUERY_CHARACTERS: Final = 4000


class Subscriptions(Protocol):
    """The subscriptions of one client. Requests are compared by identity, so each one is a new dict."""

    def add(self, names: Iterable[str]) -> list[Message]:
        """Add `names`. Returns the requests to send."""
        ...

    def remove(self, names: Iterable[str]) -> list[Message]:
        """Remove `names`. Returns the requests to send."""
        ...

    def restore(self) -> list[Message]:
        """The requests that bring a new connection to the current state."""
        ...

    def query(self) -> dict[str, str] | None:
        """The keys with which the query of an upgrade sets the current state; None if a query cannot express it."""
        ...

    def names(self) -> Collection[str]:
        """The channels or rooms that are wanted; none in dialects with a filter."""
        ...

    def is_covered(self, request: Message, restored: Message) -> bool:
        """Whether the answer to `restored`, a request from `restore`, also answers `request`."""
        ...

    def was_confirmed(self, request: Message) -> bool:
        """Whether the server has confirmed the same subscription before."""
        ...

    def confirmed(self, request: Message) -> None:
        """The server has confirmed `request`."""
        ...

    def refused(self, request: Message, *, is_final: bool) -> None:
        """The server has refused `request`, which is not repeated. `is_final`: it would be refused again."""
        ...

    def left(self, message: Message) -> None:
        """The server has unsubscribed this client because its new token allows less."""
        ...


@dataclass(slots=True)
class _Subscription:
    """The latest request for a name. `is_open`: it is unanswered. `was_confirmed`: one for this name succeeded."""

    request: Message
    is_open: bool = True
    was_confirmed: bool = False


class ChannelSubscriptions:
    """Channels or rooms, with one request for each; the latest request for a name counts. `verb` and `field` are the
    keys of the dialect: action and channel, or type and room_id."""

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

    def query(self) -> dict[str, str] | None:
        return {}

    def names(self) -> Collection[str]:
        return self._wanted.keys()

    def is_covered(self, request: Message, restored: Message) -> bool:
        return request == restored

    def was_confirmed(self, request: Message) -> bool:
        subscription = self._find(request)
        return subscription is not None and subscription.was_confirmed

    def confirmed(self, request: Message) -> None:
        subscription = self._find(request)
        if subscription is not None:
            subscription.is_open, subscription.was_confirmed = False, True

    def refused(self, request: Message, *, is_final: bool) -> None:
        subscription = self._find(request)
        if subscription is None:
            return
        subscription.is_open = False
        if is_final or not subscription.was_confirmed:
            del self._wanted[request[self._field]]

    def left(self, message: Message) -> None:
        name = message.get(self._field, "")
        subscription = self._wanted.get(name)
        if subscription is not None and not subscription.is_open:  # a newer request will get its own answer
            del self._wanted[name]

    def _find(self, request: Message) -> _Subscription | None:
        """The subscription whose latest request is `request`."""
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


class _FilterSubscriptions:
    """A single filter that each request changes. It is kept as the state that the server has confirmed, and the
    requests after that in the order of the calls."""

    def __init__(self) -> None:
        self._confirmed: list[Message] = []  # the request that leads to the confirmed state; empty: none is needed
        self._unconfirmed: list[Message] = []
        self._restored: Message | None = None

    def restore(self) -> list[Message]:
        if self._confirmed:
            self._restored = self._confirmed[0]
        self._unconfirmed[:0] = self._confirmed
        self._confirmed = []
        return list(self._unconfirmed)

    def names(self) -> Collection[str]:
        return ()

    def query(self) -> dict[str, str] | None:
        state = self._confirmed
        for request in self._unconfirmed:
            state = self._applied(state, request)
        lists = self._lists(state)
        # The server splits the lists at commas, and proxies limit the length of a URL.
        if any("," in name for names in lists.values() for name in names):
            return None
        query = {key: ",".join(names) for key, names in lists.items() if names}
        return query if sum(map(len, query.values())) <= MOST_QUERY_CHARACTERS else None

    def is_covered(self, request: Message, restored: Message) -> bool:
        return request is restored

    def was_confirmed(self, request: Message) -> bool:
        return request is self._restored

    def confirmed(self, request: Message) -> None:
        if not any(each is request for each in self._unconfirmed):
            return
        while True:  # the server answers in order: whatever was sent before has had its effect too
            first = self._unconfirmed.pop(0)
            self._confirmed = self._applied(self._confirmed, first)
            if first is request:
                return

    def refused(self, request: Message, *, is_final: bool) -> None:
        self._unconfirmed = [each for each in self._unconfirmed if each is not request]

    def left(self, message: Message) -> None:
        """Nothing to do: the server closes connections that lose access to their workspace or feed."""

    def _change(self, request: Message) -> list[Message]:
        self._unconfirmed.append(request)
        return [request]

    def _applied(self, state: list[Message], request: Message) -> list[Message]:
        raise NotImplementedError

    def _lists(self, state: list[Message]) -> dict[str, list[str]]:
        """The lists in a query that have the effect of `state`."""
        raise NotImplementedError


class EventSubscriptions(_FilterSubscriptions):
    """Event types of a workspace: all of them until the first change, then a list of included or excluded ones."""

    def add(self, names: Iterable[str]) -> list[Message]:
        return self._say("subscribe", names)

    def remove(self, names: Iterable[str]) -> list[Message]:
        return self._say("unsubscribe", names)

    def _say(self, word: str, names: Iterable[str]) -> list[Message]:
        given = sorted(set(names))
        return self._change({"type": word, "event_types": given}) if given else []

    def _applied(self, state: list[Message], request: Message) -> list[Message]:
        """The single request that has the effect of `state` followed by `request`, as the server applies them."""
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

    def _lists(self, state: list[Message]) -> dict[str, list[str]]:
        if not state:
            return {}
        key = "event_types" if state[0]["type"] == "subscribe" else "except_event_types"
        return {key: state[0]["event_types"]}


def _filter_of(state: list[Message]) -> tuple[set[str], bool]:
    """The event types in `state`, and whether they are excluded."""
    if not state:
        return set(), True
    names, excludes = set(state[0]["event_types"]), state[0]["type"] == "unsubscribe"
    return (set(), False) if EVERYTHING in names else (names, excludes)


class JobSubscriptions(_FilterSubscriptions):
    """Job ids and statuses. Each request replaces the whole filter; without one the client hears every job."""

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

    def _lists(self, state: list[Message]) -> dict[str, list[str]]:
        return {key: state[0][key] for key in ("job_ids", "statuses")} if state else {}
