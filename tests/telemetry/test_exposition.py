"""The exposition of one process: names, labels and values."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastws.access.hosts import AllowedHosts
from fastws.counters import Counters
from fastws.errors import Misdirected, NotFound
from fastws.hub.hub import Hub
from fastws.hub.roster import Roster
from fastws.telemetry.exposition import Exposition, OnHosts, not_on_this_port
from fastws.wire.request import Request
from fastws.wire.response import Response

REQUEST = Request("GET", "/metrics", "1.1", {})


@dataclass
class Broker:
    is_up: bool = True
    history: None = None
    nodes: tuple[()] = ()


async def exposition(counters: Counters, broker: Broker) -> Exposition:
    loop = asyncio.get_running_loop()
    hub = Hub(counters=counters, schedule=loop.call_soon, schedule_later=loop.call_later)
    return Exposition(counters, hub, Roster(), broker)


def samples(exposition: Exposition) -> dict[str, float]:
    """Samples by name and labels."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(exposition.render().decode())
        for sample in family.samples
    }


async def test_counters_are_read_at_the_time_of_the_scrape() -> None:
    counters = Counters()
    shown = await exposition(counters, Broker())
    assert samples(shown)["fastws_deliveries_total"] == 0
    counters.deliveries += 3
    counters.closed[1006, "lost"] += 2
    counters.received["channels"] += 1
    found = samples(shown)
    assert found["fastws_deliveries_total"] == 3
    assert found["fastws_connections_closed_total 1006 lost"] == 2
    assert found["fastws_messages_received_total channels"] == 1


async def test_buckets_of_a_histogram_are_cumulative() -> None:
    counters = Counters()
    for seconds in (0.0004, 0.002, 99.0):
        counters.loop_lag.observe(seconds)
    found = samples(await exposition(counters, Broker()))
    name = "fastws_loop_lag_seconds_bucket"
    assert [found[f"{name} {bound}"] for bound in ("0.0005", "0.001", "0.0025", "10.0", "+Inf")] == [1, 1, 2, 2, 3]
    assert found["fastws_loop_lag_seconds_count"] == 3
    assert found["fastws_loop_lag_seconds_sum"] == pytest.approx(99.0024)


@pytest.mark.parametrize("is_up", [True, False])
async def test_the_state_of_the_broker_is_0_or_1(is_up: bool) -> None:
    assert samples(await exposition(Counters(), Broker(is_up)))["fastws_broker_up"] == int(is_up)


async def test_every_metric_has_a_help_text_that_begins_with_a_capital_or_a_digit() -> None:
    text = (await exposition(Counters(), Broker())).render().decode()
    helps = [line.split(" ", 3)[3] for line in text.splitlines() if line.startswith("# HELP fastws_")]
    assert len(helps) >= 20
    assert [words for words in helps if not (words[0].isupper() or words[0].isdigit()) or words.endswith(".")] == []


async def test_the_process_itself_is_among_the_metrics() -> None:
    response = (await exposition(Counters(), Broker()))(None, REQUEST)
    assert response.status == 200
    assert b"\nprocess_resident_memory_bytes " in response.body
    assert dict(response.headers)["Content-Type"].startswith("text/plain; version=0.0.4")


def test_with_a_metrics_address_the_public_one_has_none() -> None:
    with pytest.raises(NotFound, match="metrics_address"):
        not_on_this_port(None, REQUEST)


async def test_metrics_for_some_hosts_are_refused_to_others() -> None:
    shown = OnHosts(await exposition(Counters(), Broker()), AllowedHosts((), allows_loopback=True))
    with pytest.raises(Misdirected, match="host not allowed"):
        shown(None, Request("GET", "/metrics", "1.1", {"host": "rebound.example:9100"}))
    response = shown(None, Request("GET", "/metrics", "1.1", {"host": "127.0.0.1:9100"}))
    assert isinstance(response, Response)
    assert response.status == 200
