"""A soak: everything at once for minutes or hours, then a verdict.

    python loadtest/soak.py                                  # two minutes against a server of its own
    python loadtest/soak.py --hours 8 --workers 3 --roll-every 300 --kill-redis-every 600 --kill-worker-every 900
    python loadtest/soak.py --url ws://127.0.0.1:8000/       # against one that runs (with a high message_rate)

Publishers number what they send and note what was acknowledged; listeners, churners among them, check that they hear
all of it once and in order from their confirmation on, save what the server told them was missing. Slow readers and
resets go on beside. Memory, descriptors and queues are read from /metrics. Exit code 0: all well, 1: not, 2: no server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import resource
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvloop
from soaking.cast import Listener, Publisher, Resetter, SlowReader
from soaking.ledger import Ledger
from soaking.server import OwnServer
from soaking.watch import Sample, Watch, has_grown

from fastws.bench.progress import Progress

DRAIN_SECONDS = 8.0
REDIS_AWAY_SECONDS = 2.0
EMPTY_SECONDS = 30.0


class Soak:
    """One run."""

    def __init__(self, options: argparse.Namespace, url: str, server: OwnServer | None) -> None:
        self.options = options
        self.server = server
        self.url = url
        self.ledger = Ledger()
        self.watch = Watch(url, None if server is None else server.pid)
        channels = [f"soak-{number}" for number in range(options.channels)]
        new = self.ledger
        self.publishers = [
            Publisher(url, new, f"publisher-{n}", channels[n % len(channels)], options.rate)
            for n in range(options.publishers)
        ]
        heard = [channels[n % len(channels)] for n in range(options.publishers)]
        self.listeners = [Listener(url, new, f"listener-{n}", heard) for n in range(options.listeners)]
        self.churners = [Listener(url, new, f"churner-{n}", heard, stay_seconds=2.0) for n in range(options.churners)]
        self.rough = [
            *(SlowReader(url, new, heard) for _ in range(options.slow)),
            *(Resetter(url, new) for _ in range(options.resetters)),
        ]
        self._progress = Progress()
        self._unexpected: list[str] = []

    async def run(self) -> list[str]:
        """Everything, to the end. Returns what is wrong, a line each."""
        options = self.options
        seconds = options.hours * 3600 if options.hours else options.minutes * 60
        before = await self.watch.read()
        if before is None:
            return ["the server does not answer on /metrics"]
        actors = [*self.publishers, *self.listeners, *self.churners, *self.rough]
        tasks = [asyncio.create_task(actor.run()) for actor in actors]
        watching = [asyncio.create_task(self.watch.run()), *map(asyncio.create_task, self._harm())]
        ended = time.monotonic() + seconds
        while (left := ended - time.monotonic()) > 0:
            self._show(1 - left / seconds)
            await asyncio.sleep(min(0.5, left))
            self._note_the_dead(tasks)
        await self._end(tasks, watching)
        after = await self.watch.wait_until_empty(EMPTY_SECONDS, before.processes)
        self._progress.clear()
        return self._unexpected + self._verdict(before, after)

    async def _end(self, tasks: list[asyncio.Task[None]], watching: list[asyncio.Task[Any]]) -> None:
        """Publishers first; then everybody has time to hear the rest."""
        for task in watching:
            task.cancel()
        for publisher in self.publishers:
            publisher.is_stopping = True
        await asyncio.wait(tasks[: len(self.publishers)], timeout=3 * DRAIN_SECONDS)
        await asyncio.sleep(DRAIN_SECONDS)
        for listener in self.listeners:
            if listener.ear is not None:
                listener.ear.finish()
        for actor in (*self.listeners, *self.churners, *self.rough):
            actor.is_stopping = True
        self._note_the_dead(tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *watching, return_exceptions=True)

    def _harm(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What is done to the server, each in its own rhythm."""
        options, server = self.options, self.server
        if server is None:
            return
        for seconds, harm in (
            (options.roll_every, self._roll),
            (options.kill_worker_every, self._kill_worker),
            (options.kill_redis_every, self._kill_redis),
        ):
            if seconds:
                yield self._again_and_again(seconds, harm)

    async def _again_and_again(self, seconds: float, harm: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await asyncio.sleep(seconds * random.uniform(0.8, 1.2))
            await harm()

    async def _roll(self) -> None:
        assert self.server is not None
        self.server.roll()
        self.ledger.note("rolled all workers")

    async def _kill_worker(self) -> None:
        assert self.server is not None
        if self.server.kill_worker() is not None:
            self.ledger.note("killed a worker")

    async def _kill_redis(self) -> None:
        assert self.server is not None
        self.ledger.note("Redis killed")
        self.server.kill_redis()
        await asyncio.sleep(REDIS_AWAY_SECONDS)
        await asyncio.to_thread(self.server.start_redis)
        self.ledger.note("Redis started again")

    def _note_the_dead(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                self._unexpected.append(f"a client ended with {error!r}")
                tasks.remove(task)

    def _show(self, share: float) -> None:
        ledger = self.ledger
        memory = f"{self.watch.samples[-1].rss_bytes / 1e6:.0f} MB" if self.watch.samples else "-"
        faults = sum(ledger.faults.values())
        self._progress.show(
            share,
            f"{ledger.counts['acknowledged']:,} acknowledged · {ledger.counts['heard']:,} heard"
            f" · {faults} faults · {memory} a process",
        )

    def _verdict(self, before: Sample, after: Sample | None) -> list[str]:
        """What is wrong."""
        ledger = self.ledger
        ledger.judge()
        wrong = [f"{count} {kind}" for kind, count in sorted(ledger.faults.items())]
        if not ledger.counts["acknowledged"] or not ledger.counts["heard"]:
            wrong.append("nothing was heard at all")
        if after is None:
            return [*wrong, "the server answers no more"]
        if after.connections:
            wrong.append(f"{after.connections:.0f} connections are left though nobody is there")
        if after.subscriptions:
            wrong.append(f"{after.subscriptions:.0f} subscriptions are left though nobody is there")
        if after.queue_bytes:
            wrong.append(f"{after.queue_bytes:.0f} bytes are queued for nobody")
        if after.descriptors > before.descriptors + self.options.descriptors_slack:
            wrong.append(f"descriptors went from {before.descriptors:.0f} to {after.descriptors:.0f}")
        growth = self.watch.growth()
        if growth is not None and has_grown(*growth):
            wrong.append(f"memory grew from {growth[0] / 1e6:.1f} MB to {growth[1] / 1e6:.1f} MB")
        if self.server is not None and (lines := _bad_lines(self.server.log)):
            wrong.append(f"{len(lines)} lines in the server's log, such as {lines[0][:300]}")
        return wrong

    def report(self, wrong: list[str]) -> str:
        """The account, and the verdict."""
        lines = [f"{what:<32}{count:>12,}" for what, count in sorted(self.ledger.counts.items())]
        memory = [sample.rss_bytes / 1e6 for sample in self.watch.samples]
        if memory:
            lines.append(
                f"memory of a server process, MB: first {memory[0]:.1f}, most {max(memory):.1f}, last {memory[-1]:.1f}"
            )
        if self.ledger.examples:
            lines += [f"  {example}" for example in self.ledger.examples]
            lines.append(f"  what was done to the server: {', '.join(self.ledger.harms)}")
        lines += [f"WRONG: {line}" for line in wrong] or ["all well"]
        return "\n".join(lines)


def _bad_lines(log: bytes) -> list[str]:
    return [
        line for line in log.decode(errors="replace").splitlines() if "Traceback" in line or "error of ours" in line
    ]


def main() -> int:
    options = _arguments()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = None
    if options.url is None:
        server = OwnServer(workers=options.workers, redis=options.redis or bool(options.kill_redis_every))
        try:
            server.start()
        except RuntimeError as error:
            print(f"soak: {error}", file=sys.stderr)
            server.stop()
            return 2
    soak = Soak(options, options.url or server.url, server)  # type: ignore[union-attr] # one of the two there is
    try:
        wrong = uvloop.run(soak.run())
    finally:
        code = 0 if server is None else server.stop()
    if code:
        wrong.append(f"the server ended with exit code {code}")
    print(soak.report(wrong))
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--hours", type=float, default=0.0, help="instead of --minutes")
    parser.add_argument("--url", help="a server that runs; default: one of our own")
    parser.add_argument("--workers", type=int, default=1, help="of our own server")
    parser.add_argument("--redis", action="store_true", help="our own server runs on a Redis of its own")
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--publishers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=40.0, help="messages a second of each publisher")
    parser.add_argument("--listeners", type=int, default=40)
    parser.add_argument("--churners", type=int, default=20)
    parser.add_argument("--slow", type=int, default=4, help="readers that do not read")
    parser.add_argument("--resetters", type=int, default=2)
    parser.add_argument("--roll-every", type=float, default=0.0, metavar="S", help="replace all workers")
    parser.add_argument("--kill-worker-every", type=float, default=0.0, metavar="S")
    parser.add_argument("--kill-redis-every", type=float, default=0.0, metavar="S")
    parser.add_argument("--descriptors-slack", type=int, default=8, help="descriptors that may stay open in all")
    return parser.parse_args()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
