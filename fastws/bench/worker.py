"""One process of a load run: `python -m fastws.bench.worker`. It reads commands as JSON lines from standard input."""

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

from fastws.bench.connector import Client
from fastws.bench.echo_client import EchoClient
from fastws.bench.generators import ClosedLoop, OpenLoop, Sequence
from fastws.bench.plan import Plan
from fastws.bench.publishers import HttpPublisher, Publisher, WebSocketPublisher
from fastws.bench.receiver import Receiver
from fastws.bench.scoreboard import DELIVERIES, FAILED, PUBLISHED, READY, Scoreboard
from fastws.bench.shared import Shared, now_ns

# Latencies taken per second in one process: they cost a fifth of a core at most.
LATENCIES_PER_SECOND: Final = 60_000
# The server has this long to answer the close frames at the end of a run.
CLOSE_SECONDS: Final = 3.0
REPORT_SECONDS: Final = 0.05
CLOSED_REPORT_SECONDS: Final = 0.001

Command = Mapping[str, Any]
Reply = dict[str, object]


class Worker:
    """A share of the clients of a run; process 0 also publishes."""

    def __init__(self, plan: Plan, process: int, board: Scoreboard) -> None:
        self.plan = plan
        self.process = process
        self.board = board
        self.shared = Shared(plan)
        self.clients: list[tuple[int, Receiver | EchoClient]] = [(i, self._make_client(i)) for i in plan.share(process)]
        self.sequence = Sequence(plan.channels)
        self.publisher: Publisher | None = None
        self._healthy = sum(1 for _ in plan.healthy())

    def _make_client(self, index: int) -> Receiver | EchoClient:
        return EchoClient(self.shared, index) if self.plan.mode in ("echo", "ingest") else Receiver(self.shared, index)

    async def connect(self, command: Command) -> Reply:
        """Open all connections; replies when each is subscribed or refused, or time is up."""
        plan, shared = self.plan, self.shared
        began, used = time.monotonic(), time.process_time()
        clients: list[tuple[int, Client]] = list(self.clients)
        connecting = asyncio.create_task(shared.open_all(clients, rate=plan.connect_rate / plan.processes))
        await _until(lambda: shared.ready + shared.failed >= len(clients), plan.connect_seconds)
        connecting.cancel()
        seconds, used = time.monotonic() - began, time.process_time() - used
        for _, client in self.clients:
            if isinstance(client, Receiver) and not client.is_ready:
                client.expected = None  # if it gets ready later, it must get what is published from then on
        if self.process == 0 and plan.mode == "fan-out" and shared.ready:
            self.publisher = HttpPublisher(shared) if plan.key else WebSocketPublisher(shared)
            await self.publisher.open()
        # Nothing here creates cycles, and a collection over 20,000 clients would stall the process for 20 ms.
        gc.collect()
        gc.freeze()
        gc.disable()
        return {
            "ready": shared.ready,
            "seconds": seconds,
            "client_cpu": used / seconds,
            "refusals": dict(shared.refusals),
        }

    async def run(self, command: Command) -> Reply:
        """Publish (process 0) or echo, and measure. Replies with what arrived between `begin_ns` and `end_ns`."""
        plan, shared = self.plan, self.shared
        begin, end = int(command["begin_ns"]), int(command["end_ns"])
        shared.measure(begin, end, self._every(command))
        generator = self._start(command)
        await asyncio.sleep(max(0.0, (begin - now_ns()) / 1e9))
        first = (now_ns(), shared.deliveries, time.process_time(), self.sequence.published)
        await asyncio.sleep(max(0.0, (end - now_ns()) / 1e9))
        last = (now_ns(), shared.deliveries, time.process_time(), self.sequence.published)
        if generator is not None:
            await generator.done
        return {
            "published": self.sequence.published,
            "seconds": (last[0] - first[0]) / 1e9,
            "deliveries": last[1] - first[1],
            "client_cpu": (last[2] - first[2]) / ((last[0] - first[0]) / 1e9),
            "messages": last[3] - first[3] if plan.mode == "fan-out" else last[1] - first[1],
            "stalls": generator.stalls if generator else 0,
            "lateness": generator.lateness.to_dict() if generator else None,
        }

    def _start(self, command: Command) -> OpenLoop | ClosedLoop | None:
        plan, shared, publisher = self.plan, self.shared, self.publisher
        if plan.mode in ("echo", "ingest"):
            for _, client in self.clients:
                if isinstance(client, EchoClient):
                    client.send(int(command["window"]))
            return None
        if self.process != 0 or plan.mode == "idle":
            return None
        if publisher is None:
            raise ConnectionError("the publisher has no connection")
        rate, end = float(command["rate"]), int(command["end_ns"])
        if rate:
            start = int(command["start_ns"])
            count = int(command["messages"])
            return OpenLoop(shared, self.sequence, publisher, rate=rate, begin_ns=start, end_ns=end, messages=count)
        others = None
        if plan.processes > 1:
            process, board = self.process, self.board

            def others() -> int:
                return board.total_of_others(process, DELIVERIES)

        window, fan_out = int(command["window"]), self._healthy / plan.channels
        return ClosedLoop(shared, self.sequence, publisher, window=window, fan_out=fan_out, end_ns=end, others=others)

    def _every(self, command: Command) -> int:
        """Take the latency of one in so many messages. The closed loop's rate is not known in advance: 1 in 16."""
        if self.plan.mode != "fan-out":
            return 1
        rate = float(command["rate"])
        if not rate:
            return 16 if int(command["window"]) > 1 else 4
        per_second = rate * len(self.clients) / self.plan.channels
        return max(1, round(per_second / LATENCIES_PER_SECOND))

    async def settle(self, command: Command) -> Reply:
        """Wait until all receivers have got everything, `drain_seconds` at most; replies with what is missing."""
        shared, published = self.shared, int(command["published"])
        await _until(lambda: self._count_missing(published) == 0, self.plan.drain_seconds)
        await self._drain_slow_receivers(published)
        publisher = self.publisher
        reply = {
            "ready": shared.ready,
            "missing": shared.missing + self._count_missing(published),
            "repeated": shared.repeated,
            "slow_closed": shared.slow_closed,
            "slow_whole": self._count_complete_slow(published),
            "slow_missing": shared.slow_missing,
            "reconnects": shared.reconnects,
            "closed": dict(shared.closed),
            "notices": dict(shared.notices),
            "latencies": shared.latencies.to_dict(),
            "acknowledged": publisher.acknowledged if publisher else 0,
            "rejected": publisher.rejected if publisher else 0,
            "errors": dict(publisher.errors) if publisher else dict(shared.refusals),
        }
        shared.missing = shared.repeated = shared.slow_missing = 0
        self._reset_expected(published)
        return reply

    async def _drain_slow_receivers(self, published: int) -> None:
        """Let slow receivers read until each has the last message or its close, `drain_seconds` at most."""
        slow = self._slow()
        for client in slow:
            client.resume_if_slow()
        await _until(lambda: all(self._is_done(client, published) for client in slow), self.plan.drain_seconds)
        for client in slow:
            client.pause_if_slow()

    def _slow(self) -> list[Receiver]:
        return [client for _, client in self.clients if isinstance(client, Receiver) and client.is_slow]

    def _is_done(self, client: Receiver, published: int) -> bool:
        return not client.is_ready or self._has_last(client, published)

    def _has_last(self, client: Receiver, published: int) -> bool:
        """Whether it has got the last message of its channel."""
        return client.expected is None or client.expected >= self.plan.published_to(client.group.channel, published)

    def _count_complete_slow(self, published: int) -> int:
        return sum(client.is_ready and self._has_last(client, published) for client in self._slow())

    def _reset_expected(self, published: int) -> None:
        """Count no message as missing twice: expect only newer ones from now on."""
        for _, client in self.clients:
            if isinstance(client, Receiver) and client.expected is not None:
                client.expected = max(client.expected, self.plan.published_to(client.group.channel, published))

    def _count_missing(self, published: int) -> int:
        """Messages that receivers have not got yet. After a reconnect, the first message is the first expected."""
        plan = self.plan
        missing = 0
        for index, client in self.clients:
            if isinstance(client, EchoClient):
                missing += client.number - client.expected
            elif not client.is_slow and client.expected is not None:
                missing += max(0, plan.published_to(plan.channel_of(index), published) - client.expected)
        return missing

    async def disconnect_all(self, command: Command) -> Reply:
        """Reset all connections at once; replies when all are subscribed again (plan.reconnect) or time is up."""
        shared = self.shared
        shared.refusals.clear()
        shared.mark_lost(now_ns())
        for _, client in self.clients:
            client.abort()
        # connection_lost is called in the next turn of the loop.
        await _until(lambda: shared.ready == 0, self.plan.connect_seconds)
        return await self.wait_ready(command)

    async def watch(self, command: Command) -> Reply:
        """Measure from now on how long clients are away that lose their connection."""
        self.shared.refusals.clear()
        self.shared.mark_lost(now_ns())
        return {}

    async def wait_ready(self, command: Command) -> Reply:
        """Replies when all clients are subscribed, or after `connect_seconds`."""
        shared = self.shared
        await _until(self._is_back, self.plan.connect_seconds)
        seconds = (now_ns() - shared.lost_at_ns) / 1e9 if shared.lost_at_ns else 0.0
        return {
            "ready": shared.ready,
            "seconds": seconds,
            "reconnect_times": shared.reconnect_times.to_dict(),
            "refusals": dict(shared.refusals),
        }

    def _is_back(self) -> bool:
        return self.shared.ready >= len(self.clients) and (self.publisher is None or self.publisher.is_open)

    async def close(self) -> None:
        """Close all connections with 1000, and reset those that the server has not closed after CLOSE_SECONDS."""
        self.shared.close()
        for _, client in self.clients:
            client.close()
        if self.publisher is not None:
            self.publisher.close()
        await _until(self._is_closed, CLOSE_SECONDS)
        for _, client in self.clients:
            client.abort()
        if self.publisher is not None:
            self.publisher.abort()
        await asyncio.sleep(0)

    def _is_closed(self) -> bool:
        is_publisher_open = self.publisher is not None and self.publisher.is_open
        return not is_publisher_open and all(client.transport is None for _, client in self.clients)

    async def update_board(self) -> None:
        """Update the scoreboard's row, often enough for a closed loop over several processes."""
        shared, board, process = self.shared, self.board, self.process
        busy = self.plan.processes > 1 and not self.plan.rate and self.plan.mode == "fan-out"
        while True:
            board.set(process, READY, shared.ready)
            board.set(process, FAILED, shared.failed)
            board.set(process, DELIVERIES, shared.deliveries)
            board.set(process, PUBLISHED, self.sequence.published)
            await asyncio.sleep(CLOSED_REPORT_SECONDS if busy else REPORT_SECONDS)


async def _until(is_so: Callable[[], bool], seconds: float) -> None:
    """Wait until `is_so()`, `seconds` at most. It polls, because an event would cost something for every message."""
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
        "disconnect_all": worker.disconnect_all,
        "watch": worker.watch,
        "wait_ready": worker.wait_ready,
    }
    board_task = asyncio.create_task(worker.update_board())
    # At the end of the pipe `readline` returns nothing: the run is over, or the parent process has exited.
    while line := await reader.readline():
        command = json.loads(line)
        try:
            reply = await commands[command["do"]](command)
        except OSError as error:
            reply = {"failure": str(error)}
        print(json.dumps(reply), flush=True)
    await worker.close()
    board_task.cancel()


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        uvloop.run(_main())
    except KeyboardInterrupt:
        # Ctrl-C reaches every process of the terminal's group; the parent process reports it.
        os._exit(130)


if __name__ == "__main__":
    main()
