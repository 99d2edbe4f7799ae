"""The costs of the capacity model: how they are measured, that the model has them, that it comes near what was seen."""

from __future__ import annotations

import json
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from fastws.bench.capacity import Costs, Demand, cores
from fastws.bench.plan import Plan
from fastws.brokers.redis.embedded import EmbeddedRedis

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
KEPT = BENCHMARKS / "results" / "capacity.json"


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("costing", "comparison")]:
        del sys.modules[name]


@pytest.fixture
def kept() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(KEPT.read_text())
    return document


def test_model_has_the_costs_that_were_measured(kept: dict[str, Any]) -> None:
    for name, value in asdict(Costs()).items():
        assert value == pytest.approx(kept["costs"][name], rel=0.05), name


def test_model_comes_near_what_was_measured_of_other_loads(kept: dict[str, Any]) -> None:
    from costing.points import points

    for point in points(Costs(), {point["name"]: point["measured"] for point in kept["points"]}):
        assert point.is_near, f"{point.name}: {point.ratio:.2f}"


def test_load_on_a_server_of_its_own_takes_processor_time() -> None:
    from costing.runs import cores_used, serving

    with serving() as server:
        plan = Plan(urls=(server.url,), connections=20, rate=500.0, seconds=0.5)
        (used,) = cores_used(plan, [server.pid])
    assert used > 0


def test_idle_connections_bring_processor_time_and_memory() -> None:
    from costing.runs import growth, serving

    with serving() as server:
        grown = growth(server, 1000)
    assert grown.connections == 1000
    assert grown.cpu_seconds > 0
    assert 500 * 1000 < grown.server_bytes < 20_000 * 1000
    assert grown.empty_bytes > 10e6


def test_redis_pays_for_every_process_that_hears() -> None:
    from costing.redis_load import redis_costs

    redis = EmbeddedRedis()
    try:
        assert redis.pid is not None
        _, delivery_us = redis_costs(redis.url.removeprefix("unix://"), redis.pid, 0.5, under_way=4)
    finally:
        redis.stop()
    assert delivery_us > 0


def test_point_that_is_far_off_is_seen() -> None:
    from costing.points import Point

    assert Point(name="p", unit="cores", predicted=1.4, measured=1.0).is_near
    assert not Point(name="p", unit="cores", predicted=1.6, measured=1.0).is_near
    assert not Point(name="p", unit="cores", predicted=0.6, measured=1.0).is_near


async def _plan(*arguments: str) -> tuple[int | None, str, str]:
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "fastws", "bench", "--plan", "--json", *arguments), stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_costs_of_another_machine_change_the_plan(tmp_path: Path) -> None:
    file = tmp_path / "capacity.json"
    slow = {**asdict(Costs()), "write_us": 10 * Costs().write_us}
    file.write_text(json.dumps({"costs": slow}))
    demand = ("--connections", "1000", "--rate", "100")
    _, ours, _ = await _plan(*demand)
    code, theirs, err = await _plan(*demand, "--costs", str(file))
    assert (code, err) == (0, "")
    assert json.loads(theirs)["cores"] > 5 * json.loads(ours)["cores"]
    assert json.loads(theirs)["cores"] == pytest.approx(
        cores(
            Demand(connections=1000, publications_per_second=100, fan_out=1000),
            json.loads(theirs)["processes"],
            Costs(**slow),
        )
    )


async def test_costs_that_cannot_be_read_are_one_line_and_code_2(tmp_path: Path) -> None:
    file = tmp_path / "capacity.json"
    file.write_text('{"costs": {"price": 1}}')
    code, out, err = await _plan("--costs", str(file))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--costs" in err
