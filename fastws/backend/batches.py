"""Many messages as few bodies of `POST /broadcast`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastws.backend.message import Message, encode

MOST_MESSAGES = 1000
MOST_BYTES = 524_288  # half of the server's default `max_message_bytes`


def batch_bodies(messages: Sequence[Message]) -> Iterator[bytes]:
    """The bodies `{"messages":[…]}` that carry `messages` in order, each within the two bounds above.

    A message that is larger than the bound by itself travels alone: the server says whether it takes it.
    """
    waiting: list[bytes] = []
    size = 0
    # All are encoded before the first is sent: one that cannot be said must not leave half of them published.
    for item in [encode(message.body()) for message in messages]:
        if waiting and (len(waiting) == MOST_MESSAGES or size + len(item) > MOST_BYTES):
            yield _body(waiting)
            waiting, size = [], 0
        waiting.append(item)
        size += len(item) + 1
    if waiting:
        yield _body(waiting)


def _body(items: list[bytes]) -> bytes:
    return b'{"messages":[' + b",".join(items) + b"]}"
