"""The parts of the console that need no page: the ring of messages, its filters, and the reading of metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tests.node_packages import run_module


def printed(source: str, folder: Path, given: str = "") -> Any:
    return json.loads(run_module(source, folder, given=given))


def test_the_ring_keeps_the_newest_and_a_copy_stands_still(tmp_path: Path) -> None:
    source = """
    import { Ring, Selection } from "./console/ring.js";
    const ring = new Ring(4);
    for (let number = 0; number < 10; number++) ring.push(number);
    const copy = ring.copy();
    ring.push(10);
    console.log(JSON.stringify([new Selection(ring).slice(0), new Selection(copy).slice(0), new Selection(ring).gone]));
    """
    assert printed(source, tmp_path) == [[7, 8, 9, 10], [6, 7, 8, 9], 7]


def test_a_filter_follows_the_ring_as_it_turns(tmp_path: Path) -> None:
    """Compares with the plain way: filter all lines of the ring each time."""
    source = """
    import { Ring, Selection } from "./console/ring.js";
    const ring = new Ring(5000);
    const isWanted = (number) => number % 3 === 0;
    const selection = new Selection(ring, isWanted);
    const seen = [];
    let pushed = 0;
    for (const step of [1, 10, 4988, 1, 1, 1, 7000, 20000, 3]) {
      const [shown, gone] = [selection.slice(0), selection.gone];
      for (let count = 0; count < step; count++) ring.push(pushed++);
      selection.update();
      const plain = new Selection(ring).slice(0).filter(isWanted);
      const isSame = JSON.stringify(selection.slice(0)) === JSON.stringify(plain) && selection.length === plain.length;
      const lost = shown.filter((number) => number < ring.first).length;
      seen.push(isSame && selection.gone === gone + lost);
    }
    console.log(JSON.stringify(seen));
    """
    assert printed(source, tmp_path) == [True] * 9


def test_a_search_looks_at_text_and_kind(tmp_path: Path) -> None:
    source = """
    import { testFor } from "./console/ring.js";
    const all = ["delivery", "sent"];
    const entries = [{ kind: "delivery", text: "Hello" }, { kind: "sent", text: "hello" }, { kind: "sent", text: "x" }];
    const found = (text, kinds) => entries.map(testFor(text, new Set(kinds), all) ?? (() => true));
    console.log(JSON.stringify([found(" HELLO ", all), found("", ["sent"]), found("", all), found("hello", [])]));
    """
    yes, no = True, False
    assert printed(source, tmp_path) == [[yes, yes, no], [no, yes, yes], [yes, yes, yes], [no, no, no]]


def test_metrics_are_read_as_prometheus_writes_them(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    connections = Gauge("fastws_connections", "Open", ["dialect", "codec"], registry=registry)
    connections.labels("channels", "json").set(3)
    connections.labels('od"d\\', "a\nb").set(4)
    Counter("fastws_deliveries", "Handed", registry=registry).inc(1e9 + 1)
    lag = Histogram("fastws_loop_lag_seconds", "Lag", buckets=(0.001, 0.01, 1), registry=registry)
    for seconds in (0.0005, 0.002, 0.003, 5):
        lag.observe(seconds)
    source = """
    import { parse, quantile, sum } from "./console/exposition.js";
    const chunks = [];
    for await (const chunk of process.stdin) chunks.push(chunk);
    const samples = parse(Buffer.concat(chunks).toString());
    const shown = (value) => (Number.isFinite(value) ? value : String(value));
    console.log(JSON.stringify([
      sum(samples, "fastws_connections"), sum(samples, "fastws_deliveries_total"), shown(sum(samples, "nothing")),
      quantile(null, samples, "fastws_loop_lag_seconds", 0.5),
      shown(quantile(null, samples, "fastws_loop_lag_seconds", 1)),
      quantile(samples, samples, "fastws_loop_lag_seconds", 0.5),
    ]));
    """
    text = generate_latest(registry).decode()
    assert printed(source, tmp_path, text) == [7, 1e9 + 1, "NaN", 0.01, "Infinity", None]


def test_a_rate_is_per_second_and_not_negative_after_a_restart(tmp_path: Path) -> None:
    source = """
    import { Rate } from "./console/exposition.js";
    const rate = new Rate();
    const scrapes = [[100, 0], [150, 2000], [150, 3000], [10, 4000], [20, 4500]];
    console.log(JSON.stringify(scrapes.map(([value, at]) => rate.next(value, at))));
    """
    assert printed(source, tmp_path) == [None, 25, 0, 0, 20]


def test_scales_of_charts_are_round(tmp_path: Path) -> None:
    source = """
    import { roundUp } from "./console/charts.js";
    console.log(JSON.stringify([0, 0.004, 0.5, 1, 3, 20, 21, 99, 5001].map(roundUp)));
    """
    assert printed(source, tmp_path) == [1, 0.01, 1, 1, 5, 20, 50, 100, 10000]
