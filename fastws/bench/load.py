"""A load run: starts the processes, sends them commands and adds up their results."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from fastws.bench.aggregate import ReconnectResult, Reply, add_run, add_settled, reconnect_result
from fastws.bench.plan import Plan
from fastws.bench.progress import Progress
from fastws.bench.result import Result
from fastws.bench.scoreboard import DELIVERIES, FAILED, READY, Scoreboard

SHOW_SECONDS: Final = 0.2
# All processes start together, this long after the command is sent.
LEAD_SECONDS: Final = 0.05
# How often the scoreboard is read.
BOARD_SECONDS: Final = 0.02
Pipe = TypeVar("Pipe")


class LoadFailed(Exception):
    """The run failed; the message says why."""


class Load:
    """`async with Load(plan) as load: await load.connect(); result = await load.run()`. `run` may be called again."""

    def __init__(self, plan: Plan, progress: Progress | None = None) -> None:
        plan.check()
        self.plan = plan
        self.ready = 0
        self.connect_seconds = 0.0
        # CPU of each process of this client while it connected, in cores.
        self.connect_cpu: list[float] = []
        self.refusals: Counter[str] = Counter()
        self._progress = progress or Progress()
        self._board = Scoreboard.create(plan.processes)
        self._processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        for number in range(self.plan.processes):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "fastws.bench.worker"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=1 << 24,
            )
            self._processes.append(process)
            first = {
                "plan": self.plan.to_json(),
                "process": number,
                "board": self._board.path,
                "processes": self.plan.processes,
            }
            self._write(process, first)
        return self

    async def connect(self) -> None:
        """Open all connections. `ready` counts those that are subscribed, `refusals` the reasons of the others."""
        replies = await self._with_progress("connecting", self.plan.connect_seconds, {"do": "connect"})
        self.ready = sum(reply["ready"] for reply in replies)
        self.connect_seconds = max(reply["seconds"] for reply in replies)
        self.connect_cpu = [reply["client_cpu"] for reply in replies]
        for reply in replies:
            self.refusals.update(reply["refusals"])
        if not self.ready:
            reasons = "; ".join(self.refusals) or "no reply"
            raise LoadFailed(f"no connection to {self.plan.urls[0]} succeeded: {reasons}")

    async def run(
        self,
        *,
        rate: float | None = None,
        window: int | None = None,
        seconds: float | None = None,
        warm_seconds: float | None = None,
        messages: int = 0,
        at_start_and_end: Callable[[], None] = lambda: None,
    ) -> Result:
        """Publish and measure. Omitted values come from the plan; `messages` ends an open loop after that many.
        `at_start_and_end` is called at the start and at the end of the measured time."""
        warm = self.plan.warm_seconds if warm_seconds is None else warm_seconds
        measured = self.plan.seconds if seconds is None else seconds
        command = _run_command(
            rate=self.plan.rate if rate is None else rate,
            window=window or self.plan.window,
            warm_seconds=warm,
            seconds=measured,
            messages=messages,
        )
        result = self._empty_result(command)
        edges = asyncio.create_task(_at_edges(at_start_and_end, LEAD_SECONDS + warm, measured))
        try:
            await self._measure(command, warm + measured, result)
            await edges
        finally:
            edges.cancel()
        return result

    async def _measure(self, command: dict[str, object], seconds: float, result: Result) -> None:
        if self.plan.mode == "idle":
            await self._with_progress("holding", seconds, None)
            return
        ran = await self._with_progress("running", seconds, command)
        settled = await self._send_command({"do": "settle", "published": ran[0]["published"]})
        add_run(result, ran)
        add_settled(result, settled)
        result.errors = {**self.refusals, **result.errors}

    async def disconnect_all(self) -> ReconnectResult:
        """Reset all connections at once, and wait until all clients are subscribed again."""
        command: dict[str, object] = {"do": "disconnect_all"}
        return reconnect_result(await self._with_progress("reconnecting", self.plan.connect_seconds, command))

    async def disrupt(self, disruption: Callable[[], None], *, notice_seconds: float = 10.0) -> ReconnectResult:
        """Call `disruption`, and wait until all clients that lost their connection are subscribed again.

        It does not wait if no client has lost its connection within `notice_seconds`.
        """
        connected_before = self.connected
        await self._send_command({"do": "watch"})
        disruption()
        deadline = time.monotonic() + notice_seconds
        while self.connected >= connected_before and time.monotonic() < deadline:  # noqa: ASYNC110 # a file
            await asyncio.sleep(BOARD_SECONDS)
        command: dict[str, object] = {"do": "wait_ready"}
        return reconnect_result(await self._with_progress("reconnecting", self.plan.connect_seconds, command))

    @property
    def deliveries(self) -> int:
        """Deliveries so far, in all processes."""
        return self._board.total(DELIVERIES)

    @property
    def connected(self) -> int:
        """Subscribed clients, at most 50 ms ago."""
        return self._board.total(READY)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def _empty_result(self, command: Mapping[str, Any]) -> Result:
        plan = self.plan
        return Result(
            mode=plan.mode,
            connections=plan.connections,
            ready=self.ready,
            channels=plan.channels,
            rate=command["rate"],
            window=command["window"],
            payload_bytes=plan.payload_bytes,
            processes=plan.processes,
            connect_seconds=self.connect_seconds,
            connects_per_second=self.ready / self.connect_seconds if self.connect_seconds else 0.0,
            errors=dict(self.refusals),
        )

    async def _with_progress(self, what: str, seconds: float, command: dict[str, object] | None) -> list[Reply]:
        """Send `command` (None: wait for `seconds`) and show progress until the replies are in."""
        if command is None:
            work: asyncio.Task[Any] = asyncio.create_task(asyncio.sleep(seconds))
        else:
            work = asyncio.create_task(self._send_command(command))
        began = time.monotonic()
        try:
            while not (await asyncio.wait((work,), timeout=SHOW_SECONDS))[0]:
                self._show(what, time.monotonic() - began, seconds)
            return await work or []
        finally:
            work.cancel()
            self._progress.clear()

    def _show(self, what: str, spent: float, seconds: float) -> None:
        ready, deliveries = self._board.total(READY), self.deliveries
        if what == "connecting":
            share = (ready + self._board.total(FAILED)) / self.plan.connections
        else:
            share = spent / seconds if seconds else 1.0
        rate = self._progress.rate(deliveries)
        self._progress.show(share, f"{what} {spent:.0f} s · {ready:,} connected · {rate:,.0f} deliveries/s")

    async def _send_command(self, command: dict[str, object]) -> list[Reply]:
        for process in self._processes:
            self._write(process, command)
        return await asyncio.gather(*(self._read_reply(process) for process in self._processes))

    def _write(self, process: asyncio.subprocess.Process, message: dict[str, object]) -> None:
        _pipe(process.stdin).write(json.dumps(message).encode() + b"\n")

    async def _read_reply(self, process: asyncio.subprocess.Process) -> Reply:
        line = await _pipe(process.stdout).readline()
        if not line:
            raise LoadFailed(f"a load process exited unexpectedly with code {await process.wait()}")
        reply: Reply = json.loads(line)
        if "failure" in reply:
            raise LoadFailed(reply["failure"])
        return reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            _pipe(process.stdin).close()  # at the end of its input a process closes its connections and exits
        for process in self._processes:
            try:
                async with asyncio.timeout(5):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        self._board.remove()


def _run_command(*, rate: float, window: int, warm_seconds: float, seconds: float, messages: int) -> dict[str, object]:
    """The command of a run that starts in LEAD_SECONDS."""
    start = time.monotonic_ns() + int(LEAD_SECONDS * 1e9)
    begin = start + int(warm_seconds * 1e9)
    return {
        "do": "run",
        "rate": rate,
        "window": window,
        "messages": messages,
        "start_ns": start,
        "begin_ns": begin,
        "end_ns": begin + int(seconds * 1e9),
    }


def _pipe(pipe: Pipe | None) -> Pipe:
    """Narrows the type: the processes are started with pipes."""
    if pipe is None:
        raise LoadFailed("a load process has no pipe")
    return pipe


async def _at_edges(call: Callable[[], None], begin_seconds: float, measured_seconds: float) -> None:
    await asyncio.sleep(begin_seconds)
    call()
    await asyncio.sleep(measured_seconds)
    call()
