"""Latency of fastws and its peers under a rising rate, open loop: where each one's knee is.

    python benchmarks/rising_load.py                          # every server, some 7 minutes
    python benchmarks/rising_load.py --servers fastws,ws --seconds 2
    python benchmarks/rising_load.py --render                 # only write table and chart again

Needs two cores and `pip install 'fastws[bench]'`; a peer that is not installed is left out and named. What was measured
is kept in results/rising_load.json, server by server, so that a run may be made in parts.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

from comparison import rising_report
from comparison.rising import RATES, Climb, Step, climb
from comparison.servers import Peer, present
from comparison.works import Cores

from fastws.bench.progress import Progress

RESULTS: Final = Path(__file__).parent / "results"


class Kept:
    """What was measured, on disk after every server."""

    def __init__(self, path: Path) -> None:
        self._path = path
        known = json.loads(path.read_text()) if path.exists() else {"plan": {}, "steps": [], "versions": {}}
        self.steps = [Step(**fields) for fields in known["steps"]]
        self.versions: dict[str, str] = known["versions"]
        self._plan = known["plan"]

    def plan(self, default: Climb) -> Climb:
        """That of what is kept."""
        return Climb(**{**self._plan, "rates": tuple(self._plan["rates"])}) if self._plan else default

    def replace(self, server: str, version: str, steps: list[Step], plan: Climb) -> None:
        """What is known of `server` now. Steps of another plan go: they are no comparison."""
        if self._plan != _fields(plan):
            self.steps, self.versions, self._plan = [], {}, _fields(plan)
        self.steps = [step for step in self.steps if step.server != server] + steps
        self.versions[server] = version
        self._path.parent.mkdir(parents=True, exist_ok=True)
        document = {"plan": self._plan, "versions": self.versions, "steps": [step.to_dict() for step in self.steps]}
        self._path.write_text(json.dumps(document, indent=1) + "\n")


class Shown:
    """The progress line over all servers, and a line of text for each step."""

    def __init__(self, peers: list[Peer], plan: Climb) -> None:
        self._progress = Progress()
        self._peers = peers
        self._steps_each = len(plan.rates)
        self._server = 0
        self._steps = 0
        self._began = time.monotonic()

    def begin(self, peer: Peer) -> None:
        self._server = self._peers.index(peer)
        self._steps = 0
        self._show(f"{peer.title} starts")

    def step(self, step: Step) -> None:
        self._steps += 1
        self._progress.clear()
        outcome = "keeps up" if step.keeps_up else "does not keep up"
        print(
            f"{step.server:<12}{step.rate:>7,.0f}/s  p50 {step.p50_us / 1e3:>8.2f} ms  p99 {step.p99_us / 1e3:>8.2f} ms"
            f"  server {step.server_cpu:.2f}  client {step.client_cpu:.2f}  others {step.others_cpu:.2f}"
            f"  {outcome} {step.bound}".rstrip(),
            flush=True,
        )
        self._show(f"{step.server} after {step.rate:,.0f} messages/s")

    def end(self) -> None:
        self._progress.clear()

    def _show(self, text: str) -> None:
        share = (self._server + min(1.0, self._steps / self._steps_each)) / len(self._peers)
        self._progress.show(
            share, f"{self._server + 1}/{len(self._peers)} {text} · {time.monotonic() - self._began:.0f} s"
        )


def main() -> int:
    options = _arguments()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    kept = Kept(options.output / "rising_load.json")
    plan = Climb(
        connections=options.connections,
        rates=options.rates,
        seconds=options.seconds,
        late_us=options.late_ms * 1000,
        refinements=options.refinements,
    )
    if not options.render:
        if len(os.sched_getaffinity(0)) < 2:
            print("rising_load: one core for the server and one for the load client are needed", file=sys.stderr)
            return 2
        _measure(options, plan, kept)
    if not kept.steps:
        print("rising_load: nothing was measured", file=sys.stderr)
        return 2
    rising_report.write(kept.steps, kept.versions, options.output, kept.plan(plan))
    print(f"table and chart: {options.output / 'rising_load.md'}, .svg")
    return 0


def _measure(options: argparse.Namespace, plan: Climb, kept: Kept) -> None:
    peers, versions = present(options.servers, "rising_load")
    shown = Shown(peers, plan)
    cores = Cores(options.server_core, options.client_core)
    for peer in peers:
        shown.begin(peer)
        steps = climb(peer, plan, cores, shown.step)
        kept.replace(peer.name, versions[peer.name], steps, plan)
    shown.end()


def _fields(plan: Climb) -> dict[str, object]:
    return {**asdict(plan), "rates": list(plan.rates)}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])

    def names(text: str) -> set[str]:
        return set(text.split(","))

    def rates(text: str) -> tuple[int, ...]:
        return tuple(sorted(int(rate) for rate in text.split(",")))

    parser.add_argument("--servers", type=names, default=set(), metavar="A,B", help="only these")
    parser.add_argument("--rates", type=rates, default=RATES, metavar="R,R", help="messages a second of the steps")
    parser.add_argument("--connections", type=int, default=1000, metavar="N", help="subscribers [1000]")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="measured in each step [3]")
    parser.add_argument("--late-ms", type=float, default=100.0, metavar="MS", help="p99 up to which it keeps up [100]")
    parser.add_argument("--refinements", type=int, default=2, metavar="N", help="halvings around the knee [2]")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--render", action="store_true", help="measure nothing, write table and chart of what is kept")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
