"""Compares fastws with similar servers: same workloads, same load client, servers measured in turn in one run.

    python benchmarks/compare.py                     # all servers and workloads, 3 rounds: about 8 minutes
    python benchmarks/compare.py --servers fastws,ws --workloads echo --rounds 1

Needs two cores. From a checkout, `pip install '.[bench]'` installs the other Python servers; those that are missing are
skipped with a message. Earlier measurements are kept in results/compare.json, so a run can be split into parts
(`--fresh` discards them). Exit code 1 if a comparison is unreliable: the load client limited another server, or a
server lost a message. For latency under load see rising_load.py.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Final

from comparison import report
from comparison.servers import ALL, choices, installed
from comparison.workloads import WORKLOADS, Cores, Row, measure

from fastws.bench.progress import Progress

RESULTS: Final = Path(__file__).parent / "results"
HOLD_SECONDS: Final = 45.0


class SavedRows:
    """All measurements, saved to disk after each."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._path = path
        known = json.loads(path.read_text()) if path.exists() and not fresh else {"rows": [], "versions": {}}
        self.rows = [Row(**fields) for fields in known["rows"]]
        self.versions: dict[str, str] = known["versions"]

    def add(self, rows: list[Row]) -> None:
        self.rows += rows
        self.save()

    def discard(self, server: str, workloads: set[str]) -> None:
        self.rows = [row for row in self.rows if row.server != server or row.workload not in workloads]

    def save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        document = {"versions": self.versions, "rows": [row.to_dict() for row in self.rows]}
        self._path.write_text(json.dumps(document, indent=1) + "\n")


class ProgressLog:
    """A progress line over all measurements, and a printed line for each that is done."""

    def __init__(self, total: int) -> None:
        self._progress = Progress()
        self._total = total
        self._done = 0
        self._began = time.monotonic()

    def begin(self, what: str) -> None:
        spent = time.monotonic() - self._began
        left = spent / self._done * (self._total - self._done) if self._done else 0.0
        self._progress.show(self._done / self._total, f"{self._done}/{self._total} {what} · {left / 60:.0f} min left")

    def done(self, rows: list[Row]) -> None:
        self._done += 1
        self._progress.clear()
        for row in rows:
            print(
                f"{row.server:<12} {row.workload:<10} {row.value:>14,.0f}  server {row.server_cpu:.2f}"
                f"  client {row.client_cpu:.2f}  others {row.others_cpu:.2f}  {row.bound}",
                flush=True,
            )


class MachineLock:
    """A lock file as flock(1) uses it. It is held for HOLD_SECONDS, then released so that others can take it."""

    def __init__(self, path: str | None) -> None:
        self._file = None if path is None else open(path, "w")  # noqa: SIM115 # held until exit
        self._until = 0.0

    def acquire(self) -> None:
        """Wait for the lock, unless it is still held."""
        if self._file is None or time.monotonic() < self._until:
            return
        self.release()
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._until = time.monotonic() + HOLD_SECONDS

    def release(self) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._until = 0.0


def main() -> int:
    options = _arguments()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    saved = SavedRows(options.output / "compare.json", fresh=options.fresh)
    if not options.render:
        if len(os.sched_getaffinity(0)) < 2:
            print("compare: needs two cores, one for the server and one for the load client", file=sys.stderr)
            return 2
        _measure(options, saved)
    report.write(saved.rows, saved.versions, options.output, seconds=options.seconds)
    if options.render:
        return 0
    found = report.warnings(saved.rows)
    for warning in found:
        print(f"unreliable: {warning}")
    return 1 if found else 0


def _measure(options: argparse.Namespace, saved: SavedRows) -> None:
    peers, versions = installed(options.servers, "compare")
    saved.versions |= versions
    chosen = options.workloads
    workloads = [workload for workload in WORKLOADS if workload.fields and (not chosen or workload.name in chosen)]
    replaced = {workload.name for workload in workloads}
    if "idle" in replaced:
        replaced.add("connect")
    for peer in peers:
        saved.discard(peer.name, replaced)
    lock = MachineLock(options.lock)
    cores = Cores(options.server_core, options.client_core)
    log = ProgressLog(options.rounds * len(workloads) * len(peers))
    for _ in range(options.rounds):
        for workload in workloads:
            for peer in peers:
                lock.acquire()
                log.begin(f"{peer.name} {workload.name}")
                rows = measure(peer, workload, seconds=options.seconds, cores=cores)
                saved.add(rows)
                log.done(rows)
    lock.release()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    servers = [peer.name for peer in ALL]
    workloads = [workload.name for workload in WORKLOADS if workload.fields]
    parser.add_argument(
        "--servers", type=choices(servers), default=set(), metavar="A,B", help=f"of {', '.join(servers)} [all]"
    )
    parser.add_argument(
        *("--workloads", "--works"),
        type=choices(workloads),
        default=set(),
        metavar="A,B",
        help=f"of {', '.join(workloads)} [all]; idle also measures connects",
    )
    parser.add_argument("--rounds", type=int, default=3, help="measurements per server and workload [3]")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds per measurement [2]")
    parser.add_argument("--server-core", type=int, default=0, help="core of the server [0]")
    parser.add_argument("--client-core", type=int, default=1, help="core of the load client [1]")
    parser.add_argument("--lock", metavar="FILE", help="hold an exclusive lock on FILE while measuring")
    parser.add_argument("--output", type=Path, default=RESULTS, help="directory of the results [benchmarks/results]")
    parser.add_argument("--fresh", action="store_true", help="discard earlier measurements")
    parser.add_argument("--render", action="store_true", help="only write the table and the charts again")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
