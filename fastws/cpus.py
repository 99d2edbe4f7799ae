"""The number of CPUs that this process may use: CPU affinity and the CPU quota of its cgroup."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# The largest value of the setting `workers`.
MAX_WORKERS: Final = 512


def usable_cpus(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of CPUs of the affinity mask, or the CPU quota, rounded up, if that is less. At least 1."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = min(_quotas(proc, groups), default=math.inf)
    return max(1, min(cpus, MAX_WORKERS, cpus if math.isinf(quota) else math.ceil(quota)))


def _quotas(proc: Path, groups: Path) -> Iterator[float]:
    """Yield the quotas of the process's cgroup and of all groups above it, in CPUs (cgroup v2, cgroup v1)."""
    for line in _text(proc / "self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:  # cgroup v2 has one hierarchy: 0::/path
            for folder in _upwards(groups, path):
                yield from _quota(*_words(folder / "cpu.max"))
        elif "cpu" in controllers.split(","):
            for folder in _upwards(groups / controllers, path):
                period = _text(folder / "cpu.cfs_period_us")
                yield from _quota(_text(folder / "cpu.cfs_quota_us"), period)


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """Yield the folder of the cgroup `path`, then those above it. In a container `path` may not exist below `root`."""
    folder = root / path.lstrip("/")
    while folder != root and root in folder.parents:
        yield folder
        folder = folder.parent
    yield root


def _quota(quota: str, period: str) -> Iterator[float]:
    """Yield the quota in CPUs; nothing if there is none (`max`, or -1 in cgroup v1)."""
    if quota.isdigit() and period.isdigit() and int(period):
        yield int(quota) / int(period)


def _words(path: Path) -> tuple[str, str]:
    first, _, second = _text(path).partition(" ")
    return first, second


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
