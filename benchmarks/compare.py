"""fastws beside the peers a Python user would pick: same work, same load client, one run, servers taken in turn.

    python benchmarks/compare.py                     # all servers, all works, 3 rounds: some 8 minutes
    python benchmarks/compare.py --servers fastws,ws --works echo --rounds 1

Needs two cores and `pip install 'fastws[bench]'`; a peer that is not installed is left out and named. What was measured
before is kept in results/compare.json, so that a run may be made in parts (`--fresh` forgets it). Exit code 1 where the
comparison is in doubt: a peer whose figure the load client set, or that lost a message. For latency: rising_load.py.
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
from comparison.servers import present
from comparison.works import WORKS, Cores, Row, measure

from fastws.bench.progress import Progress

RESULTS: Final = Path(__file__).parent / "results"
TURN_SECONDS: Final = 45.0


class Rows:
    """What was measured, kept on disk after every row."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._path = path
        known = json.loads(path.read_text()) if path.exists() and not fresh else {"rows": [], "versions": {}}
        self.rows = [Row(**fields) for fields in known["rows"]]
        self.versions: dict[str, str] = known["versions"]

    def add(self, rows: list[Row]) -> None:
        self.rows += rows
        self.save()

    def forget(self, server: str, works: set[str]) -> None:
        self.rows = [row for row in self.rows if row.server != server or row.work not in works]

    def save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        document = {"versions": self.versions, "rows": [row.to_dict() for row in self.rows]}
        self._path.write_text(json.dumps(document, indent=1) + "\n")


class Steps:
    """The progress line over all steps, and a line for each that is done where there is no terminal."""

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
                f"{row.server:<12} {row.work:<10} {row.value:>14,.0f}  server {row.server_cpu:.2f}"
                f"  client {row.client_cpu:.2f}  others {row.others_cpu:.2f}  {row.bound}",
                flush=True,
            )


class Turn:
    """The lock file of a shared machine, as flock(1) takes it: kept for TURN_SECONDS, then given up for a moment."""

    def __init__(self, path: str | None) -> None:
        self._file = None if path is None else open(path, "w")  # noqa: SIM115 # until we end
        self._until = 0.0

    def take(self) -> None:
        """Wait for the lock, unless this turn is not over yet."""
        if self._file is None or time.monotonic() < self._until:
            return
        self.give_up()
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._until = time.monotonic() + TURN_SECONDS

    def give_up(self) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._until = 0.0


def main() -> int:
    options = _arguments()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    kept = Rows(options.output / "compare.json", fresh=options.fresh)
    if options.render:
        report.write(kept.rows, kept.versions, options.output, seconds=options.seconds)
        return 0
    if len(os.sched_getaffinity(0)) < 2:
        print("compare: one core for the server and one for the load client are needed", file=sys.stderr)
        return 2
    peers, versions = present(options.servers, "compare")
    kept.versions |= versions
    works = [work for work in WORKS if work.fields and (not options.works or work.name in options.works)]
    anew = {work.name for work in works}
    if "idle" in anew:
        anew.add("connect")
    for peer in peers:
        kept.forget(peer.name, anew)
    turn = Turn(options.lock)
    cores = Cores(options.server_core, options.client_core)
    steps = Steps(options.rounds * len(works) * len(peers))
    for _ in range(options.rounds):
        for work in works:
            for peer in peers:
                turn.take()
                steps.begin(f"{peer.name} {work.name}")
                rows = measure(peer, work, seconds=options.seconds, cores=cores)
                kept.add(rows)
                steps.done(rows)
    turn.give_up()
    report.write(kept.rows, kept.versions, options.output, seconds=options.seconds)
    found = report.doubts(kept.rows)
    for doubt in found:
        print(f"in doubt: {doubt}")
    return 1 if found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])

    def names(text: str) -> set[str]:
        return set(text.split(","))

    parser.add_argument("--servers", type=names, default=set(), metavar="A,B", help="only these")
    parser.add_argument("--works", type=names, default=set(), metavar="A,B", help="only these")
    parser.add_argument("--rounds", type=int, default=3, help="each server and work so often [3]")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured for each figure [2]")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument("--lock", metavar="FILE", help="hold an exclusive lock on FILE while measuring")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    parser.add_argument("--render", action="store_true", help="only write table and charts again")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
