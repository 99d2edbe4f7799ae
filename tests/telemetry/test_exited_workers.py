"""Sums over workers, and the counters of exited workers in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastws.telemetry.exited_workers import add_exited, last_known, merge, write_own

TEXT = """# HELP a_total Counted
# TYPE a_total counter
a_total{{kind="x"}} {count}
# HELP now Present
# TYPE now gauge
now {now}
# HELP fastws_broker_up Up
# TYPE fastws_broker_up gauge
fastws_broker_up {up}
# HELP s_seconds Lag
# TYPE s_seconds histogram
s_seconds_bucket{{le="1.0"}} {count}
s_seconds_bucket{{le="+Inf"}} {count}
s_seconds_count {count}
s_seconds_sum 0.5
"""


def text(count: float = 1, now: float = 1, up: int = 1) -> str:
    return TEXT.format(count=float(count), now=float(now), up=float(up))


def values(*texts: str) -> dict[str, float]:
    """Samples by name and labels, of all texts as one."""
    return {
        sample.name + "".join(f" {label}" for label in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(merge(texts).decode())
        for sample in family.samples
    }


def test_samples_are_added_up_and_the_worst_broker_stands_for_all() -> None:
    found = values(text(2, 5), text(3, 7, up=0))
    assert found["a_total x"] == 5
    assert found["now"] == 12
    assert found["fastws_broker_up"] == 0
    assert found["s_seconds_bucket +Inf"] == found["s_seconds_count"] == 5
    assert found["s_seconds_sum"] == 1


def test_samples_that_only_one_has_are_kept() -> None:
    assert values(text(), 'a_total{kind="y"} 4\n'.join(["# TYPE a_total counter\n", ""]))["a_total y"] == 4


def test_of_a_process_that_is_gone_only_its_counters_are_left(tmp_path: Path) -> None:
    write_own(tmp_path, 7, text(4, 9, up=0))
    found = values(text(1, 1), *last_known(tmp_path, answered=[1], busy=[]))
    assert (found["a_total x"], found["now"], found["fastws_broker_up"]) == (5, 1, 1)


def test_a_process_that_is_busy_counts_as_it_last_was(tmp_path: Path) -> None:
    write_own(tmp_path, 7, text(4, 9))
    found = values(text(1, 1), *last_known(tmp_path, answered=[1], busy=[7]))
    assert (found["a_total x"], found["now"]) == (5, 10)


def test_a_process_that_answered_is_not_counted_twice(tmp_path: Path) -> None:
    write_own(tmp_path, 1, text(1))
    assert values(text(1), *last_known(tmp_path, answered=[1], busy=[]))["a_total x"] == 1


def test_exited_workers_are_one_sum_and_leave_no_file(tmp_path: Path) -> None:
    for pid in range(20):
        write_own(tmp_path, pid, text(pid))
        (tmp_path / f"{pid}.sock").touch()
        add_exited(tmp_path, pid)
    assert [path.name for path in tmp_path.iterdir()] == ["exited"]
    assert values(*last_known(tmp_path, [], []))["a_total x"] == sum(range(20))


def test_a_process_that_nobody_ever_asked_leaves_nothing(tmp_path: Path) -> None:
    add_exited(tmp_path, 7)
    assert list(tmp_path.iterdir()) == []


def test_a_scrape_while_a_worker_exits_counts_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_own(tmp_path, 7, text(4))
    found = []

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".prom":
            found.append(values(*last_known(tmp_path, [], []))["a_total x"])

    monkeypatch.setattr(Path, "unlink", unlink)
    add_exited(tmp_path, 7)
    assert found == [4]
