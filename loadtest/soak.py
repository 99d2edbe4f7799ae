"""A soak test: all kinds of clients and disruptions at once for minutes or hours, then a verdict.

    python loadtest/soak.py                                  # two minutes, starting its own servers
    python loadtest/soak.py --hours 8 --workers 3 --roll-every 300 --kill-redis-every 600 --kill-worker-every 900
    python loadtest/soak.py --only listeners,jittery --seed 7
    python loadtest/soak.py --url ws://127.0.0.1:8000/       # against a running server (with a high message_rate)

Publishers number their messages and record which were acknowledged. Listeners check that every message after their
confirmation arrives once and in order, unless the server reported a lag or gap. Other kinds of clients and disruptions
run at the same time, each with its own check. Memory, descriptors and queues are read from /metrics.
Exit code 0: all well, 1: something is wrong, 2: no server, or invalid options.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

import uvloop
from soaking.clients import Clients
from soaking.disruptions import Disruption, Disruptions, Flush, Rights, RoleChange, ServerDisruptions
from soaking.kinds import KINDS, choose
from soaking.ledger import Ledger
from soaking.servers import Servers
from soaking.watch import Sample, Watch, has_grown

from fastws.bench.progress import Progress

DRAIN_SECONDS = 8.0
EMPTY_SECONDS = 30.0
# Kinds with a check that is counted. The others are checked by taking part.
COUNTED_KINDS = ("jittery", "hasty", "tls", "revocations", "rights", "role", "flush")


class Soak:
    """One run."""

    def __init__(self, options: argparse.Namespace, kinds: set[str], servers: Servers) -> None:
        self.options = options
        self.kinds = kinds
        self.servers = servers
        self.ledger = Ledger()
        self.seconds = options.hours * 3600 if options.hours else options.minutes * 60
        self.clients = Clients(options, kinds, servers, self.ledger)
        self.watches = servers.watches()
        self._disruptions = Disruptions(self.ledger, random.Random(f"{options.seed}/disruptions"))
        self._progress = Progress()
        self._unexpected: list[str] = []

    async def run(self) -> list[str]:
        """Run to the end. Returns what is wrong, a line each."""
        before = {name: await watch.wait_until_started() for name, watch in self.watches.items()}
        if None in before.values():
            return ["the server does not answer on /metrics"]
        clients = [asyncio.create_task(client.run()) for client in self.clients.all()]
        background = [asyncio.create_task(watch.run()) for watch in self.watches.values()]
        background.append(asyncio.create_task(self._disruptions.run(list(self._planned()), self.seconds)))
        ended = time.monotonic() + self.seconds
        while (left := ended - time.monotonic()) > 0:
            self._show(1 - left / self.seconds)
            await asyncio.sleep(min(0.5, left))
            self._note_failures([*clients, *background])
        await self._end(clients, background)
        self._progress.clear()
        self.ledger.evaluate(set().union(*(server.undelivered_closes() for server in self.servers.own().values())))
        return self._unexpected + await self._verdict({name: sample for name, sample in before.items() if sample})

    async def _end(self, clients: list[asyncio.Task[None]], background: list[asyncio.Task[Any]]) -> None:
        """Finish the present check, stop the publishers, and give the last messages time to arrive."""
        await self._disruptions.finish()
        self._note_failures(background)
        for task in background:
            task.cancel()
        for publisher in self.clients.publishers:
            publisher.is_stopping = True
        await asyncio.wait(clients[: len(self.clients.publishers)], timeout=3 * DRAIN_SECONDS)
        await asyncio.sleep(DRAIN_SECONDS)
        for subscriber in self.clients.subscribers:
            if subscriber.check is not None:
                subscriber.check.expect_all()
        for client in self.clients.all():
            client.is_stopping = True
        self._note_failures(clients)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, *background, return_exceptions=True)

    def _planned(self) -> Iterator[Disruption]:
        """The disruptions of this run, each with its period."""
        options, ledger, server = self.options, self.ledger, self.servers.plain
        if server is None:
            return
        every = {
            "roll": (options.roll_every, ServerDisruptions(ledger, server).roll),
            "kill-worker": (options.kill_worker_every, ServerDisruptions(ledger, server).kill_worker),
            "kill-redis": (options.kill_redis_every, ServerDisruptions(ledger, server).kill_redis),
        }
        if "rights" in self.kinds:
            every["rights"] = (options.rights_every, Rights(ledger, server).run)
        if "role" in self.kinds and self.servers.other_redis is not None:
            servers = list(self.servers.own().values())
            every["role"] = (options.role_every, RoleChange(ledger, servers, self.servers.other_redis).run)
        if "flush" in self.kinds and server.redis is not None:
            flush = Flush(ledger, server.redis, self.clients.revocations, self.servers.newcomer)
            every["flush"] = (options.flush_every, flush.run)
        for kind, (seconds, run) in every.items():
            if seconds and kind in self.kinds:
                yield Disruption(kind, seconds, run)

    def _note_failures(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                line = f"a part of the soak ended with {error!r}"
                if line not in self._unexpected:
                    self._unexpected.append(line)

    def _show(self, share: float) -> None:
        ledger = self.ledger
        samples = next(iter(self.watches.values())).samples
        memory = f"{samples[-1].rss_bytes / 1e6:.0f} MB" if samples else "-"
        self._progress.show(
            share,
            f"{ledger.counts['acknowledged']:,} acknowledged · {ledger.counts['received']:,} received"
            f" · {sum(ledger.faults.values())} faults · {memory} per process",
        )

    async def _verdict(self, before: dict[str, Sample]) -> list[str]:
        """What is wrong."""
        ledger = self.ledger
        wrong = [f"{count} {kind}" for kind, count in sorted(ledger.faults.items())]
        if not ledger.counts["acknowledged"] or not ledger.counts["received"]:
            wrong.append("nothing was received at all")
        never = [kind for kind in self.not_tried() if kind in self.options.only]
        wrong += [f"{kind} was never tried: the run was too short, or no client was accepted" for kind in never]
        for name, watch in self.watches.items():
            after = await watch.wait_until_empty(EMPTY_SECONDS, before[name].processes)
            wrong += [f"{name} server: {line}" for line in self._leftovers(watch, before[name], after)]
        for name, server in self.servers.own().items():
            if lines := _bad_lines(server.log):
                wrong.append(f"{name} server: {len(lines)} tracebacks in its log, such as {lines[0][:300]}")
        return wrong

    def _leftovers(self, watch: Watch, before: Sample, after: Sample | None) -> Iterator[str]:
        if after is None:
            yield "does not answer any more"
            return
        if after.connections:
            yield f"{after.connections:.0f} connections are left though nobody is connected"
        if after.subscriptions:
            yield f"{after.subscriptions:.0f} subscriptions are left though nobody is connected"
        if after.queue_bytes:
            yield f"{after.queue_bytes:.0f} bytes are queued though nobody is connected"
        if after.descriptors > before.descriptors + self.options.descriptors_slack:
            yield f"descriptors went from {before.descriptors:.0f} to {after.descriptors:.0f}"
        growth = watch.growth()
        if growth is not None and has_grown(*growth):
            yield f"memory grew from {growth[0] / 1e6:.1f} MB to {growth[1] / 1e6:.1f} MB"

    def not_tried(self) -> list[str]:
        """Kinds whose check was never completed."""
        return [kind for kind in COUNTED_KINDS if kind in self.kinds and not self.ledger.tried[kind]]

    def report(self, wrong: list[str]) -> str:
        """What happened, and the verdict."""
        ledger = self.ledger
        lines = [f"{what:<48}{count:>12,}" for what, count in sorted(ledger.counts.items())]
        for name, watch in self.watches.items():
            memory = [sample.rss_bytes / 1e6 for sample in watch.samples]
            if memory:
                most = f"first {memory[0]:.1f}, most {max(memory):.1f}, last {memory[-1]:.1f}"
                lines.append(f"{name} server, MB per process: {most}")
                queued = max(sample.queue_bytes for sample in watch.samples)
                lines.append(f"{name} server, most bytes queued: {queued:,.0f}")
        lines += [f"checks of {kind:<38}{count:>12,}" for kind, count in sorted(ledger.tried.items())]
        lines += [f"NOT TRIED: {kind}" for kind in self.not_tried()]
        if ledger.examples:
            lines += [f"  {example}" for example in ledger.examples]
            lines.append(f"  disruptions: {', '.join(ledger.disruptions)}")
        lines.append(f"seed {self.options.seed}, kinds: {', '.join(sorted(self.kinds))}")
        lines += [f"WRONG: {line}" for line in wrong] or ["all well"]
        return "\n".join(lines)


def _bad_lines(log: bytes) -> list[str]:
    return [
        line for line in log.decode(errors="replace").splitlines() if "Traceback" in line or "internal error" in line
    ]


def main() -> int:
    options = _arguments()
    try:
        kinds = choose(options.only, options.without | _never(options), has_own_server=options.url is None)
    except ValueError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    servers = Servers(kinds, url=options.url, workers=options.workers, needs_own_redis=options.redis)
    wrong: list[str] = []
    try:
        servers.start()
        soak = Soak(options, kinds, servers)
        wrong = uvloop.run(soak.run())
    except RuntimeError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    finally:
        wrong += servers.stop()
    print(soak.report(wrong))
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog="kinds:\n" + "\n".join(f"  {name:<12} {kind.does}" for name, kind in KINDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--hours", type=float, default=0.0, help="instead of --minutes")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="repeats a run's random choices")
    parser.add_argument("--only", type=_names, default=set(), metavar="KIND,…", help="these kinds only")
    parser.add_argument("--without", type=_names, default=set(), metavar="KIND,…", help="all kinds but these")
    parser.add_argument("--url", help="a running server [start servers for the run]")
    parser.add_argument("--workers", type=int, default=1, help="of the server started for the run")
    parser.add_argument("--redis", action="store_true", help="start a Redis even if no kind needs one")
    parser.add_argument("--descriptors-slack", type=int, default=8, help="descriptors that may stay open [8]")
    _add_counts(parser)
    _add_periods(parser)
    return parser.parse_args()


def _add_counts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how many")
    group.add_argument("--channels", type=int, default=4)
    group.add_argument("--publishers", type=int, default=4)
    group.add_argument("--rate", type=float, default=40.0, help="messages a second of each publisher")
    group.add_argument("--listeners", type=int, default=40)
    group.add_argument("--churners", type=int, default=20)
    group.add_argument("--slow", type=int, default=4, help="readers that do not read")
    group.add_argument("--resetters", type=int, default=2)
    group.add_argument("--jittery", type=int, default=24, help="readers that pause, among the crowd")
    group.add_argument("--crowd", type=int, default=600, help="subscribers of the channel of the jittery readers")
    group.add_argument("--tls", type=int, default=8, help="TLS listeners")
    group.add_argument("--hasty", type=int, default=6, help="clients that subscribe and unsubscribe while connecting")


def _add_periods(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how often, in seconds (0: never)")
    group.add_argument("--roll-every", type=float, default=0.0, metavar="S")
    group.add_argument("--kill-worker-every", type=float, default=0.0, metavar="S")
    group.add_argument("--kill-redis-every", type=float, default=0.0, metavar="S")
    group.add_argument("--rights-every", type=float, default=60.0, metavar="S")
    group.add_argument("--role-every", type=float, default=120.0, metavar="S")
    group.add_argument("--flush-every", type=float, default=120.0, metavar="S")


def _never(options: argparse.Namespace) -> set[str]:
    """The disruptions whose period is 0."""
    periods = {kind: getattr(options, f"{kind.replace('-', '_')}_every", None) for kind in KINDS}
    return {kind for kind, seconds in periods.items() if seconds == 0}


def _names(text: str) -> set[str]:
    return {name.strip() for name in text.split(",") if name.strip()}


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
