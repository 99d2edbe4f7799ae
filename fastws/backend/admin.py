"""Admin events: sent to channel `admin` and to registered connections, once per connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastws.backend.events import ADMIN_CHANNEL, ADMIN_EVENT
from fastws.backend.fork_safe_lock import ForkSafeLock
from fastws.backend.message import Message
from fastws.backend.publishing_methods import Outcome

MAX_EXCLUDED: Final = 1000  # the server's limit for one `exclude` list


class RegisteredConnections:
    """The registered connection ids, kept in memory. Thread-safe, also after a fork."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}
        self._lock = ForkSafeLock()

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

    def messages(self, data: object) -> list[Message]:
        """Build the messages of one admin event; see `admin_messages`."""
        return admin_messages(data, self.all())

    def record(self, messages: Sequence[Message], outcomes: Sequence[Outcome]) -> Outcome:
        """Return the sum of `outcomes`, and forget the connections that no longer exist."""
        total, gone = tally(messages, outcomes)
        self.forget(gone)
        return total


def admin_messages(data: object, registered: tuple[str, ...]) -> list[Message]:
    """Build the messages of one admin event.

    The first goes to the channel and excludes the registered connections; the others go to those connections, one
    each. With more than MAX_EXCLUDED registered connections, the oldest get the event twice if they are subscribed.
    """
    excluded = registered[-MAX_EXCLUDED:]
    to_subscribers = Message(channel=ADMIN_CHANNEL, event=ADMIN_EVENT, data=data, exclude=excluded)
    return [
        to_subscribers,
        *(Message(connection_id=each, event=ADMIN_EVENT, data=data) for each in registered),
    ]


def tally(messages: Sequence[Message], outcomes: Sequence[Outcome]) -> tuple[Outcome, list[str]]:
    """Return the sum of `outcomes` and the ids of the connections that no longer exist.

    A closed connection counts as stale but not as failed, because only failures can be retried.
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
