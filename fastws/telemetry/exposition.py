"""/metrics: the counters in Prometheus's text format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fastws.counters import Histogram
from fastws.endpoints.application import Application
from fastws.errors import NotFound
from fastws.wire.request import Request
from fastws.wire.response import Response

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

# name, meaning, labels, attribute of Counters
_LABELLED: Final = (
    ("fastws_connections_opened", "Upgrades that became connections", ("dialect",), "opened"),
    (
        "fastws_connections_closed",
        "Connections that ended, by close code and reason",
        ("code", "reason"),
        "closed",
    ),
    ("fastws_handshakes_refused", "Upgrades and requests refused", ("status", "reason"), "refused"),
    ("fastws_messages_received", "Messages from clients", ("dialect",), "received"),
    ("fastws_publications", "Publications accepted, by where they came from", ("source",), "publications"),
    ("fastws_slow_consumers", "Clients found slower than their queue allows", ("policy",), "slow_consumers"),
    ("fastws_dropped_messages", "Messages not delivered, by reason", ("reason",), "dropped"),
    ("fastws_rate_limited", "Messages and requests over a rate", ("kind",), "rate_limited"),
    ("fastws_feed_rejected", "Payloads of a feed that were no such message", ("feed",), "feed_rejected"),
    (
        "fastws_hook_calls",
        "Events for the application's hook: done, refused, failed or dropped",
        ("route", "outcome"),
        "hook_calls",
    ),
)
_PLAIN: Final = (
    ("fastws_deliveries", "Messages handed to clients", "deliveries"),
    ("fastws_delivered_bytes", "Bytes of frames handed to clients", "delivered_bytes"),
    ("fastws_broker_reconnects", "Times the broker's connection was made anew", "broker_reconnects"),
)


class ServerCollector(Collector):
    """Reads the plain integers of one process when it is asked to."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def collect(self) -> Iterator[Metric]:
        counters = self._application.counters
        for name, meaning, labels, attribute in _LABELLED:
            family = CounterMetricFamily(name, meaning, labels=labels)
            for key, value in sorted(getattr(counters, attribute).items(), key=str):
                family.add_metric([str(part) for part in (key if isinstance(key, tuple) else (key,))], value)
            yield family
        for name, meaning, attribute in _PLAIN:
            yield CounterMetricFamily(name, meaning, value=getattr(counters, attribute))
        yield _histogram("fastws_loop_lag_seconds", "How late the event loop was", counters.loop_lag)
        yield _histogram("fastws_broker_lag_seconds", "How long a message to ourselves took", counters.broker_lag)
        yield from self._gauges()

    def _gauges(self) -> Iterator[Metric]:
        application = self._application
        connections = GaugeMetricFamily("fastws_connections", "Open connections", labels=("dialect", "codec"))
        for key, count in sorted(_kinds(application).items()):
            connections.add_metric(list(key), count)
        yield connections
        messages, size = _waiting(application)
        hub = application.hub
        for name, meaning, value in (
            ("fastws_channels", "Channels with a subscriber in this process", len(hub.channels)),
            ("fastws_subscriptions", "Subscriptions in this process", hub.subscriptions),
            ("fastws_queue_messages", "Messages that wait for clients to read", messages),
            (
                "fastws_queue_bytes",
                "Bytes that wait for clients to read (shared chunks counted for each)",
                size,
            ),
            (
                "fastws_broker_up",
                "Whether what is published comes back",
                int(application.status.is_broker_up),
            ),
        ):
            yield GaugeMetricFamily(name, meaning, value=value)


def _kinds(application: Application) -> Mapping[tuple[str, str], int]:
    return Counter((client.dialect_name, client.codec_name) for client in application.roster)


def _waiting(application: Application) -> tuple[int, int]:
    messages = size = 0
    for client in application.roster:
        waiting = client.waiting
        if waiting is not None:
            messages += waiting[0]
            size += waiting[1]
    return messages, size


def _histogram(name: str, meaning: str, histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(name, meaning)
    buckets, running = [], 0
    bounds: Iterable[str] = (*map(str, histogram.BOUNDS), "+Inf")
    for bound, count in zip(bounds, histogram.counts, strict=True):
        running += count
        buckets.append((bound, running))
    family.add_metric([], buckets, histogram.total_seconds)
    return family


class Exposition:
    """Renders everything for a scrape."""

    def __init__(self, application: Application) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(ServerCollector(application))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def render(self) -> bytes:
        """The text of one scrape. Cost: some ms with 20,000 connections."""
        return generate_latest(self._registry)

    def __call__(self, application: Application, request: Request, **_: str) -> Response:
        """GET /metrics."""
        return Response(200, self.render(), (("Content-Type", CONTENT_TYPE),))


def not_on_this_port(application: Application, request: Request, **_: str) -> Response:
    """GET /metrics at the public address, where the setting `metrics_address` names another."""
    raise NotFound("metrics are served at an address of their own")
