"""The capacity model: what limits it, and when one Redis is not enough."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fastws.bench.capacity import Costs, Demand, cores, estimate


def test_few_clients_need_one_process_and_no_redis() -> None:
    needs = estimate(Demand(connections=1000, publications_per_second=10, fan_out=100))
    assert (needs.processes, needs.decided_by, needs.redis_deliveries_per_second) == (1, "one is enough", 0)


def test_idle_connections_are_a_matter_of_descriptors() -> None:
    needs = estimate(Demand(connections=100_000, publications_per_second=0, fan_out=1))
    assert (needs.processes, needs.decided_by) == (6, "descriptors")
    more_files = estimate(Demand(connections=100_000, publications_per_second=0, fan_out=1, descriptors=200_000))
    assert more_files.processes == 1


@pytest.mark.parametrize("rate", [2_000, 5_000, 20_000])
def test_deliveries_are_a_matter_of_cpu_and_each_process_keeps_below_its_share(rate: int) -> None:
    needs = estimate(Demand(connections=10_000, publications_per_second=rate, fan_out=100))
    assert needs.decided_by == "CPU"
    assert needs.cpu_each <= 0.6
    assert needs.processes >= needs.deliveries_per_second * Costs().write_us / 1e6 / 0.6


def test_redis_delivers_each_publication_once_per_process_with_receivers() -> None:
    wide = estimate(Demand(connections=100_000, publications_per_second=1000, fan_out=1000))
    narrow = estimate(Demand(connections=100_000, publications_per_second=1000, fan_out=2))
    assert wide.redis_deliveries_per_second == pytest.approx(1000 * wide.processes, rel=0.01)
    # Two receivers are in one process by chance, one time in as many as there are processes.
    assert narrow.redis_deliveries_per_second == pytest.approx(1000 * (2 - 1 / narrow.processes))


def test_plan_says_when_one_redis_is_not_enough() -> None:
    demand = Demand(connections=100_000, publications_per_second=60_000, fan_out=10)
    needs = estimate(demand)
    assert needs.redis_share > 0.6
    assert needs.redis_installations == math.ceil(needs.redis_share / 0.6)
    assert "each with its own" in needs.to_text(demand)


def test_more_publications_than_a_process_can_receive_are_refused() -> None:
    with pytest.raises(ValueError, match="split the channels"):
        estimate(Demand(connections=1000, publications_per_second=200_000, fan_out=1000))


def test_joined_messages_cost_fewer_writes() -> None:
    demand = Demand(connections=1000, publications_per_second=200, fan_out=1000)
    assert demand.writes_per_second == 200_000
    assert replace(demand, flush_ms=20.0).writes_per_second == 40_000
    assert replace(demand, flush_ms=20.0, channels=1000).writes_per_second > 190_000
    assert cores(replace(demand, flush_ms=20.0), 1) < cores(demand, 1) / 2


def test_hint_to_join_messages_is_given_where_it_helps() -> None:
    demand = Demand(connections=100_000, publications_per_second=1000, fan_out=10_000)
    assert "hint " in estimate(demand).to_text(demand)
    joined = replace(demand, flush_ms=20.0)
    assert "hint " not in estimate(joined).to_text(joined)
    idle = Demand(connections=1_000_000, publications_per_second=0, fan_out=1)
    assert "hint " not in estimate(idle).to_text(idle)


def test_reason_for_one_process_is_not_printed() -> None:
    demand = Demand(connections=1000, publications_per_second=10, fan_out=100)
    assert "processes        1, " in estimate(demand).to_text(demand)


def test_demand_that_makes_no_sense_is_refused() -> None:
    sensible = Demand(connections=1000, publications_per_second=1.0, fan_out=1.0)
    for demand, words in (
        (replace(sensible, fan_out=2000.0), "fan-out"),
        (replace(sensible, descriptors=100), "descriptors"),
        (replace(sensible, connections=0), "connections"),
        (replace(sensible, publications_per_second=-1.0), "rate"),
    ):
        with pytest.raises(ValueError, match=words):
            estimate(demand)
