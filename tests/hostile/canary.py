"""The canary: a well-behaved client beside an attack, in a thread, whose pings must always be answered."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from tests.hostile.raw_client import connected
from tests.hostile.server_process import ServerProcess

ENOUGH_PINGS = 20


class Canary:
    """Pings without pause over one connection, and now and then opens a new one.

    `slowest_ping` and `slowest_handshake` are in seconds. Bounds on them are generous: they tell a server that is
    stuck from one that is not, on a machine that others use too.
    """

    def __init__(
        self, server: ServerProcess, path: str = "/", host: str = "localhost", *, comes_anew: bool = True
    ) -> None:
        self._comes_anew = comes_anew
        self._server = server
        self._path = path
        self._host = host
        self._stop = threading.Event()
        self._has_seen_enough = threading.Event()
        self._failure: Exception | None = None
        self.slowest_ping = 0.0
        self.slowest_handshake = 0.0
        self.pings = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Canary:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(30)

    def check(self, ping_seconds: float = 1.0, handshake_seconds: float = 2.0) -> None:
        """End the watch; fail if a ping or a handshake took longer, or was not answered at all."""
        self._has_seen_enough.wait(30)
        self._stop.set()
        self._thread.join(30)
        if self._failure is not None:
            raise AssertionError("the canary died") from self._failure
        assert self.pings >= ENOUGH_PINGS
        assert self.slowest_ping < ping_seconds
        assert self.slowest_handshake < handshake_seconds
        assert self._server.is_alive

    def _run(self) -> None:
        try:
            with connected(self._server.port, self._path, host=self._host) as client:
                while not self._stop.is_set():
                    begun = time.monotonic()
                    assert client.say({"type": "ping"})["type"] == "pong"
                    self.slowest_ping = max(self.slowest_ping, time.monotonic() - begun)
                    self.pings += 1
                    if self.pings == ENOUGH_PINGS:
                        self._has_seen_enough.set()
                    if self.pings % 10 == 1 and self._comes_anew:
                        begun = time.monotonic()
                        connected(self._server.port, self._path, host=self._host).close()
                        self.slowest_handshake = max(self.slowest_handshake, time.monotonic() - begun)
                    self._stop.wait(0.01)
        except (AssertionError, OSError, ValueError, KeyError) as failure:
            self._failure = failure
            self._has_seen_enough.set()
