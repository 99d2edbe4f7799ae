"""A publication: a message published to a channel, for delivery to all subscribers."""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern

from fastws.vocabulary.values import fast_dataclass

NOBODY: frozenset[str] = frozenset()


@fast_dataclass
class Publication:
    """A message published to a channel. `data` is any JSON or msgpack value, or an `Encoded` body not yet decoded.

    `type` is the message type for rooms clients, `sender` the connection id of the publishing client, `timestamp` ISO
    8601 text or seconds since the epoch, `seq` the sequence number within a feed, and `exclude` the connection ids
    that must not receive it. Of publications with the same `key` (default: the event) the `conflate` policy keeps only
    the latest. `attributes` are fields of a feed in addition to the data (jobs: `job_id`, `status`). `offset` is its
    number in the history of the channel; one that `is_ephemeral` is not kept there.
    """

    channel: str
    event: str
    data: object = None
    type: str | None = None
    sender: str | None = None
    timestamp: str | int | float | None = None
    priority: str | int | None = None
    seq: int | None = None
    key: str | None = None
    exclude: frozenset[str] = NOBODY
    attributes: Mapping[str, object] | None = None
    offset: int | None = None
    is_ephemeral: bool = False

    def numbered(self, body: object, offset: int, seq: int | None, timestamp: str | int | float | None) -> Publication:
        """Return it as the history keeps it; equal events share memory.

        Cost: 0.3 µs, where dataclasses.replace takes 2.6 µs.
        """
        return Publication(
            self.channel,
            intern(self.event),
            body,
            self.type,
            self.sender,
            timestamp,
            self.priority,
            seq,
            self.key,
            self.exclude,
            self.attributes,
            offset,
        )


@fast_dataclass
class Encoded:
    """A value that is still encoded. `codec` is "json" or "msgpack"; clients of that codec get the bytes unchanged."""

    codec: str
    body: bytes
