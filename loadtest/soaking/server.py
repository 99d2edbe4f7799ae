"""A fastws server started for a soak, which can be rolled, killed and stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from fastws.bench.usage import descendants
from soaking.redis_server import RedisServer, free_port

START_SECONDS = 90.0
# Ends without a close frame that the server knows of.
UNDELIVERED_CLOSE = ("close frame not delivered", "close frame left to the kernel")


class OwnServer:
    """`fastws serve` in a process. `log` is its output.

    It uses `redis` if given, and otherwise starts a Redis if `needs_redis` or for several workers. `limited`: it logs
    in to Redis as a user with few rights.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        needs_redis: bool = False,
        redis: RedisServer | None = None,
        limited: bool = False,
        options: list[str] | None = None,
        tls: bool = False,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fastws-soak-"))
        self.port = free_port()
        self.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{self.port}/"
        self._workers = workers
        self._options = options or []
        self._limited = limited
        self._owns_redis = redis is None and (needs_redis or workers > 1)
        self.redis = RedisServer(self.folder) if self._owns_redis else redis
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns when it answers. Raises RuntimeError."""
        if self._owns_redis and self.redis is not None:
            self.redis.start()
        command = [sys.executable, "-m", "fastws", "serve", "--port", str(self.port), "--log-format", "json"]
        if self.redis is not None:
            command += ["--redis-url", self.redis.url(limited=self._limited), "--workers", str(self._workers)]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen([*command, *self._options], stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{self.log.decode(errors='replace')}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        """Whether it answers /health. The certificate is not checked."""
        unchecked = ssl._create_unverified_context()
        try:
            with urllib.request.urlopen(f"http{self.url[2:]}health", timeout=5, context=unchecked) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> bytes:
        return (self.folder / "log").read_bytes()

    def undelivered_closes(self) -> set[str]:
        """The ids of the connections that it has reset before their close frame was received, from its log."""
        lines = self.log.decode(errors="replace").splitlines()
        return {
            json.loads(line)["connection"] for line in lines if any(f'"{event}"' in line for event in UNDELIVERED_CLOSE)
        }

    def roll(self) -> None:
        """Replace the workers one by one."""
        os.kill(self.pid, signal.SIGHUP)

    def workers(self) -> list[int]:
        """Process ids, oldest first."""
        return sorted(pid for pid in descendants(self.pid) if _is_worker(pid))

    def kill_worker(self) -> int | None:
        """SIGKILL the oldest worker. Returns its process id, or None if there are no workers."""
        workers = self.workers()
        if not workers:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(workers[0], signal.SIGKILL)
        return workers[0]

    def stop(self) -> int:
        """Terminate it. Returns the exit code."""
        code = 0
        if self._process is not None:
            self._process.terminate()
            try:
                code = self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                code = self._process.wait()
        if self._owns_redis and self.redis is not None:
            self.redis.kill()
        return code


def _is_worker(pid: int) -> bool:
    """Whether the process is a worker. The image that workers are forked from is not one."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has exited
        return False
    return b"fastws.workers.worker" in command.split(b"\0")
