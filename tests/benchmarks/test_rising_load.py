"""Latency under a rising rate: a ramp of seconds, the knee, and the report."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from benchmarks.comparison.rising import Step

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "comparison"]:
        del sys.modules[name]


def _step(
    rate: float, *, keeps_up: bool, server: str = "fastws", client_cpu: float = 0.3, others_cpu: float = 0.0
) -> Step:
    from comparison.rising import Step as RisingStep

    return RisingStep(
        server=server,
        rate=rate,
        connections=1000,
        delivered_share=1.0 if keeps_up else 0.4,
        p50_us=900.0,
        p99_us=2000.0 if keeps_up else 2e6,
        max_us=3e6,
        server_cpu=0.5,
        client_cpu=client_cpu,
        others_cpu=others_cpu,
        sent_late_us=10.0,
        is_complete=True,
        keeps_up=keeps_up,
    )


def test_knee_is_the_last_rate_below_the_first_that_was_too_much() -> None:
    from comparison.rising import knee

    steps = [_step(100, keeps_up=True), _step(400, keeps_up=False), _step(200, keeps_up=True)]
    found = knee(steps, "fastws")
    assert found is not None
    assert found.rate == 200
    assert knee([_step(10, keeps_up=False), _step(20, keeps_up=True)], "fastws") is None
    assert knee(steps, "ws") is None


def test_next_rate_lies_between_the_last_good_and_the_first_bad_one() -> None:
    from comparison.rising import between

    assert between([_step(100, keeps_up=True), _step(400, keeps_up=False)]) == 200
    assert between([_step(100, keeps_up=True)]) is None
    assert between([_step(100, keeps_up=False)]) is None


def test_knee_that_the_client_may_have_set_is_a_lower_bound(tmp_path: Path) -> None:
    from comparison import rising_report
    from comparison.rising import RampPlan

    steps = [
        *(_step(100, keeps_up=True), _step(200, keeps_up=False)),
        *(_step(100, keeps_up=True, server="ws"), _step(200, keeps_up=False, server="ws", client_cpu=0.99)),
        _step(200, keeps_up=True, server="aiohttp"),
        _step(100, keeps_up=False, server="picows", others_cpu=0.5),
    ]
    rising_report.write(steps, {"fastws": "fastws 1", "ws": "ws 8", "aiohttp": "aiohttp 3"}, tmp_path, RampPlan())
    table = (tmp_path / "rising_load.md").read_text()
    assert "| fastws | 100 | 100 k | 0.9 / 2 | 50% / 30% |" in table
    assert "| node ws | ≥ 100 |" in table
    assert "| aiohttp | ≥ 200 |" in table
    assert "| picows | none *disturbed* |" in table
    assert "| fastws | 2 | – |" in table
    root = ET.parse(tmp_path / "rising_load.svg").getroot()
    assert len(root.findall("{*}circle")) == 3
    assert "fastws" in "".join(root.itertext())


async def test_rate_rises_until_a_server_does_not_keep_up_and_is_then_refined(tmp_path: Path) -> None:
    arguments = (
        *("--servers", "fastws", "--rates", "20,50", "--connections", "20", "--seconds", "0.5"),
        *("--refinements", "1", "--server-core", "0", "--client-core", "0", "--output", str(tmp_path)),
    )
    # No delivery comes within a nanosecond: the first step is the last, and there is nothing below it to look at.
    for late_ms, rates, keeps_up in (("60000", [20, 50], True), ("0.000001", [20], False)):
        process = await create_subprocess_exec(
            *(sys.executable, str(BENCHMARKS / "rising_load.py"), *arguments, "--late-ms", late_ms),
            stdout=PIPE,
            stderr=PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        kept = json.loads((tmp_path / "rising_load.json").read_text())
        assert [step["rate"] for step in kept["steps"]] == rates, out.decode()
        assert {step["keeps_up"] for step in kept["steps"]} == {keeps_up}
    assert "| fastws | none" in (tmp_path / "rising_load.md").read_text()
