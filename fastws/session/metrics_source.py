"""The data for `request_metrics`: the server's own, the application's, or the last published update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from fastws.callouts.metrics_hook import MetricsHook
from fastws.hub.hub import Hub

CONNECTIONS: Final = "connections"


class MetricsBroker(Protocol):
    """The part of a broker that metrics need."""

    def remote_count(self, channel: str) -> int:
        """Number of subscribers of `channel` on other nodes."""
        ...

    def find_metrics(self, channel: str, metric_type: str, answer: Callable[[object], None]) -> None:
        """Call `answer` with the data of the last `metrics_update` of this type, or with a FastWSError."""
        ...


class MetricsSource:
    """Finds the metrics of a workspace."""

    __slots__ = ("_broker", "_hook", "_hub")

    def __init__(self, hub: Hub, broker: MetricsBroker, hook: MetricsHook | None) -> None:
        self._hub = hub
        self._broker = broker
        self._hook = hook

    def find(self, channel: str, metric_type: str, answer: Callable[[object], None]) -> None:
        """Call `answer` with the data of `metric_type` for the workspace of `channel`, or with a FastWSError."""
        if metric_type == CONNECTIONS:
            answer({"connections": self._hub.count(channel) + self._broker.remote_count(channel)})
        elif self._hook is not None:
            self._hook.ask(channel, metric_type, answer)
        else:
            self._broker.find_metrics(channel, metric_type, answer)
