"""The last `metrics_update` of each workspace and metric type, for `request_metrics` (spec 3.3)."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Final

from fastws.brokers.feed_forms import plain
from fastws.errors import FastWSError
from fastws.vocabulary.publication import Publication

METRICS_UPDATE: Final = "metrics_update"
DEFAULT_TYPE: Final = "default"
MAX_KEPT: Final = 10_000


def is_kept(publication: Publication, workspaces: re.Pattern[str]) -> bool:
    """Whether `publication` is a backend's `metrics_update` in one of the channels that `workspaces` matches.

    Clients' are passed on as any event, but not kept: nobody else's figures are theirs to say, nor memory theirs to
    fill.
    """
    return (
        publication.event == METRICS_UPDATE
        and publication.sender is None
        and workspaces.fullmatch(publication.channel) is not None
    )


class LastMetrics:
    """Those of this process, in memory: of the last MAX_KEPT pairs of channel and type."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], object] = OrderedDict()

    def note(self, publication: Publication) -> None:
        """Remember a `metrics_update`; anything else, and one whose data is no object, is left alone."""
        metric_type = metric_type_of(publication)
        if metric_type is None:
            return
        key = (publication.channel, metric_type)
        self._kept[key] = publication.data
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    def find(self, channel: str, metric_type: str) -> object:
        """The data of the last one of `metric_type` on `channel`; {} where there is none."""
        return self._kept.get((channel, metric_type), {})


def metric_type_of(publication: Publication) -> str | None:
    """The `metric_type` in the data of a `metrics_update`, `default` where it says none; None: no such update."""
    if publication.event != METRICS_UPDATE:
        return None
    try:
        data = plain(publication.data)
    except FastWSError:
        return None
    if not isinstance(data, dict):
        return None
    metric_type = data.get("metric_type", DEFAULT_TYPE)
    return metric_type if isinstance(metric_type, str) else None
