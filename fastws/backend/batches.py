"""Batches of messages for `POST /broadcast`: many messages per request; a retry sends only the failed ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from fastws.backend.message import Message, encode
from fastws.backend.publishing_methods import Outcome
from fastws.errors import FastWSError

MAX_MESSAGES: Final = 1000  # the server's limit for one request
MAX_BYTES: Final = 524_288  # half of the server's default `max_message_bytes`


class Batch:
    """The messages of one request and their outcomes. `is_done` once every message has an outcome."""

    def __init__(self, items: Sequence[bytes]) -> None:
        self._items = items
        self._outcomes: dict[int, Outcome] = {}
        self._pending = list(range(len(items)))

    @property
    def is_done(self) -> bool:
        return not self._pending

    @property
    def outcomes(self) -> list[Outcome]:
        return [self._outcomes[position] for position in range(len(self._items))]

    def body(self) -> bytes:
        """Return the request body with all messages that have no outcome yet."""
        if len(self._items) == 1:
            return self._items[0]
        return b'{"messages":[' + b",".join(self._items[position] for position in self._pending) + b"]}"

    def record(self, answers: Sequence[Outcome | FastWSError]) -> None:
        """Store the answers to `body()`, in the same order. Raises the first error among them."""
        if len(answers) != len(self._pending):
            raise FastWSError(f"the server returned {len(answers)} results for {len(self._pending)} messages")
        answered = list(zip(self._pending, answers, strict=True))
        self._outcomes |= {position: answer for position, answer in answered if isinstance(answer, dict)}
        self._pending = [position for position in self._pending if position not in self._outcomes]
        for answer in answers:
            if isinstance(answer, FastWSError):
                raise answer


def batches(messages: Sequence[Message]) -> Iterator[Batch]:
    """Split `messages` into batches, in order, of at most MAX_MESSAGES messages and MAX_BYTES bytes.

    A message larger than MAX_BYTES gets a batch of its own; the server decides whether to accept it.
    """
    waiting: list[bytes] = []
    size = 0
    # Encode everything before sending anything: a bad message must not leave half of the others published.
    for item in [encode(message.body()) for message in messages]:
        if waiting and (len(waiting) == MAX_MESSAGES or size + len(item) > MAX_BYTES):
            yield Batch(waiting)
            waiting, size = [], 0
        waiting.append(item)
        size += len(item) + 1
    if waiting:
        yield Batch(waiting)
