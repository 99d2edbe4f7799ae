"""A publication: one thing said on one channel, on its way to every subscriber."""

from __future__ import annotations

from collections.abc import Mapping

from fastws.vocabulary.fast_dataclass import frozen

NOBODY: frozenset[str] = frozenset()


@frozen
class Publication:
    """What is said on a channel. `data` is any JSON or msgpack value, or an `Encoded` body not yet decoded.

    `type` is the kind a rooms client reads, `sender` the connection id of the client that said it,
    `timestamp` ISO 8601 text or seconds since the epoch, `seq` the number within its feed, `key` what the
    `conflate` policy keeps the latest of (default: the event), `exclude` the connection ids that must not
    hear it, `attributes` what a feed knows beside the data (jobs: `job_id`, `status`).
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


@frozen
class Encoded:
    """A value still in the bytes of a codec (`codec` is "json" or "msgpack"), so that it can be passed on."""

    codec: str
    body: bytes
