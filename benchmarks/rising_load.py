"""Latency of fastws and similar servers under a rising rate (open loop), and the rate up to which each keeps up.

    python benchmarks/rising_load.py                          # all servers, about 7 minutes
    python benchmarks/rising_load.py --servers fastws,ws --seconds 2
    python benchmarks/rising_load.py --render                 # only write the table and the chart again

Needs two cores. From a checkout, `pip install '.[bench]'` installs the other Python servers; those that are missing are
skipped with a message. Results are kept in results/rising_load.json, so a run can be split into parts.
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
from comparison.rising import RATES, RampPlan, Step, ramp
from comparison.servers import ALL, Peer, choices, installed
from comparison.workloads import Cores

from fastws.bench.progress import Progress

RESULTS: Final = Path(__file__).parent / "results"


class SavedSteps:
    """All measurements, saved to disk after each server."""

    def __init__(self, path: Path) -> None:
        self._path = path
        known = json.loads(path.read_text()) if path.exists() else {"plan": {}, "steps": [], "versions": {}}
        self.steps = [Step(**fields) for fields in known["steps"]]
        self.versions: dict[str, str] = known["versions"]
        self._plan = known["plan"]

    def plan(self, default: RampPlan) -> RampPlan:
        """The plan of the saved steps."""
        return RampPlan(**{**self._plan, "rates": tuple(self._plan["rates"])}) if self._plan else default

    def replace(self, server: str, version: str, steps: list[Step], plan: RampPlan) -> None:
        """Replace the steps of `server`. Steps of another plan are discarded, since they cannot be compared."""
        if self._plan != _fields(plan):
            self.steps, self.versions, self._plan = [], {}, _fields(plan)
        self.steps = [step for step in self.steps if step.server != server] + steps
        self.versions[server] = version
        self._path.parent.mkdir(parents=True, exist_ok=True)
        document = {"plan": self._plan, "versions": self.versions, "steps": [step.to_dict() for step in self.steps]}
        self._path.write_text(json.dumps(document, indent=1) + "\n")


class ProgressLog:
    """A progress line over all servers, and a printed line for each step."""

    def __init__(self, peers: list[Peer], plan: RampPlan) -> None:
        self._progress = Progress()
        self._peers = peers
        self._steps_each = len(plan.rates)
        self._server = 0
        self._steps = 0
        self._began = time.monotonic()

    def begin(self, peer: Peer) -> None:
        self._server = self._peers.index(peer)
        self._steps = 0
        self._show(f"starting {peer.title}")

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
    saved = SavedSteps(options.output / "rising_load.json")
    plan = RampPlan(
        connections=options.connections,
        rates=options.rates,
        seconds=options.seconds,
        late_us=options.late_ms * 1000,
        refinements=options.refinements,
    )
    if not options.render:
        if len(os.sched_getaffinity(0)) < 2:
            print("rising_load: needs two cores, one for the server and one for the load client", file=sys.stderr)
            return 2
        _measure(options, plan, saved)
    if not saved.steps:
        print("rising_load: no server was measured", file=sys.stderr)
        return 2
    rising_report.write(saved.steps, saved.versions, options.output, saved.plan(plan))
    print(f"table and chart: {options.output / 'rising_load.md'}, .svg")
    return 0


def _measure(options: argparse.Namespace, plan: RampPlan, saved: SavedSteps) -> None:
    peers, versions = installed(options.servers, "rising_load")
    log = ProgressLog(peers, plan)
    cores = Cores(options.server_core, options.client_core)
    for peer in peers:
        log.begin(peer)
        steps = ramp(peer, plan, cores, log.step)
        saved.replace(peer.name, versions[peer.name], steps, plan)
    log.end()


def _fields(plan: RampPlan) -> dict[str, object]:
    return {**asdict(plan), "rates": list(plan.rates)}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])

    servers = [peer.name for peer in ALL]

    def rates(text: str) -> tuple[int, ...]:
        return tuple(sorted(int(rate) for rate in text.split(",")))

    parser.add_argument(
        "--servers", type=choices(servers), default=set(), metavar="A,B", help=f"of {', '.join(servers)} [all]"
    )
    parser.add_argument("--rates", type=rates, default=RATES, metavar="R,R", help="messages per second of the steps")
    parser.add_argument("--connections", type=int, default=1000, metavar="N", help="subscribers [1000]")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="seconds per step [3]")
    parser.add_argument(
        "--late-ms", type=float, default=100.0, metavar="MS", help="highest p99 that counts as keeping up [100]"
    )
    parser.add_argument(
        "--refinements", type=int, default=2, metavar="N", help="how often the interval around the knee is halved [2]"
    )
    parser.add_argument("--server-core", type=int, default=0, help="core of the server [0]")
    parser.add_argument("--client-core", type=int, default=1, help="core of the load client [1]")
    parser.add_argument("--output", type=Path, default=RESULTS, help="directory of the results")
    parser.add_argument("--render", action="store_true", help="only write the table and the chart again")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
