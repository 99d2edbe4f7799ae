"""One process of a load run: `python -m fastws.bench.worker`, told what to do by JSON lines on its standard input."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import uvloop

from fastws.bench.crew import Crew, now_ns
from fastws.bench.dialing import Link
from fastws.bench.echoer import Echoer
from fastws.bench.outlets import HttpOutlet, Outlet, WebSocketOutlet
from fastws.bench.pace import ClosedLoop, OpenLoop, Sequence
from fastws.bench.plan import Plan
from fastws.bench.receiver import Receiver
from fastws.bench.scoreboard import DELIVERIES, FAILED, PUBLISHED, READY, Scoreboard

# Latencies taken a second in one process: a fifth of a core at most.
LATENCIES_PER_SECOND: Final = 60_000
REPORT_SECONDS: Final = 0.05
CLOSED_REPORT_SECONDS: Final = 0.001

Command = Mapping[str, Any]
Answer = dict[str, object]


class Worker:
    """Its share of the clients of a run; process 0 publishes, too."""

    def __init__(self, plan: Plan, process: int, board: Scoreboard) -> None:
        self.plan = plan
        self.process = process
        self.board = board
        self.crew = Crew(plan)
        self.links: list[tuple[int, Receiver | Echoer]] = [(i, self._client(i)) for i in plan.share(process)]
        self.sequence = Sequence(plan.channels)
        self.outlet: Outlet | None = None
        self._healthy = sum(1 for _ in plan.healthy())

    def _client(self, index: int) -> Receiver | Echoer:
        return Echoer(self.crew, index) if self.plan.mode in ("echo", "ingest") else Receiver(self.crew, index)

    async def connect(self, command: Command) -> Answer:
        """Open every connection; answers when all are subscribed, refused or out of time."""
        plan, crew = self.plan, self.crew
        began, used = time.monotonic(), time.process_time()
        links: list[tuple[int, Link]] = list(self.links)
        dialing = asyncio.create_task(crew.open_all(links, rate=plan.connect_rate / plan.processes))
        await _until(lambda: crew.ready + crew.failed >= len(links), plan.connect_seconds)
        dialing.cancel()
        seconds, used = time.monotonic() - began, time.process_time() - used
        for _, link in self.links:
            if isinstance(link, Receiver) and not link.is_ready:
                link.expected = None  # should it come later, it is owed what is published from then on
        if self.process == 0 and plan.mode == "fan-out" and crew.ready:
            self.outlet = HttpOutlet(crew) if plan.key else WebSocketOutlet(crew)
            await self.outlet.open()
        # Nothing here makes cycles; a collection over 20,000 clients would stop the clock for 20 ms.
        gc.collect()
        gc.freeze()
        gc.disable()
        return {
            "ready": crew.ready,
            "seconds": seconds,
            "client_cpu": used / seconds,
            "refusals": dict(crew.refusals),
        }

    async def run(self, command: Command) -> Answer:
        """Publish (process 0) or talk, and measure. Answers what was heard between `begin_ns` and `end_ns`."""
        plan, crew = self.plan, self.crew
        begin, end = int(command["begin_ns"]), int(command["end_ns"])
        crew.measure(begin, end, self._every(command))
        pace = self._start(command)
        await asyncio.sleep(max(0.0, (begin - now_ns()) / 1e9))
        first = (now_ns(), crew.deliveries, time.process_time(), self.sequence.published)
        await asyncio.sleep(max(0.0, (end - now_ns()) / 1e9))
        last = (now_ns(), crew.deliveries, time.process_time(), self.sequence.published)
        if pace is not None:
            await pace.done
        return {
            "published": self.sequence.published,
            "seconds": (last[0] - first[0]) / 1e9,
            "deliveries": last[1] - first[1],
            "client_cpu": (last[2] - first[2]) / ((last[0] - first[0]) / 1e9),
            "messages": last[3] - first[3] if plan.mode == "fan-out" else last[1] - first[1],
            "stalls": pace.stalls if pace else 0,
            "lateness": pace.lateness.to_dict() if pace else None,
        }

    def _start(self, command: Command) -> OpenLoop | ClosedLoop | None:
        plan, crew, outlet = self.plan, self.crew, self.outlet
        if plan.mode in ("echo", "ingest"):
            for _, link in self.links:
                if isinstance(link, Echoer):
                    link.send(int(command["window"]))
            return None
        if self.process != 0 or plan.mode == "idle":
            return None
        if outlet is None:
            raise ConnectionError("the publisher has no connection")
        rate, end = float(command["rate"]), int(command["end_ns"])
        if rate:
            start = int(command["start_ns"])
            count = int(command["messages"])
            return OpenLoop(crew, self.sequence, outlet, rate=rate, begin_ns=start, end_ns=end, messages=count)
        others = None
        if plan.processes > 1:
            process, board = self.process, self.board

            def others() -> int:
                return board.total_of_others(process, DELIVERIES)

        window, fan_out = int(command["window"]), self._healthy / plan.channels
        return ClosedLoop(crew, self.sequence, outlet, window=window, fan_out=fan_out, end_ns=end, others=others)

    def _every(self, command: Command) -> int:
        """Of how many messages one is to be timed. In the closed loop their number is not known before: 1 in 16."""
        if self.plan.mode != "fan-out":
            return 1
        rate = float(command["rate"])
        if not rate:
            return 16 if int(command["window"]) > 1 else 4
        per_second = rate * len(self.links) / self.plan.channels
        return max(1, round(per_second / LATENCIES_PER_SECOND))

    async def settle(self, command: Command) -> Answer:
        """Wait until everybody heard all that was published, and answer what each is missing."""
        crew, published = self.crew, int(command["published"])
        await _until(lambda: self._unheard(published) == 0, self.plan.drain_seconds)
        await self._look_after_slow_ones(published)
        outlet = self.outlet
        answer = {
            "ready": crew.ready,
            "missing": crew.missing + self._unheard(published),
            "repeated": crew.repeated,
            "slow_closed": crew.slow_closed,
            "slow_whole": self._slow_whole(published),
            "slow_missing": crew.slow_missing,
            "reconnects": crew.reconnects,
            "closed": dict(crew.closed),
            "notices": dict(crew.notices),
            "latencies": crew.latencies.to_dict(),
            "acknowledged": outlet.acknowledged if outlet else 0,
            "rejected": outlet.rejected if outlet else 0,
            "errors": dict(outlet.errors) if outlet else dict(crew.refusals),
        }
        crew.missing = crew.repeated = crew.slow_missing = 0
        self._forgive(published)
        return answer

    async def _look_after_slow_ones(self, published: int) -> None:
        """Let them read until each has heard the last message, or that it was cut off; `drain_seconds` at most."""
        slow = self._slow()
        for link in slow:
            link.look()
        await _until(lambda: all(self._is_done(link, published) for link in slow), self.plan.drain_seconds)
        for link in slow:
            link.sleep()

    def _slow(self) -> list[Receiver]:
        return [link for _, link in self.links if isinstance(link, Receiver) and link.is_slow]

    def _is_done(self, link: Receiver, published: int) -> bool:
        return not link.is_ready or self._has_heard(link, published)

    def _has_heard(self, link: Receiver, published: int) -> bool:
        """Whether the last message of its channel is among what it heard."""
        return link.expected is None or link.expected >= self.plan.published_to(link.group.channel, published)

    def _slow_whole(self, published: int) -> int:
        return sum(link.is_ready and self._has_heard(link, published) for link in self._slow())

    def _forgive(self, published: int) -> None:
        """What was told as missing is not to be told again when something newer comes."""
        for _, link in self.links:
            if isinstance(link, Receiver) and link.expected is not None:
                link.expected = max(link.expected, self.plan.published_to(link.group.channel, published))

    def _unheard(self, published: int) -> int:
        """Messages not heard yet; whoever came back in between owes nothing before its first."""
        plan = self.plan
        missing = 0
        for index, link in self.links:
            if isinstance(link, Echoer):
                missing += link.number - link.expected
            elif not link.is_slow and link.expected is not None:
                missing += max(0, plan.published_to(plan.channel_of(index), published) - link.expected)
        return missing

    async def cut(self, command: Command) -> Answer:
        """Tear down every connection at once; answers when all are subscribed again (plan.reconnect) or time is up."""
        crew = self.crew
        crew.refusals.clear()
        crew.cut_at(now_ns())
        for _, link in self.links:
            link.cut()
        # The loop tells links in its next turn that they are cut.
        await _until(lambda: crew.ready == 0, self.plan.connect_seconds)
        return await self.wait_ready(command)

    async def watch(self, command: Command) -> Answer:
        """From now on, take how long those are away that lose their connection."""
        self.crew.refusals.clear()
        self.crew.cut_at(now_ns())
        return {}

    async def wait_ready(self, command: Command) -> Answer:
        """Answers when everybody is subscribed, or `connect_seconds` are over."""
        crew = self.crew
        await _until(self._is_back, self.plan.connect_seconds)
        seconds = (now_ns() - crew.cut_ns) / 1e9 if crew.cut_ns else 0.0
        return {
            "ready": crew.ready,
            "seconds": seconds,
            "returns": crew.returns.to_dict(),
            "refusals": dict(crew.refusals),
        }

    def _is_back(self) -> bool:
        return self.crew.ready >= len(self.links) and (self.outlet is None or self.outlet.is_open)

    async def end(self, command: Command) -> Answer:
        self.crew.end()
        for _, link in self.links:
            link.cut()
        if self.outlet is not None:
            self.outlet.close()
        await asyncio.sleep(0)
        return {}

    async def keep_board(self) -> None:
        """Write the scoreboard's row, often enough for a closed loop over processes."""
        crew, board, process = self.crew, self.board, self.process
        busy = self.plan.processes > 1 and not self.plan.rate and self.plan.mode == "fan-out"
        while True:
            board.set(process, READY, crew.ready)
            board.set(process, FAILED, crew.failed)
            board.set(process, DELIVERIES, crew.deliveries)
            board.set(process, PUBLISHED, self.sequence.published)
            await asyncio.sleep(CLOSED_REPORT_SECONDS if busy else REPORT_SECONDS)


async def _until(is_so: Callable[[], bool], seconds: float) -> None:
    """Wait until it is so, `seconds` at most. Looked at now and then: an event would cost every message something."""
    deadline = time.monotonic() + seconds
    while not is_so() and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def _main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    first = json.loads(await reader.readline())
    board = Scoreboard(first["board"], first["processes"])
    worker = Worker(Plan.from_json(first["plan"]), first["process"], board)
    commands = {
        "connect": worker.connect,
        "run": worker.run,
        "settle": worker.settle,
        "cut": worker.cut,
        "watch": worker.watch,
        "wait_ready": worker.wait_ready,
        "end": worker.end,
    }
    keeping = asyncio.create_task(worker.keep_board())
    # An empty line is the end of the pipe: whoever started us is gone.
    while line := await reader.readline():
        command = json.loads(line)
        try:
            answer = await commands[command["do"]](command)
        except OSError as error:
            answer = {"failure": str(error)}
        print(json.dumps(answer), flush=True)
        if command["do"] == "end":
            break
    keeping.cancel()


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        uvloop.run(_main())
    except KeyboardInterrupt:
        # Ctrl-C reaches every process of the terminal's group; the one that started us says the word.
        os._exit(130)


if __name__ == "__main__":
    main()
