"""A supervisor with its workers, watched from outside: `fastws serve --workers N` with a log of JSON lines."""

from __future__ import annotations

import json
from contextlib import ExitStack

import psutil
from websockets.sync.client import ClientConnection, connect

from tests.hostile.server_process import PATIENCE_SECONDS, ServerProcess

READY = "worker is ready"


class Supervised(ServerProcess):
    """Ready when every worker is: the first line comes after that."""

    def __init__(self, redis_url: str, *flags: str, workers: int = 2, **more: object) -> None:
        self._clients = ExitStack()
        super().__init__(
            *("--workers", str(workers), "--redis-url", redis_url, "--log-format", "json", "--drain-timeout", "1"),
            *flags,
            **more,  # type: ignore[arg-type]
        )

    def workers(self) -> list[psutil.Process]:
        """The worker processes that run now."""
        return [child for child in self.watched.children() if "fastws.workers.worker" in command_of(child)]

    def pids(self) -> set[int]:
        return {worker.pid for worker in self.workers()}

    def worker_of(self, client: ClientConnection) -> psutil.Process:
        """The worker that has the other end of this client's socket."""
        port = client.socket.getsockname()[1]
        return next(
            worker
            for worker in self.workers()
            if any(end.raddr and end.raddr.port == port for end in worker.net_connections())
        )

    def wait_for(self, event: str, count: int = 1, seconds: float = PATIENCE_SECONDS) -> list[dict[str, object]]:
        """Wait for `count` log lines with `event`, and return them."""
        self.wait_until(lambda: len(self.log_lines(event)) >= count, seconds)
        return self.log_lines(event)

    def connect(self, path: str = "/", host: str = "127.0.0.1") -> ClientConnection:
        """A client of the `websockets` package that has been greeted."""
        client = self._clients.enter_context(
            connect(f"ws://{host}:{self.port}{path}", proxy=None, open_timeout=PATIENCE_SECONDS, close_timeout=5)
        )
        client.recv(PATIENCE_SECONDS)
        return client

    def close(self) -> None:
        children = self.watched.children(recursive=True) if self.is_alive else []
        super().close()
        self._clients.close()
        for child in children:
            if child.is_running():
                child.kill()


def command_of(process: psutil.Process) -> list[str]:
    """Its command line; empty for a zombie, and for one that has just gone."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def ask(client: ClientConnection, message: object) -> dict[str, object]:
    """Send a message and return the next one received."""
    client.send(json.dumps(message))
    answer: dict[str, object] = json.loads(client.recv(PATIENCE_SECONDS))
    return answer
