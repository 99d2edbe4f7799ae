"""Messages on their way to `POST /broadcast`: few requests for many, and only what is left to send on a retry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from fastws.backend.calls import Outcome
from fastws.backend.message import Message, encode
from fastws.errors import FastWSError

MOST_MESSAGES: Final = 1000  # the server takes no more at once
MOST_BYTES: Final = 524_288  # half of the server's default `max_message_bytes`


class Parcel:
    """What travels in one request. Filled with outcomes answer by answer until it `is_done`."""

    def __init__(self, items: Sequence[bytes]) -> None:
        self._items = items
        self._outcomes: dict[int, Outcome] = {}
        self._left = list(range(len(items)))

    @property
    def is_done(self) -> bool:
        return not self._left

    @property
    def outcomes(self) -> list[Outcome]:
        return [self._outcomes[position] for position in range(len(self._items))]

    def body(self) -> bytes:
        """The request for the messages that have no outcome yet."""
        if len(self._items) == 1:
            return self._items[0]
        return b'{"messages":[' + b",".join(self._items[position] for position in self._left) + b"]}"

    def take(self, answers: Sequence[Outcome | FastWSError]) -> None:
        """Note the answers to `body()`, in its order. Raises the first that is an error."""
        if len(answers) != len(self._left):
            raise FastWSError(f"{len(self._left)} messages were answered with {len(answers)} outcomes")
        answered = list(zip(self._left, answers, strict=True))
        self._outcomes |= {position: answer for position, answer in answered if isinstance(answer, dict)}
        self._left = [position for position in self._left if position not in self._outcomes]
        for answer in answers:
            if isinstance(answer, FastWSError):
                raise answer


def parcels(messages: Sequence[Message]) -> Iterator[Parcel]:
    """The parcels that carry `messages` in order, each within the two bounds above.

    A message that is larger than the bound by itself travels alone: the server says whether it takes it.
    """
    waiting: list[bytes] = []
    size = 0
    # All are encoded before the first is sent: one that cannot be said must not leave half of them published.
    for item in [encode(message.body()) for message in messages]:
        if waiting and (len(waiting) == MOST_MESSAGES or size + len(item) > MOST_BYTES):
            yield Parcel(waiting)
            waiting, size = [], 0
        waiting.append(item)
        size += len(item) + 1
    if waiting:
        yield Parcel(waiting)
