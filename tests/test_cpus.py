"""The CPUs of `--workers auto`: affinity, and the quota of the process's cgroup and of those above it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastws.config import SETTINGS
from fastws.cpus import MAX_WORKERS, usable_cpus
from fastws.settings import load


@pytest.fixture(autouse=True)
def _eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def machine(folder: Path, cgroup: str, **files: str) -> tuple[Path, Path]:
    """`proc` and the cgroups' root: the process is in `cgroup`; `files` are PATH (__ for /) = contents."""
    proc, groups = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = groups / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc, groups


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("900000 100000", 8), ("", 8)],
)
def test_a_quota_is_rounded_up_and_bounds_the_affinity(tmp_path: Path, quota: str, cpus: int) -> None:
    where = machine(tmp_path, "0::/a/b\n", **{"a__b__cpu.max": quota})
    assert usable_cpus(*where) == cpus


def test_the_smallest_quota_of_all_groups_above_counts(tmp_path: Path) -> None:
    files = {"a__b__cpu.max": "max 100000", "a__cpu.max": "300000 100000", "cpu.max": "500000 100000"}
    assert usable_cpus(*machine(tmp_path, "0::/a/b\n", **files)) == 3


def test_in_a_container_the_quota_is_that_of_the_root(tmp_path: Path) -> None:
    where = machine(tmp_path, "0::/docker/not-mounted-here\n", **{"cpu.max": "200000 100000"})
    assert usable_cpus(*where) == 2


@pytest.mark.parametrize(("quota", "cpus"), [("-1", 8), ("250000", 3)])
def test_the_quota_of_cgroup_v1(tmp_path: Path, quota: str, cpus: int) -> None:
    files = {"cpu,cpuacct__a__cpu.cfs_quota_us": quota, "cpu,cpuacct__a__cpu.cfs_period_us": "100000"}
    assert usable_cpus(*machine(tmp_path, "5:memory:/a\n4:cpu,cpuacct:/a\n", **files)) == cpus


def test_a_machine_without_cgroups_has_its_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cpus(tmp_path, tmp_path) == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4096)))
    assert usable_cpus(tmp_path, tmp_path) == MAX_WORKERS == SETTINGS["workers"].maximum


def test_auto_is_that_many_workers() -> None:
    assert load({"workers": "auto", "redis_url": "embedded"}).workers == usable_cpus()
    assert load(environment={"FASTWS_WORKERS": "auto", "REDIS_URL": "embedded"}).workers == usable_cpus()
