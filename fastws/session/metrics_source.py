"""What `request_metrics` is answered: the server's own figures, the application's, or the last update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from fastws.callouts.metrics_hook import MetricsHook
from fastws.hub.hub import Hub

CONNECTIONS: Final = "connections"


class MetricsBroker(Protocol):
    """What a broker knows of a workspace."""

    def remote_count(self, channel: str) -> int: ...
    def find_metrics(self, channel: str, metric_type: str, answer: Callable[[object], None]) -> None: ...


class MetricsSource:
    """Finds the figures of a workspace."""

    __slots__ = ("_broker", "_hook", "_hub")

    def __init__(self, hub: Hub, broker: MetricsBroker, hook: MetricsHook | None) -> None:
        self._hub = hub
        self._broker = broker
        self._hook = hook

    def find(self, channel: str, metric_type: str, answer: Callable[[object], None]) -> None:
        """Call `answer` with the data of `metric_type` in the workspace of `channel`, or with a FastWSError."""
        if metric_type == CONNECTIONS:
            answer({"connections": self._hub.count(channel) + self._broker.remote_count(channel)})
        elif self._hook is not None:
            self._hook.ask(channel, metric_type, answer)
        else:
            self._broker.find_metrics(channel, metric_type, answer)
