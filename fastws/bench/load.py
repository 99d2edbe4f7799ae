"""A load run: starts the processes, tells them what to do, adds up what they found."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from fastws.bench.plan import Plan
from fastws.bench.progress import Progress
from fastws.bench.result import Result
from fastws.bench.scoreboard import DELIVERIES, FAILED, READY, Scoreboard
from fastws.bench.sums import Answer, Return, add_end, add_run, return_of

SHOW_SECONDS: Final = 0.2
# Processes begin together this long after they are told.
LEAD_SECONDS: Final = 0.05
# How often the scoreboard is looked at.
BOARD_SECONDS: Final = 0.02
Pipe = TypeVar("Pipe")


class LoadFailed(Exception):
    """The run could not be made; the text says why."""


class Load:
    """`async with Load(plan) as load: await load.connect(); result = await load.run()`; `run` as often as wanted."""

    def __init__(self, plan: Plan, progress: Progress | None = None) -> None:
        plan.check()
        self.plan = plan
        self.ready = 0
        self.connect_seconds = 0.0
        # Of each process of this client while it connected, in cores.
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
        """Open every connection. `ready` are subscribed afterwards, `refusals` say why others are not."""
        answers = await self._shown("connecting", self.plan.connect_seconds, {"do": "connect"})
        self.ready = sum(answer["ready"] for answer in answers)
        self.connect_seconds = max(answer["seconds"] for answer in answers)
        self.connect_cpu = [answer["client_cpu"] for answer in answers]
        for answer in answers:
            self.refusals.update(answer["refusals"])
        if not self.ready:
            reasons = "; ".join(self.refusals) or "no answer"
            raise LoadFailed(f"not one connection to {self.plan.urls[0]} succeeded: {reasons}")

    async def run(
        self,
        *,
        rate: float | None = None,
        window: int | None = None,
        seconds: float | None = None,
        warm_seconds: float | None = None,
        messages: int = 0,
        at_edges: Callable[[], None] = lambda: None,
    ) -> Result:
        """Publish and listen. What is not given is the plan's; `messages` ends an open loop after so many.

        `at_edges` is called when what is measured begins, and when it ends.
        """
        plan = self.plan
        warm = plan.warm_seconds if warm_seconds is None else warm_seconds
        lasting = plan.seconds if seconds is None else seconds
        start = time.monotonic_ns() + int(LEAD_SECONDS * 1e9)
        begin = start + int(warm * 1e9)
        a_second = plan.rate if rate is None else rate
        under_way = window or plan.window
        command: dict[str, object] = {
            "do": "run",
            "rate": a_second,
            "window": under_way,
            "messages": messages,
            "start_ns": start,
            "begin_ns": begin,
            "end_ns": begin + int(lasting * 1e9),
        }
        result = self._empty_result(a_second, under_way)
        if plan.mode == "idle":
            at_edges()
            await self._shown("holding", lasting, None)
            at_edges()
            return result
        edges = asyncio.create_task(_at_edges(at_edges, LEAD_SECONDS + warm, lasting))
        try:
            ran = await self._shown("running", warm + lasting, command)
            await edges
        finally:
            edges.cancel()
        settled = await self._tell({"do": "settle", "published": ran[0]["published"]})
        add_run(result, ran)
        add_end(result, settled)
        result.errors = {**self.refusals, **result.errors}
        return result

    async def cut(self) -> Return:
        """Tear all connections down at once, and wait until everybody is subscribed again."""
        return return_of(await self._shown("coming back", self.plan.connect_seconds, {"do": "cut"}))

    async def lose(self, harm: Callable[[], None], *, notice_seconds: float = 10.0) -> Return:
        """Do `harm` to the server, and wait until everybody who lost a connection by it is subscribed again.

        Where nobody has noticed anything after `notice_seconds` there is nobody to wait for.
        """
        everybody = self.connected
        await self._tell({"do": "watch"})
        harm()
        deadline = time.monotonic() + notice_seconds
        while self.connected >= everybody and time.monotonic() < deadline:  # noqa: ASYNC110 # written by other processes
            await asyncio.sleep(BOARD_SECONDS)
        return return_of(await self._shown("coming back", self.plan.connect_seconds, {"do": "wait_ready"}))

    @property
    def deliveries(self) -> int:
        """So far, in all processes."""
        return self._board.total(DELIVERIES)

    @property
    def connected(self) -> int:
        """Subscribed now, at most 50 ms ago."""
        return self._board.total(READY)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def _empty_result(self, rate: float, window: int) -> Result:
        plan = self.plan
        return Result(
            mode=plan.mode,
            connections=plan.connections,
            ready=self.ready,
            channels=plan.channels,
            rate=rate,
            window=window,
            payload_bytes=plan.payload_bytes,
            processes=plan.processes,
            connect_seconds=self.connect_seconds,
            connects_per_second=self.ready / self.connect_seconds if self.connect_seconds else 0.0,
            errors=dict(self.refusals),
        )

    async def _shown(self, what: str, seconds: float, command: dict[str, object] | None) -> list[Answer]:
        """Tell `command` (None: wait) and show progress meanwhile."""
        if command is None:
            work: asyncio.Task[Any] = asyncio.create_task(asyncio.sleep(seconds))
        else:
            work = asyncio.create_task(self._tell(command))
        began = time.monotonic()
        try:
            while not (await asyncio.wait((work,), timeout=SHOW_SECONDS))[0]:
                self._show(what, time.monotonic() - began, seconds)
            return await work or []
        finally:
            work.cancel()
            self._progress.clear()

    def _show(self, what: str, spent: float, seconds: float) -> None:
        ready, heard = self._board.total(READY), self.deliveries
        if what == "connecting":
            share = (ready + self._board.total(FAILED)) / self.plan.connections
        else:
            share = spent / seconds if seconds else 1.0
        rate = self._progress.rate(heard)
        self._progress.show(share, f"{what} {spent:.0f} s · {ready:,} connected · {rate:,.0f} deliveries/s")

    async def _tell(self, command: dict[str, object]) -> list[Answer]:
        for process in self._processes:
            self._write(process, command)
        return await asyncio.gather(*(self._answer(process) for process in self._processes))

    def _write(self, process: asyncio.subprocess.Process, message: dict[str, object]) -> None:
        _pipe(process.stdin).write(json.dumps(message).encode() + b"\n")

    async def _answer(self, process: asyncio.subprocess.Process) -> Answer:
        line = await _pipe(process.stdout).readline()
        if not line:
            raise LoadFailed(f"a load process ended by itself with code {await process.wait()}")
        answer: Answer = json.loads(line)
        if "failure" in answer:
            raise LoadFailed(answer["failure"])
        return answer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            _pipe(process.stdin).close()  # the end of the pipe is the end of the process
        for process in self._processes:
            try:
                await asyncio.wait_for(process.wait(), 5)
            except TimeoutError:
                process.kill()
                await process.wait()
        self._board.remove()


def _pipe(pipe: Pipe | None) -> Pipe:
    """A process was started with pipes: asyncio's types do not know."""
    if pipe is None:
        raise LoadFailed("a load process has no pipe")
    return pipe


async def _at_edges(call: Callable[[], None], begin_seconds: float, lasting_seconds: float) -> None:
    await asyncio.sleep(begin_seconds)
    call()
    await asyncio.sleep(lasting_seconds)
    call()
