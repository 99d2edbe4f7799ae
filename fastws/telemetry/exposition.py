"""GET /metrics: counters and gauges of this process in the Prometheus text format."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence, Sized
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fastws.access.hosts import AllowedHosts
from fastws.counters import Counters, Histogram
from fastws.errors import Misdirected, NotFound
from fastws.hub.hub import Hub
from fastws.hub.roster import Roster
from fastws.telemetry.known_labels import KNOWN_LABELS
from fastws.wire.request import Request
from fastws.wire.response import Response

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

# Name, help text, labels, attribute of Counters.
_LABELLED: Final = (
    ("fastws_connections_opened", "Connections opened", ("dialect",), "opened"),
    (
        "fastws_connections_closed",
        "Connections closed, by close code and reason",
        ("code", "reason"),
        "closed",
    ),
    (
        "fastws_handshakes_refused",
        "Handshakes and unreadable requests refused, by HTTP status and reason",
        ("status", "reason"),
        "refused",
    ),
    ("fastws_requests_refused", "HTTP requests refused, by route and status", ("route", "status"), "requests_refused"),
    ("fastws_messages_received", "Messages received from clients", ("dialect",), "received"),
    ("fastws_publications", "Publications accepted, by source", ("source",), "publications"),
    ("fastws_recoveries", "Subscriptions with a position, by outcome", ("outcome",), "recoveries"),
    ("fastws_holes", "Missing publications noticed by their offset, by outcome", ("outcome",), "holes"),
    ("fastws_slow_consumers", "Client queues that overflowed, by slow_policy", ("policy",), "slow_consumers"),
    ("fastws_dropped_messages", "Messages dropped, by reason", ("reason",), "dropped"),
    ("fastws_rate_limited", "Messages and requests over a rate limit, by kind", ("kind",), "rate_limited"),
    ("fastws_feed_rejected", "Invalid payloads received on a Redis feed", ("feed",), "feed_rejected"),
    (
        "fastws_hook_calls",
        "Calls of the event hook, by outcome (done, refused, failed, dropped)",
        ("route", "outcome"),
        "hook_calls",
    ),
    ("fastws_pusher_client_events", "Client events of Pusher clients, by result", ("result",), "pusher_client_events"),
    (
        "fastws_pusher_subscriptions_refused",
        "Subscriptions of Pusher clients that were refused, by type",
        ("type",),
        "pusher_subscriptions_refused",
    ),
    (
        "fastws_pusher_requests",
        "Requests to the HTTP API of Pusher apps, by status",
        ("endpoint", "status"),
        "pusher_requests",
    ),
    (
        "fastws_pusher_webhooks",
        "Events of webhooks of Pusher apps, by result (sent, failed: one try, dropped)",
        ("event", "result"),
        "pusher_webhooks",
    ),
    (
        "fastws_webhooks",
        "Events of webhooks, by result (sent, failed: one try, dropped)",
        ("event", "result"),
        "webhooks",
    ),
)
_UNLABELLED: Final = (
    ("fastws_deliveries", "Messages delivered to clients", "deliveries"),
    ("fastws_delivered_bytes", "Bytes of frames delivered to clients", "delivered_bytes"),
    ("fastws_replayed_messages", "Messages of the past sent to new subscribers", "replayed_messages"),
    ("fastws_presence_updates", "Presence updates sent to the subscribers of a channel", "presence_updates"),
    ("fastws_broker_reconnects", "Reconnects to Redis", "broker_reconnects"),
    ("fastws_broker_failovers", "Changes of the primary that Redis Sentinel has named", "broker_failovers"),
    (
        "fastws_close_frames_undelivered",
        "Connections that were reset before the client had received their close frame",
        "undelivered_closes",
    ),
)


class HistoryState(Sized, Protocol):
    """The part of a history that is exposed: its length is the number of channels."""

    @property
    def bytes(self) -> int: ...


class NodeState(Protocol):
    """One Redis server. `str()` is its address, without credentials."""

    @property
    def is_up(self) -> bool: ...
    @property
    def lag_seconds(self) -> float: ...


class BrokerState(Protocol):
    """The part of a broker that is exposed as a metric."""

    @property
    def is_up(self) -> bool: ...
    @property
    def nodes(self) -> Sequence[NodeState]: ...
    @property
    def history(self) -> HistoryState | None: ...


class WebhookState(Protocol):
    """The part of the webhooks that is exposed."""

    def waiting(self, *, is_pusher: bool) -> int: ...


class ServerCollector(Collector):
    """Collects the metrics of one process at the time of a scrape."""

    def __init__(
        self, counters: Counters, hub: Hub, roster: Roster, broker: BrokerState, webhooks: WebhookState | None = None
    ) -> None:
        self._webhooks = webhooks
        self._counters = counters
        self._hub = hub
        self._roster = roster
        self._broker = broker

    def collect(self) -> Iterator[Metric]:
        counters = self._counters
        for name, help_text, labels, attribute in _LABELLED:
            family = CounterMetricFamily(name, help_text, labels=labels)
            values = dict.fromkeys(KNOWN_LABELS[attribute], 0) | getattr(counters, attribute)
            for key, value in sorted(values.items(), key=str):
                family.add_metric([str(part) for part in (key if isinstance(key, tuple) else (key,))], value)
            yield family
        for name, help_text, attribute in _UNLABELLED:
            yield CounterMetricFamily(name, help_text, value=getattr(counters, attribute))
        yield _histogram("fastws_loop_lag_seconds", "Delay of event loop callbacks", counters.loop_lag)
        yield _histogram("fastws_broker_lag_seconds", "Round-trip time of a message through Redis", counters.broker_lag)
        for name, is_pusher in (("fastws_webhook_queue", False), ("fastws_pusher_webhook_queue", True)):
            waiting = 0 if self._webhooks is None else self._webhooks.waiting(is_pusher=is_pusher)
            yield GaugeMetricFamily(name, "Events that wait for the URL of a webhook", value=waiting)
        apps = GaugeMetricFamily("fastws_pusher_connections", "Open connections of Pusher apps", labels=("app",))
        for (_, app), count in sorted(self._roster.realms.items()):
            apps.add_metric([app], count)
        yield apps
        yield from self._gauges()
        yield from _nodes(self._broker.nodes)

    def _gauges(self) -> Iterator[Metric]:
        connections = GaugeMetricFamily("fastws_connections", "Open connections", labels=("dialect", "codec"))
        for key, count in sorted(self._roster.kinds.items()):
            connections.add_metric(list(key), count)
        yield connections
        messages, size = _queued(self._roster)
        hub, history = self._hub, self._broker.history
        for name, help_text, value in (
            ("fastws_channels", "Channels with at least one subscriber", len(hub.channels)),
            ("fastws_subscriptions", "Subscriptions", hub.subscriptions),
            ("fastws_history_channels", "Channels with a numbering", 0 if history is None else len(history)),
            ("fastws_history_bytes", "Memory that histories take", 0 if history is None else history.bytes),
            (
                "fastws_presence_members",
                "Connections in channels with presence",
                0 if hub.presence is None else hub.presence.members,
            ),
            ("fastws_queue_messages", "Messages queued for slow clients", messages),
            (
                "fastws_queue_bytes",
                "Bytes queued for slow clients (shared chunks counted per client)",
                size,
            ),
            (
                "fastws_broker_up",
                "1 if messages published by this process come back from the broker, else 0",
                int(self._broker.is_up),
            ),
        ):
            yield GaugeMetricFamily(name, help_text, value=value)


def _nodes(nodes: Sequence[NodeState]) -> Iterator[Metric]:
    count = GaugeMetricFamily("fastws_broker_nodes", "Redis servers, by state (up, down)", labels=("state",))
    up = sum(node.is_up for node in nodes)
    count.add_metric(["up"], up)
    count.add_metric(["down"], len(nodes) - up)
    yield count
    is_up = GaugeMetricFamily("fastws_broker_node_up", "1 if messages pass through this Redis server", labels=("node",))
    lag = GaugeMetricFamily(
        "fastws_broker_node_lag_seconds", "Last round-trip time through this Redis server", labels=("node",)
    )
    for node in nodes:
        is_up.add_metric([str(node)], int(node.is_up))
        lag.add_metric([str(node)], node.lag_seconds)
    yield is_up
    yield lag


def _queued(roster: Roster) -> tuple[int, int]:
    messages = size = 0
    for client in roster.blocked:
        waiting = client.waiting
        if waiting is not None:
            messages += waiting[0]
            size += waiting[1]
    return messages, size


def _histogram(name: str, help_text: str, histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(name, help_text)
    buckets, running = [], 0
    bounds: Iterable[str] = (*map(str, histogram.BOUNDS), "+Inf")
    for bound, count in zip(bounds, histogram.counts, strict=True):
        running += count
        buckets.append((bound, running))
    family.add_metric([], buckets, histogram.total_seconds)
    return family


class Exposition:
    """Renders the metrics of this process."""

    def __init__(
        self, counters: Counters, hub: Hub, roster: Roster, broker: BrokerState, webhooks: WebhookState | None = None
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(ServerCollector(counters, hub, roster, broker, webhooks))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def render(self) -> bytes:
        """Return the exposition. Of the clients, it only looks at those whose socket is blocked."""
        return generate_latest(self._registry)

    def __call__(self, application: object, request: Request, **_: str) -> Response:
        """GET /metrics."""
        return Response(200, self.render(), (("Content-Type", CONTENT_TYPE),))


class OnHosts:
    """GET /metrics on `metrics_address`, for requests whose Host is one of `hosts` (against DNS rebinding)."""

    def __init__(self, metrics: Callable[..., Response | Awaitable[Response]], hosts: AllowedHosts) -> None:
        self._metrics = metrics
        self._hosts = hosts

    def __call__(self, application: object, request: Request, **parameters: str) -> Response | Awaitable[Response]:
        if not self._hosts.allows(request.header("host")):
            raise Misdirected("host not allowed; metrics_address is on loopback, for names of this machine only")
        return self._metrics(application, request, **parameters)


def not_on_this_port(application: object, request: Request, **_: str) -> Response:
    """Answer GET /metrics on the public address if `metrics_address` is set. Raises NotFound."""
    raise NotFound("metrics are served on metrics_address, not on this port")
