"""A publication: a message published to a channel, for delivery to all subscribers."""

from __future__ import annotations

from collections.abc import Mapping

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


@fast_dataclass
class Encoded:
    """A value that is still encoded. `codec` is "json" or "msgpack"; clients of that codec get the bytes unchanged."""

    codec: str
    body: bytes
