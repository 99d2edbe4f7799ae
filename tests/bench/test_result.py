"""The text of a result: what is mentioned, and when."""

from __future__ import annotations

from typing import Any

import pytest

from fastws.bench.result import Result


def _text(**fields: Any) -> str:
    return Result(
        **{
            "mode": "fan-out",
            "connections": 10,
            "ready": 10,
            "channels": 1,
            "rate": 50.0,
            "window": 64,
            "payload_bytes": 128,
            "processes": 1,
            "connect_seconds": 1.0,
            "connects_per_second": 10.0,
            **fields,
        }
    ).to_text()


@pytest.mark.parametrize(
    ("late_us", "words"),
    [
        (100.0, None),
        (101.0, "p99 includes up to 101 µs of this client's own delay"),
        (499.0, "p99 includes up to 499 µs of this client's own delay"),
        (500.0, "this client was the bottleneck: it sent late (p99 500 µs); use a lower --rate"),
    ],
)
def test_late_sending_is_mentioned_by_its_share_of_the_latency(late_us: float, words: str | None) -> None:
    text = _text(p99_us=1000.0, late_us_p99=late_us)
    assert ("\nnote " in text) is (words is not None)
    assert words is None or words in text


def test_run_without_latencies_has_no_note() -> None:
    assert "note" not in _text()


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"rate": 50.0}, None),
        ({"rate": 0.0}, "(with 64 outstanding, queueing included)"),
        ({"rate": 0.0, "mode": "echo"}, "(with 64 outstanding per connection, queueing included)"),
    ],
)
def test_latency_of_a_closed_loop_is_labelled(fields: dict[str, object], label: str | None) -> None:
    text = _text(**fields)
    assert ("queueing included" in text) is (label is not None)
    assert label is None or label in text


def test_client_cpu_is_left_out_where_it_was_not_measured() -> None:
    assert "client CPU" not in _text(mode="idle")
    assert "client CPU    25%, 50%" in _text(client_cpu=[0.25, 0.5])
