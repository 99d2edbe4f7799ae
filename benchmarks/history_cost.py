"""The cost of a history: the same publications with and without one, in turn in one run. The fastest rounds count.

    python benchmarks/history_cost.py                # 15 rounds, about 3 minutes
    python benchmarks/history_cost.py --rounds 3 --only redis

Needs two cores and redis-server. `plain` is without, `kept` with a history; `unset` is a server on which no channel has
one. Times are per publication. The rows:

    memory   from the broker to 1000 transports that are not sockets but accept everything (in_process.py): the part of
             the server alone
    sockets  the same with real clients on core 1, 64 publications in flight; the server on core 0
    redis    through a redis-server on core 1 and back to one subscriber, 256 publications in flight: on one channel,
             where those of a loop iteration are sent together, and on 256 channels, where each is sent alone
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import redis
import uvloop
from in_process import connect, masked
from redis_scale import Row, measure, running

from fastws.config import Config
from fastws.errors import FastWSError
from fastws.server.server import Server
from fastws.vocabulary.positions import Position
from fastws.vocabulary.publication import Publication

SUBSCRIBERS: Final = 1000
DATA: Final = {"n": 1, "text": "x" * 100}
HISTORY: Final = ("kept:**=100/300",)
# Publications of one loop iteration.
TURNS: Final = (1, 16, 64)
# Publications of one measurement, and of those through Redis the most that are under way.
COUNT: Final = 1280
REDIS_COUNT: Final = 8192
WINDOW: Final = 256
SOCKET_SECONDS: Final = 1.5
SUBSCRIBE: Final = b'{"action":"subscribe","channel":"%s"}'


class Least:
    """The least of all measurements, by row and side."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], float] = {}

    def add(self, row: str, side: str, seconds: float) -> None:
        self._found[row, side] = min(seconds, self._found.get((row, side), seconds))

    def table(self) -> str:
        """One line per row and side: µs per publication, and the rate compared with `plain`."""
        lines = [f"{'':<46}{'µs':>8}{'of plain':>10}"]
        for (row, side), seconds in self._found.items():
            ratio = self._found[row, "plain"] / seconds
            lines.append(f"{row:<38}{side:<8}{seconds * 1e6:>8.2f}{ratio:>10.2f}")
        return "\n".join(lines)


async def subscribed(config: Config, subscribers: int, channels: tuple[str, ...]) -> Server:
    """Start a server whose clients are all in `channels`."""
    server = Server(config)
    await server.start()
    for _ in range(subscribers):
        _, connection = connect(server)
        for channel in channels:
            connection.data_received(masked(SUBSCRIBE % channel.encode()))
    return server


async def measure_memory(rounds: int, least: Least) -> None:
    """A fan-out in one process: from the broker to the transports."""
    settings = Config(port=0, message_rate=0.0, log_level="error")
    with_history = Config(port=0, message_rate=0.0, log_level="error", history=HISTORY)
    without = await subscribed(settings, SUBSCRIBERS, ("plain:0", "another"))
    server = await subscribed(with_history, SUBSCRIBERS, ("plain:0", "kept:0"))
    sides = (("plain", server, "plain:0"), ("unset", without, "plain:0"), ("kept", server, "kept:0"))
    for _ in range(rounds):
        for turn in TURNS:
            for side, chosen, channel in sides:
                row = f"memory, {turn} in a loop iteration"
                least.add(row, side, time_of_turns(chosen, channel, turn))
        await asyncio.sleep(0)
    await without.stop()
    await server.stop()


def time_of_turns(server: Server, channel: str, turn: int) -> float:
    """Return the seconds of one publication."""
    publish, flush = server.assembly.broker.publish, server.hub.flush
    began = time.perf_counter()
    for _ in range(COUNT // turn):
        for _ in range(turn):
            publish(Publication(channel, "e", DATA))
        flush()
    return (time.perf_counter() - began) / COUNT


class Publishing:
    """Publishes REDIS_COUNT publications, at most WINDOW of them under way. It is the receipt of all of them."""

    def __init__(self, publish: Callable[[Publication, Publishing], None], channels: list[str]) -> None:
        self._publish = publish
        self._channels = channels
        self._sent = self._done = 0
        self.finished = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        for _ in range(WINDOW):
            self._next()

    def kept(self, position: Position) -> None: ...

    def done(self, sent: int, failed: int) -> None:
        self._done += 1
        if self._done == REDIS_COUNT:
            self.finished.set_result(None)
        elif self._sent < REDIS_COUNT:
            self._next()

    def refused(self, error: FastWSError) -> None:
        if not self.finished.done():
            self.finished.set_exception(error)

    def _next(self) -> None:
        self._sent += 1
        self._publish(Publication(self._channels[self._sent % len(self._channels)], "e", DATA), self)


def measure_sockets(rounds: int, least: Least) -> None:
    """A fan-out to real clients."""
    cores = frozenset({0}), frozenset({1})
    rows = {"plain": Row("plain", (), *cores), "kept": Row("kept", ("--history", "**=100/300"), *cores)}
    for _ in range(rounds):
        for side, row in rows.items():
            with running(row, "") as (url, pid):
                found = asyncio.run(measure(row, url, pid, SOCKET_SECONDS))
            per_publication = SUBSCRIBERS / found.deliveries_per_second
            least.add("sockets, elapsed", side, per_publication)
            least.add("sockets, CPU of the server", side, per_publication * (found.server_cpu or 1.0))


async def measure_redis(rounds: int, least: Least, url: str) -> None:
    """A publication through Redis: from the broker to the transport of one subscriber."""
    config = Config(port=0, message_rate=0.0, log_level="error", redis_url=url, history=HISTORY)
    names = {side: [f"{side}:{number}" for number in range(WINDOW)] for side in ("plain", "kept")}
    server = await subscribed(config, 0, ())
    sinks = []
    for name in (*names["plain"], *names["kept"]):
        sink, connection = connect(server)
        connection.data_received(masked(SUBSCRIBE % name.encode()))
        sinks.append(sink)
    client = redis.Redis.from_url(url)
    await asyncio.sleep(1.0)
    for _ in range(rounds):
        for count in (1, WINDOW):
            for side, channels in names.items():
                publishing = Publishing(server.assembly.broker.publish, channels[:count])
                redis_before, own_before, began = redis_seconds(client), time.process_time(), time.perf_counter()
                publishing.begin()
                await publishing.finished
                spent = time.perf_counter() - began
                row, own = f"redis, {count} channel{'s' * (count > 1)}", time.process_time() - own_before
                least.add(f"{row}, elapsed", side, spent / REDIS_COUNT)
                least.add(f"{row}, CPU of the server", side, own / REDIS_COUNT)
                least.add(f"{row}, CPU of redis", side, (redis_seconds(client) - redis_before) / REDIS_COUNT)
    client.close()
    assert all(sink.writes > rounds for sink in sinks), "a subscriber has received nothing"
    await server.stop()


def redis_seconds(client: redis.Redis) -> float:
    """Return the CPU time of redis-server."""
    found = client.info("cpu")
    assert isinstance(found, dict)
    return float(found["used_cpu_user_main_thread"]) + float(found["used_cpu_sys_main_thread"])


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """Run a redis-server on core 1; yields its URL."""
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "redis.sock"
        command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        os.sched_setaffinity(process.pid, {1})
        try:
            while not socket.exists():
                time.sleep(0.01)
            yield f"unix://{socket}"
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds, of which the fastest counts [15]")
    parser.add_argument("--only", choices=("memory", "sockets", "redis"), help="measure only these rows")
    options = parser.parse_args()
    least = Least()
    if options.only in (None, "sockets"):
        measure_sockets(options.rounds, least)
    os.sched_setaffinity(0, {0})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.only in (None, "memory"):
            runner.run(measure_memory(options.rounds, least))
        if options.only in (None, "redis"):
            with redis_server() as url:
                runner.run(measure_redis(options.rounds, least, url))
    print(least.table())


if __name__ == "__main__":
    main()
