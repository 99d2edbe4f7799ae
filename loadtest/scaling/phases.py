"""The phases of a run with very many connections; each produces a row."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from scaling.memory import Cost, cores, cost_of
from scaling.rows import Row
from soaking.server import OwnServer

from fastws.bench.aggregate import ReconnectResult
from fastws.bench.load import Load
from fastws.bench.plan import Plan
from fastws.bench.progress import Progress
from fastws.bench.result import Result

PER_CHANNEL: Final = 1000
SLOW_FRACTION: Final = 0.1
# Size of messages in the last two phases: a few of them fill the socket of a slow reader.
PAYLOAD_BYTES: Final = 1024
# How much memory may grow by a storm, as a share.
LEFT_BEHIND: Final = 0.1
EMPTY_SECONDS: Final = 60.0
NAMES: Final = ("ramp", "idle", "all", "kill", "storm", "channels", "slow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Seconds until all clients have a publication, and memory of all server processes."""

    serve_seconds: float = 3.0
    memory_bytes: float = 300e6


class Titled(Progress):
    """The progress line, preceded by the phase."""

    title = ""

    def show(self, share: float, text: str) -> None:
        super().show(share, f"{self.title} · {text}")


class Phases:
    """`run` produces the rows; `on_row` is called with each. `pids` are those of the server's processes."""

    def __init__(
        self,
        plan: Plan,
        targets: Targets,
        *,
        server: OwnServer | None,
        pids: list[int],
        wanted: set[str],
        rate: float,
        idle_seconds: float,
        on_row: Callable[[Row], None],
    ) -> None:
        self.rows: list[Row] = []
        self._plan = plan
        self._targets = targets
        self._server = server
        self._pids = pids
        self._wanted = wanted
        self._rate = rate
        self._idle_seconds = idle_seconds
        self._on_row = on_row
        self._progress = Titled()
        self._empty_cost = self._cost()

    async def run(self) -> None:
        """Run the selected phases. Raises LoadFailed if no server answers."""
        steps: dict[str, Callable[[Load], Coroutine[Any, Any, None]]] = {
            "idle": self._idle,
            "all": self._one_to_all,
            "kill": self._kill_worker,
            "storm": self._storm,
        }
        async with self._load(replace(self._plan, reconnect=True)) as load:
            await self._ramp(load)
            for name, step in steps.items():
                if name in self._wanted:
                    self._begin(name)
                    await step(load)
        await self._wait_until_closed()
        plan = replace(self._plan, channels=max(1, self._plan.connections // PER_CHANNEL), payload_bytes=PAYLOAD_BYTES)
        if "channels" in self._wanted:
            await self._channels(plan)
        if "slow" in self._wanted:
            await self._slow_readers(replace(plan, slow_fraction=SLOW_FRACTION))

    # --- phases that share one load

    async def _ramp(self, load: Load) -> None:
        self._begin("ramp")
        before = self._cost()
        await load.connect()
        after = self._cost()
        each_us = (after.use.cpu_seconds - before.use.cpu_seconds) / load.ready * 1e6
        figures = {
            "connected": load.ready,
            "seconds": load.connect_seconds,
            "connects_per_second": load.ready / load.connect_seconds,
            "server_cpu_us_each": each_us,
            "refusals": dict(load.refusals),
        }
        found = (
            f"{load.ready:,} subscribed in {load.connect_seconds:.1f} s, {figures['connects_per_second']:,.0f}/s"
            f"{_of_server(f', {each_us:.0f} µs of server CPU each', self._pids)}{_refusals(dict(load.refusals))}"
        )
        self._add("ramp", found, "all clients", figures, self._if_absent(load.ready))

    async def _idle(self, load: Load) -> None:
        before = self._cost()
        await self._wait(self._idle_seconds, "holding")
        after = self._cost()
        count = load.ready
        each = (after.use.rss_bytes - self._empty_cost.use.rss_bytes) / count
        kernel = after.kernel_bytes - self._empty_cost.kernel_bytes
        figures = {
            "server_cpu_cores": cores(before, after),
            "server_rss_bytes": after.use.rss_bytes,
            "server_pss_bytes": after.use.pss_bytes,
            "rss_bytes_each": each,
            "kernel_bytes_each_pair": kernel / count,
            "processes": after.use.processes,
            "descriptors": after.use.descriptors,
        }
        found = (
            f"{cores(before, after):.1%} of a core; RSS {_mb(after.use.rss_bytes)} in {after.use.processes} processes"
            f" ({_mb(after.use.pss_bytes)} with shared memory counted once), {_mb(self._empty_cost.use.rss_bytes)} of"
            f" it before the clients, {each:,.0f} B per connection; kernel {_mb(kernel)}, {kernel / count:,.0f} B per"
            " pair"
        )
        wrong = []
        if self._pids and after.use.pss_bytes > self._targets.memory_bytes:
            wrong.append(f"{_mb(after.use.pss_bytes)} in total")
        self._add("idle", found, f"at most {_mb(self._targets.memory_bytes)}", figures, wrong)

    async def _one_to_all(self, load: Load) -> None:
        """Three single messages to all: when the first and the last client got each."""
        firsts, lasts, results = [], [], []
        for _ in range(3):
            result = await load.run(rate=1.0, messages=1, warm_seconds=0.0, seconds=self._targets.serve_seconds)
            results.append(result)
            firsts.append(result.min_us / 1e3)
            lasts.append(result.max_us / 1e3)
        figures = {"first_ms": firsts, "last_ms": lasts, "p50_ms": [result.p50_us / 1e3 for result in results]}
        found = (
            f"first receiver after {_each(firsts)} ms, half of them after {_each(figures['p50_ms'])} ms,"
            f" the last after {_each(lasts)} ms{_notices(results)}"
        )
        wrong = _losses(results)
        if max(lasts) > self._targets.serve_seconds * 1000:
            wrong.append(f"the last after {max(lasts):,.0f} ms")
        self._add(
            "one publication to all", found, f"within {self._targets.serve_seconds:g} s, none lost", figures, wrong
        )

    async def _kill_worker(self, load: Load) -> None:
        """SIGKILL one worker: its clients must reconnect, the others must not be affected."""
        server = self._server
        if server is None or len(server.workers()) < 2:
            return
        back = await load.disrupt(lambda: _kill(server))
        result = await load.run(rate=1.0, messages=2, warm_seconds=0.0, seconds=self._targets.serve_seconds + 1.0)
        found = f"{back.away:,} lost their connection; {_back(back)}{_notices([result])}"
        wrong = [*self._if_absent(back.ready), *_losses([result])]
        self._add("a worker killed", found, "all reconnected, none lost after", asdict(back), wrong)

    async def _storm(self, load: Load) -> None:
        before = self._cost()
        back = await load.disconnect_all()
        result = await load.run(rate=1.0, messages=1, warm_seconds=0.0, seconds=self._targets.serve_seconds)
        after = self._cost()
        left = after.use.rss_bytes / (before.use.rss_bytes or 1) - 1
        figures = {
            **asdict(back),
            "server_rss_bytes_before": before.use.rss_bytes,
            "server_rss_bytes_after": after.use.rss_bytes,
            "server_rss_bytes_peak": after.use.peak_rss_bytes,
        }
        memory = (
            f"; RSS {_mb(before.use.rss_bytes)} before, {_mb(after.use.peak_rss_bytes)} at most,"
            f" {_mb(after.use.rss_bytes)} after"
        )
        found = f"{_back(back)}{_of_server(memory, self._pids)}{_notices([result])}"
        wrong = [*self._if_absent(back.ready), *_losses([result])]
        if left > LEFT_BEHIND:
            wrong.append(f"{left:.0%} more memory than before")
        self._add("all connections lost at once", found, "all reconnected, memory as before", figures, wrong)

    # --- phases with their own load

    async def _channels(self, plan: Plan) -> None:
        self._begin("channels")
        async with self._load(plan) as load:
            await load.connect()
            result, began, ended = await self._run(load)
        used = cores(began, ended)
        self._add(
            f"{plan.channels:,} channels of {plan.connections // plan.channels:,}",
            f"{_latencies(result)}{_of_server(f'; {used:.0%} of a core', self._pids)}{_notices([result])}",
            "none lost",
            _figures(result, used),
            [*self._if_absent(load.ready), *_losses([result])],
        )
        await self._wait_until_closed()

    async def _slow_readers(self, plan: Plan) -> None:
        self._begin("slow readers")
        async with self._load(plan) as load:
            await load.connect()
            result, began, ended = await self._run(load)
        used = cores(began, ended)
        slow = plan.connections - sum(1 for _ in plan.healthy())
        grown = ended.use.rss_bytes - began.use.rss_bytes
        held = ended.socket_bytes - began.socket_bytes
        unreported = slow - result.slow_closed - result.slow_whole
        found = (
            f"the others: {_latencies(result)}; {slow:,} that did not read: {result.slow_closed:,} closed,"
            f" {result.slow_whole:,} got everything when they read"
            f"{_of_server(f'; {_mb(grown)} more RSS, {_mb(held)} more in sockets', self._pids)}{_notices([result])}"
        )
        wrong = [*self._if_absent(load.ready), *_losses([result])]
        if (unreported or result.slow_missing) and not result.notices:
            wrong.append(f"{unreported:,} slow readers missed messages without a notice")
        self._add(
            f"{SLOW_FRACTION:.0%} do not read",
            found,
            "none lost at the others, all losses reported",
            {**_figures(result, used), "slow": slow, "slow_closed": result.slow_closed, "rss_bytes_more": grown},
            wrong,
        )
        await self._wait_until_closed()

    async def _run(self, load: Load) -> tuple[Result, Cost, Cost]:
        """The result, and the cost of the server at the start and at the end of the measured time."""
        edges: list[Cost] = []
        result = await load.run(rate=self._rate, at_start_and_end=lambda: edges.append(self._cost()))
        began, ended = edges
        return result, began, ended

    # --- helpers

    def _load(self, plan: Plan) -> AbstractAsyncContextManager[Load]:
        return Load(plan, self._progress)

    def _begin(self, name: str) -> None:
        self._progress.title = f"{len(self.rows) + 1}/{len(self._wanted | {'ramp'})} {name}"

    def _add(self, phase: str, found: str, target: str, figures: dict[str, Any], wrong: list[str]) -> None:
        row = Row(phase, found, target, figures, tuple(wrong))
        self.rows.append(row)
        self._on_row(row)

    def _if_absent(self, ready: int) -> list[str]:
        absent = self._plan.connections - ready
        return [f"{absent:,} are not connected"] if absent else []

    def _cost(self) -> Cost:
        return cost_of(self._pids)

    async def _wait(self, seconds: float, what: str) -> None:
        for step in range(100):
            self._progress.show(step / 100, f"{what} for {seconds:g} s")
            await asyncio.sleep(seconds / 100)
        self._progress.clear()

    async def _wait_until_closed(self) -> None:
        """Wait until the server has closed the connections of the load."""
        empty = self._empty_cost.use.descriptors + 64
        for _ in range(round(EMPTY_SECONDS / 0.25)):
            if self._cost().use.descriptors <= empty:
                return
            await asyncio.sleep(0.25)


def _kill(server: OwnServer) -> None:
    server.kill_worker()


def _of_server(text: str, pids: list[int]) -> str:
    """`text` if the server's processes can be measured."""
    return text if pids else ""


def _mb(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


def _each(values: list[float]) -> str:
    return " / ".join(f"{value:,.0f}" for value in values)


def _back(back: ReconnectResult) -> str:
    return (
        f"{back.ready:,} are subscribed {back.seconds:.1f} s later: half of those away after {back.p50_seconds:.1f} s,"
        f" 99 % after {back.p99_seconds:.1f} s, the last after {back.max_seconds:.1f} s{_refusals(back.refusals)}"
    )


def _refusals(refusals: dict[str, int]) -> str:
    return "".join(f"; {count:,} attempts failed: {why}" for why, count in refusals.items())


def _latencies(result: Result) -> str:
    return (
        f"{result.deliveries_per_second:,.0f} deliveries/s, p50 {result.p50_us / 1e3:.1f} ms,"
        f" p99 {result.p99_us / 1e3:.1f} ms, max {result.max_us / 1e3:.0f} ms"
    )


def _figures(result: Result, used: float) -> dict[str, Any]:
    latencies = {f"{name}_ms": getattr(result, f"{name}_us") / 1e3 for name in ("p50", "p99", "max")}
    return {"deliveries_per_second": result.deliveries_per_second, **latencies, "server_cpu_cores": used}


def _notices(results: list[Result]) -> str:
    """The notices of the clients, as text."""
    notices: dict[str, int] = {}
    for result in results:
        for what, count in result.notices.items():
            notices[what] = max(notices.get(what, 0), count)
    return "".join(f"; {count:,} {what} notices" for what, count in notices.items())


def _losses(results: list[Result]) -> list[str]:
    """The messages that were lost, repeated or refused, as text."""
    totals = {name: sum(getattr(result, name) for result in results) for name in ("missing", "repeated", "rejected")}
    return [f"{count:,} {name}" for name, count in totals.items() if count]
