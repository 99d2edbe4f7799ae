"""Admin events: to channel `admin` and to registered connections, each connection once."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Final

from fastws.backend.calls import Outcome
from fastws.backend.events import ADMIN_CHANNEL, ADMIN_EVENT
from fastws.backend.message import Message

MOST_EXCLUDED: Final = 1000  # the server takes no more in one `exclude`


class RegisteredConnections:
    """The connection ids a backend was told of, in memory; may be used from any thread."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}
        self._lock = Lock()

    def add(self, connection_id: str) -> None:
        with self._lock:
            self._ids[connection_id] = None

    def forget(self, connection_ids: Sequence[str]) -> None:
        with self._lock:
            for connection_id in connection_ids:
                self._ids.pop(connection_id, None)

    def all(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._ids)


def admin_messages(data: object, registered: tuple[str, ...]) -> list[Message]:
    """The messages of one admin event: the channel without the registered, then each of these by its id.

    Of more registered than one `exclude` takes the oldest, if they are subscribed too, hear it twice.
    """
    excluded = registered[-MOST_EXCLUDED:]
    to_subscribers = Message(channel=ADMIN_CHANNEL, event=ADMIN_EVENT, data=data, exclude=excluded)
    return [
        to_subscribers,
        *(Message(connection_id=each, event=ADMIN_EVENT, data=data) for each in registered),
    ]


def tally(messages: Sequence[Message], outcomes: Sequence[Outcome]) -> tuple[Outcome, list[str]]:
    """The sum of `outcomes`, and the connection ids among `messages` that turned out to be gone.

    A connection that is gone counts as stale and not as failed too: a failure is one that may be tried again.
    """
    total = Outcome(sent=0, failed=0, stale=0)
    gone = []
    for message, outcome in zip(messages, outcomes, strict=True):
        total["sent"] += outcome["sent"]
        total["stale"] += outcome["stale"]
        total["failed"] += max(0, outcome["failed"] - outcome["stale"])
        if outcome["stale"] and message.connection_id is not None:
            gone.append(message.connection_id)
    return total, gone
