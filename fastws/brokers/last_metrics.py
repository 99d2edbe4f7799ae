"""The last `metrics_update` of each workspace and metric type, for `request_metrics` (spec 3.3)."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Final

from fastws.brokers.envelope import encode_body
from fastws.codec.registry import decoded
from fastws.errors import FastWSError
from fastws.vocabulary.publication import Encoded, Publication

METRICS_UPDATE: Final = "metrics_update"
DEFAULT_TYPE: Final = "default"
MAX_KEPT: Final = 10_000
MAX_BYTES: Final = 67_108_864


def is_kept(publication: Publication, workspaces: re.Pattern[str]) -> bool:
    """Whether `publication` is a `metrics_update` by a backend, on a channel that matches `workspaces`.

    Those of clients are delivered like any event but not kept: a client must not set the metrics of a workspace or
    fill the memory of the server.
    """
    return (
        publication.event == METRICS_UPDATE
        and publication.sender is None
        and workspaces.fullmatch(publication.channel) is not None
    )


class LastMetrics:
    """The last metrics in the memory of one process, for the most recent pairs of channel and type.

    Keeps at most MAX_KEPT pairs, and MAX_BYTES of them, as encoded.
    """

    __slots__ = ("_bytes", "_kept")

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Encoded] = OrderedDict()
        self._bytes = 0

    def note(self, publication: Publication) -> None:
        """Store the data of a `metrics_update`.

        Other publications, and data that is not an object or cannot be encoded, are ignored.
        """
        kept = encoded_metrics(publication)
        if kept is None:
            return
        metric_type, body = kept
        key = (publication.channel, metric_type)
        before = self._kept.pop(key, None)
        if before is not None:
            self._bytes -= _size(key, before)
        self._kept[key] = body
        self._bytes += _size(key, body)
        while len(self._kept) > MAX_KEPT or self._bytes > MAX_BYTES:
            self._bytes -= _size(*self._kept.popitem(last=False))

    def find(self, channel: str, metric_type: str) -> object:
        """Return the data of the last update of `metric_type` on `channel`, {} if there is none."""
        body = self._kept.get((channel, metric_type))
        return {} if body is None else decoded(body)


def _size(key: tuple[str, str], body: Encoded) -> int:
    return len(key[0]) + len(key[1]) + len(body.body)


def encoded_metrics(publication: Publication) -> tuple[str, Encoded] | None:
    """Return the `metric_type` of a `metrics_update` and its encoded data.

    Returns None for other publications, and for data that is not an object or cannot be encoded.
    """
    metric_type = metric_type_of(publication)
    try:
        return None if metric_type is None else (metric_type, encode_body(publication.data))
    except FastWSError:
        return None


def metric_type_of(publication: Publication) -> str | None:
    """Return the `metric_type` of a `metrics_update`, `default` if it has none.

    Returns None for other publications and for data that is not an object or cannot be decoded.
    """
    if publication.event != METRICS_UPDATE:
        return None
    try:
        data = decoded(publication.data)
    except FastWSError:
        return None
    if not isinstance(data, dict):
        return None
    metric_type = data.get("metric_type", DEFAULT_TYPE)
    return metric_type if isinstance(metric_type, str) else None
