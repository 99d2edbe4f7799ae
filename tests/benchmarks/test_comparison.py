"""The comparison: every installed server runs the workloads, and the report is well-formed."""

from __future__ import annotations

import argparse
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastws.bench.load import Load
from fastws.bench.plan import Plan

MESSAGES = 20
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "comparison"]:
        del sys.modules[name]


async def test_every_installed_peer_runs_the_same_workload() -> None:
    from comparison.servers import ALL, running

    done = []
    for peer in ALL:
        if peer.node_package or peer.version() is None:
            continue  # it would be downloaded from npm
        with running(peer, server_core=0, client_core=0) as (_, url):
            plan = Plan(urls=(url,), connections=10, warm_seconds=0.0, seconds=0.1, drain_seconds=60.0)
            async with Load(plan) as load:
                await load.connect()
                # A number of messages, however long they take: no timing decides this test.
                result = await load.run(rate=200.0, messages=MESSAGES)
            assert result.is_complete, f"{peer.name}: {result.to_text()}"
            assert (result.ready, result.acknowledged) == (10, MESSAGES), peer.name
            echo = replace(plan, urls=(url + "echo",), mode="echo", dialect="echo", window=4)
            async with Load(echo) as load:
                await load.connect()
                result = await load.run()
            # Every message of each client came back to it.
            assert result.is_complete, f"{peer.name} echo: {result.to_text()}"
            assert result.ready == 10, peer.name
        done.append(peer.name)
    assert {"fastws", "websockets", "aiohttp"} <= set(done)


def _rows() -> list[Any]:
    from comparison.workloads import WORKLOADS, Row

    rows = []
    for factor, server in enumerate(("fastws", "aiohttp"), 1):
        rows += [Row(server, workload.name, 1e6 / factor, 0.98, 0.6, 0.01, "server") for workload in WORKLOADS]
    rows.append(Row("fastws", "fanout64", 5.0, bound="disturbed"))
    return rows


def test_table_and_chart_show_the_measurements(tmp_path: Path) -> None:
    from comparison import report

    report.write(_rows(), {"fastws": "fastws 1", "aiohttp": "aiohttp <&> 3"}, tmp_path, seconds=2)
    table = (tmp_path / "compare.md").read_text()
    assert "| fastws | 1 M deliveries/s (98% / 60%)" in table
    assert "Not installed: socketify" in table
    root = ET.parse(tmp_path / "compare.svg").getroot()
    assert root.tag.endswith("svg")
    assert "fastws" in "".join(root.itertext())


def test_server_limited_by_the_load_client_makes_the_comparison_unreliable() -> None:
    from comparison.report import warnings
    from comparison.workloads import Row

    assert warnings(_rows()) == []
    ours = Row("fastws", "echo", 9.0, 0.5, 0.99, 0.01, "client")
    theirs = Row("aiohttp", "fanout1", 9.0, 0.5, 0.99, 0.01, "client")
    lossy = Row("ws", "echo", 9.0, 0.99, 0.5, 0.01, "server", is_complete=False)
    assert warnings([ours]) == []
    assert "client-bound" in warnings([theirs])[0]
    assert "messages were lost" in warnings([lossy])[0]


def test_disturbed_row_does_not_count_beside_a_quiet_one() -> None:
    from comparison.report import middle

    row = middle(_rows(), "fastws", "fanout64")
    assert row is not None
    assert row.value == 1e6


@pytest.mark.parametrize(
    ("value", "shown"), [(5_690_000, "5.69 M"), (331_058, "331 k"), (1940.4, "1,940"), (12_345, "12.3 k"), (0, "0")]
)
def test_numbers_are_short(value: float, shown: str) -> None:
    from comparison.charts import number

    assert number(value) == shown


def test_unknown_server_is_refused_with_the_choices() -> None:
    from comparison.servers import choices

    parse = choices(["fastws", "ws"])
    assert parse("ws,fastws") == {"fastws", "ws"}
    with pytest.raises(argparse.ArgumentTypeError, match="must be of fastws, ws, not nginx"):
        parse("fastws,nginx")


def test_missing_server_is_skipped_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from comparison import servers

    missing = servers.Peer("missing", "missing", (), ("no-such-distribution", "uvloop"))
    monkeypatch.setattr(servers, "ALL", (servers.FASTWS, missing))
    peers, versions = servers.installed(set(), "compare")
    assert (peers, set(versions)) == ([servers.FASTWS], {"fastws"})
    words = "compare: skipping missing: not installed; pip install no-such-distribution uvloop\n"
    assert capsys.readouterr().err == words
