"""Dashboard and alerts: every name in them is one that /metrics has, and every metric of ours is looked at."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from fastws.cli.deploy_files import content
from tests.deploy.conftest import Scrape

# What is promised to whoever scrapes: name and labels.
PROMISED = {
    "fastws_connections": ("dialect", "codec"),
    "fastws_connections_opened_total": ("dialect",),
    "fastws_connections_closed_total": ("code", "reason"),
    "fastws_requests_refused_total": ("route", "status"),
    "fastws_handshakes_refused_total": ("status", "reason"),
    "fastws_channels": (),
    "fastws_subscriptions": (),
    "fastws_messages_received_total": ("dialect",),
    "fastws_publications_total": ("source",),
    "fastws_deliveries_total": (),
    "fastws_delivered_bytes_total": (),
    "fastws_queue_messages": (),
    "fastws_queue_bytes": (),
    "fastws_slow_consumers_total": ("policy",),
    "fastws_dropped_messages_total": ("reason",),
    "fastws_rate_limited_total": ("kind",),
    "fastws_broker_up": (),
    "fastws_broker_reconnects_total": (),
    "fastws_broker_failovers_total": (),
    "fastws_broker_nodes": ("state",),
    "fastws_broker_node_up": ("node",),
    "fastws_broker_node_lag_seconds": ("node",),
    "fastws_close_frames_undelivered_total": (),
    "fastws_broker_lag_seconds": (),
    "fastws_loop_lag_seconds": (),
    "fastws_feed_rejected_total": ("feed",),
    "fastws_hook_calls_total": ("route", "outcome"),
    "fastws_webhooks_total": ("event", "result"),
    "fastws_webhook_queue": (),
    "fastws_pusher_connections": ("app",),
    "fastws_pusher_client_events_total": ("result",),
    "fastws_pusher_subscriptions_refused_total": ("type",),
    "fastws_pusher_webhooks_total": ("event", "result"),
    "fastws_pusher_webhook_queue": (),
    "fastws_pusher_requests_total": ("endpoint", "status"),
    "fastws_history_channels": (),
    "fastws_history_bytes": (),
    "fastws_replayed_messages_total": (),
    "fastws_recoveries_total": ("outcome",),
    "fastws_holes_total": ("outcome",),
    "fastws_presence_members": (),
    "fastws_presence_updates_total": (),
}
HISTOGRAMS = ("fastws_broker_lag_seconds", "fastws_loop_lag_seconds")
OF_THE_PROCESS = ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "process_max_fds")
# Prometheus's own, of every target.
OF_PROMETHEUS = {"up"}
LABELS_OF_PROMETHEUS = {"job", "instance", "le"}
WORDS = {"sum", "by", "rate", "increase", "histogram_quantile", "min", "max", "changes", "offset", "and", "or"}


def expressions() -> list[str]:
    """Every PromQL expression of both files."""
    rules = [rule["expr"] for group in alerts()["groups"] for rule in group["rules"]]
    queries = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    variables = [v["query"]["query"] for v in dashboard()["templating"]["list"] if v["type"] == "query"]
    return rules + queries + [query.removeprefix("label_values(").partition(",")[0] for query in variables]


def alerts() -> Any:
    return yaml.safe_load(content("prometheus-alerts.yml"))


def dashboard() -> Any:
    return json.loads(content("grafana-dashboard.json"))


def metrics_in(expression: str) -> dict[str, set[str]]:
    """The metrics of an expression, each with the labels that select it."""
    found = {}
    groupless = re.sub(r"\bby \([^)]*\)", "", expression)
    for name, selector in re.findall(r"\b([a-z_]\w*)(\{[^}]*\})?(?![\w(\"])", re.sub(r'"[^"]*"', '""', groupless)):
        if (name not in WORDS and not re.fullmatch(r"[smhd]", name) and "_" in name) or name in OF_PROMETHEUS:
            found.setdefault(name, set()).update(re.findall(r"(\w+)\s*=", selector))
    return found


def grouping_labels(expression: str) -> set[str]:
    return {label.strip() for names in re.findall(r"\bby \(([^)]*)\)", expression) for label in names.split(",")}


def test_every_metric_that_is_promised_is_there_with_help_and_labels(scrape: Scrape) -> None:
    assert {name for name in scrape.help if name.startswith("fastws_")} == set(PROMISED)
    for name, labels in PROMISED.items():
        assert scrape.help[name], name
        assert scrape.labels.get(name, set(labels)) >= set(labels), name
    for name in OF_THE_PROCESS:
        assert name in scrape.names
    assert scrape.types["fastws_connections"] == "gauge"
    assert all(scrape.types[name] == "histogram" for name in HISTOGRAMS)
    assert all(scrape.types[name] == "counter" for name in PROMISED if name.endswith("_total"))


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_names_only_metrics_that_are_there(scrape: Scrape, expression: str) -> None:
    found = metrics_in(expression.replace("[$__rate_interval]", "[5m]"))
    assert found, expression
    for name in found:
        assert name in scrape.names or name in OF_PROMETHEUS, name


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_names_only_labels_that_are_there(expression: str) -> None:
    found = metrics_in(expression)
    known = LABELS_OF_PROMETHEUS.union(*(PROMISED.get(re.sub(r"_(bucket|sum|count)$", "", name), ()) for name in found))
    selected: set[str] = set().union(*found.values())
    assert selected | grouping_labels(expression) <= known


def test_the_dashboard_shows_every_metric_of_ours(scrape: Scrape) -> None:
    targets = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    shown = {name for expression in targets for name in metrics_in(expression)}
    ours = {name for name in scrape.help if name.startswith("fastws_")}
    assert {name for name in ours if not {name, f"{name}_bucket"} & shown} == set()


def test_the_dashboards_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_alert_says_what_is_wrong_what_to_do_and_how_bad_it_is() -> None:
    rules = [rule for group in alerts()["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert len(rule["annotations"]["description"]) > 20
        # A label in a summary is one that the expression leaves.
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            grouped = grouping_labels(rule["expr"])
            assert not grouped or label in grouped, rule["alert"]


def test_log_lines_that_alerts_send_people_to_are_written_somewhere(sources: str) -> None:
    for rule in (rule for group in alerts()["groups"] for rule in group["rules"]):
        for line in re.findall(r"`([a-z: ]+ [a-z: ]+)`", rule["annotations"]["description"]):
            assert f'"{line}' in sources, line
