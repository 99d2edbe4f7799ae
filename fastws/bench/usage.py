"""Resource usage read from /proc (Linux): CPU, memory and descriptors of processes, and how busy a core is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_KIB: Final = 1024


@dataclass(slots=True, frozen=True)
class Usage:
    """Usage of one or more processes with their descendants, added up.

    `pss_bytes` counts shared memory once; `peak_rss_bytes` adds up the peak of each process.
    """

    cpu_seconds: float = 0.0
    rss_bytes: int = 0
    peak_rss_bytes: int = 0
    pss_bytes: int = 0
    descriptors: int = 0
    processes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.cpu_seconds + other.cpu_seconds,
            self.rss_bytes + other.rss_bytes,
            self.peak_rss_bytes + other.peak_rss_bytes,
            self.pss_bytes + other.pss_bytes,
            self.descriptors + other.descriptors,
            self.processes + other.processes,
        )


def usage_of(pids: Iterable[int]) -> Usage:
    """The present usage of these processes and their descendants. Processes that have exited count as zero."""
    total = Usage()
    for pid in set(_walk(pids)):
        total += _use(pid)
    return total


def descendants(pid: int) -> list[int]:
    """Returns `pid` and all its descendants."""
    return list(dict.fromkeys(_walk([pid])))


def busy_seconds(core: int) -> float:
    """Seconds since boot in which `core` was not idle."""
    prefix = f"cpu{core} "
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(prefix):
            fields = [int(field) for field in line.split()[1:9]]
            idle, waiting_for_disk = fields[3], fields[4]
            return (sum(fields) - idle - waiting_for_disk) / _TICKS_PER_SECOND
    raise ValueError(f"core {core} does not exist")


def kernel_socket_bytes() -> int:
    """Kernel memory for all TCP buffers of the machine."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            fields = line.split()
            return int(fields[fields.index("mem") + 1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def kernel_slab_bytes() -> int:
    """Kernel memory for its own objects, sockets included, of the whole machine.

    Only root can tell which objects are in use; for other users freed objects that the kernel keeps count too.
    """
    try:
        lines = Path("/proc/slabinfo").read_text().splitlines()[2:]
    except (FileNotFoundError, PermissionError):
        return _kib_field(Path("/proc/meminfo").read_text(), "Slab:")
    # slabinfo(5): name, objects in use, objects, bytes of an object, ...
    return sum(int(used) * int(size) for _, used, _, size, *_ in map(str.split, lines))


def _use(pid: int) -> Usage:
    directory = Path(f"/proc/{pid}")
    try:
        # The name in parentheses may contain anything, so fields are counted after it (proc(5)).
        fields = (directory / "stat").read_text().rpartition(")")[2].split()
        status = (directory / "status").read_text()
        shares = (directory / "smaps_rollup").read_text()
        descriptors = len(os.listdir(directory / "fd"))
    except (FileNotFoundError, ProcessLookupError):
        return Usage()
    ticks = int(fields[11]) + int(fields[12])
    return Usage(
        cpu_seconds=ticks / _TICKS_PER_SECOND,
        rss_bytes=_kib_field(status, "VmRSS:"),
        peak_rss_bytes=_kib_field(status, "VmHWM:"),
        pss_bytes=_kib_field(shares, "Pss:"),
        descriptors=descriptors,
        processes=1,
    )


def _kib_field(text: str, name: str) -> int:
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * _KIB
    return 0


def _walk(pids: Iterable[int]) -> Iterator[int]:
    for pid in pids:
        yield pid
        try:
            tasks = os.listdir(f"/proc/{pid}/task")
            children = [
                int(child) for task in tasks for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()
            ]
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield from _walk(children)
