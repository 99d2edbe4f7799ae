"""A server in a process of its own, as it is run in the world: watched from outside, hurt, and stopped."""

from __future__ import annotations

import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import jwt
import psutil

# Three processes that start beside busy ones have taken more than 30 s.
START_SECONDS = 60.0
STOP_SECONDS = 30.0
PATIENCE_SECONDS = 60.0
SECRET = "a secret of at least thirty-two bytes"
BROADCAST_KEY = "the-broadcast-key-of-these-tests"
_LISTENS = re.compile(r"READY=1\nSTATUS=listening on (?:unix:\S+|wss?://\S+?:(\d+)/)")
_SAMPLE = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)$")


def token_of(user: str, **claims: object) -> str:
    """A token that every server here takes."""
    return jwt.encode({"sub": user, "exp": 4_102_444_800, **claims}, SECRET, algorithm="HS256")


class ServerProcess:
    """`fastws serve --port 0 FLAGS`, from its first line to its exit. Its log is kept in a file.

    `descriptors` is its RLIMIT_NOFILE, `address_space` its RLIMIT_AS in bytes, `interpreter` the options of python,
    `program` replaces `-m fastws`, `stdout` and `stderr` are descriptors in place of a pipe and the file, `command`
    replaces all words before the flags, and `preparation` runs in the process before that.
    """

    def __init__(
        self,
        *flags: str,
        descriptors: int | None = None,
        address_space: int | None = None,
        interpreter: tuple[str, ...] = (),
        program: tuple[str, ...] = ("-m", "fastws"),
        command: tuple[str, ...] | None = None,
        preparation: Callable[[], None] | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        environment: Mapping[str, str] | None = None,
        has_keys: bool = True,
    ) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="fastws-hostile-")
        self.log_path = Path(self.directory.name) / "stderr"
        # It reports that it is ready as to systemd: that works without a terminal and at any log level.
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notifications.bind(str(Path(self.directory.name) / "notify"))
        self.notifications.settimeout(0.1)
        keys = ("--jwt-secret", SECRET, "--broadcast-key", BROADCAST_KEY) if has_keys else ()
        port = () if "--port" in flags or "--unix-socket" in flags else ("--port", "0")
        words = command or (sys.executable, *interpreter, *program, "serve")

        def prepare() -> None:
            if preparation is not None:
                preparation()
            if descriptors is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
            if address_space is not None:
                resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))

        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*words, *port, *keys, *flags],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if stdout is None else stdout,
                stderr=log if stderr is None else stderr,
                preexec_fn=prepare,
                close_fds=preparation is None,
                env={
                    **os.environ,
                    "NOTIFY_SOCKET": str(Path(self.directory.name) / "notify"),
                    **(environment or {}),
                },
            )
        self.watched = psutil.Process(self.process.pid)
        self.port = self._wait_until_it_listens()

    def _wait_until_it_listens(self) -> int:
        deadline = time.monotonic() + START_SECONDS
        while self.is_alive and time.monotonic() < deadline:
            if (match := _LISTENS.match(self.notification() or "")) is not None:
                # The socket over which it has just reported that is no descriptor that a test may count.
                self.wait_until(lambda: not self._is_notifying())
                return int(match[1] or 0)
        log = self.log()
        self.close()
        raise AssertionError(f"it did not start: {log}")

    def _is_notifying(self) -> bool:
        sockets = self.watched.net_connections(kind="unix")
        return any(each.type == socket.SOCK_DGRAM for each in sockets)

    def notification(self) -> str | None:
        """The next state that it reports as to systemd; None if there was none for a moment."""
        try:
            return self.notifications.recv(4096).decode()
        except TimeoutError:
            return None

    # --- watching

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def rss(self) -> int:
        """The bytes of memory that the process has now."""
        return int(self.watched.memory_info().rss)

    def descriptors(self) -> int:
        return int(self.watched.num_fds())

    def cpu_seconds(self) -> float:
        times = self.watched.cpu_times()
        return float(times.user + times.system)

    def log(self) -> str:
        return self.log_path.read_text()

    def log_lines(self, event: str) -> list[dict[str, object]]:
        """The lines of the JSON log with `event`."""
        # The last line may be half written.
        whole = self.log().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> tuple[int, bytes]:
        """Status and body of a plain request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, headers=dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def publish(self, channel: str, data: object, event: str = "e") -> dict[str, int]:
        """POST /broadcast; the figures of the answer."""
        return self.publish_many([{"channel": channel, "event": event, "data": data}])[0]

    def publish_many(self, messages: list[dict[str, object]]) -> list[dict[str, int]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            body = json.dumps({"messages": messages})
            connection.request("POST", "/broadcast", body, {"Authorization": f"Bearer {BROADCAST_KEY}"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        assert response.status == 200, answer
        results: list[dict[str, int]] = answer["results"]
        return results

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of `name` that carry `labels`."""
        total = 0.0
        for line in self.get("/metrics")[1].decode().splitlines():
            match = _SAMPLE.match(line)
            if match is None or match[1] != name:
                continue
            found = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            if labels.items() <= found.items():
                total += float(match[3])
        return total

    def wait_until(self, is_so: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until `is_so` returns something true; fail after a generous time."""
        deadline = time.monotonic() + seconds
        while not is_so():
            assert self.is_alive, self.log()
            assert time.monotonic() < deadline, f"not so within {seconds} s"
            time.sleep(0.01)

    def assert_clean_log(self) -> None:
        """No message of a client caused an internal error."""
        log = self.log()
        errors = ("Traceback", "internal error")
        for word in (*errors, "never awaited", "ResourceWarning", "Exception ignored"):
            assert word not in log, log

    # --- ending

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """The exit code."""
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.notifications.close()
        self.directory.cleanup()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
