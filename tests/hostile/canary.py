"""The canary: a well-behaved client during an attack, in a thread. Its pings must always be answered."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

from tests.hostile.raw_client import connected
from tests.hostile.server_process import ServerProcess

ENOUGH_PINGS = 20
PATIENCE_SECONDS = 60.0


class Canary:
    """Pings without pause over one connection, and now and then opens a new one.

    `slowest_ping` and `slowest_handshake` are in seconds of the server's processor time: what it did for others while
    this one waited. The elapsed time depends on other programs on the machine. A server that does nothing and does not
    answer is found by the client's own time limit.
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
        self._thread.join(PATIENCE_SECONDS)

    def check(self, ping_seconds: float = 1.0, handshake_seconds: float = 2.0) -> None:
        """End the watch; fail if the server did more than this before an answer, or did not answer at all."""
        self._has_seen_enough.wait(PATIENCE_SECONDS)
        self._stop.set()
        self._thread.join(PATIENCE_SECONDS)
        if self._failure is not None:
            raise AssertionError("the canary died") from self._failure
        assert self.pings >= ENOUGH_PINGS
        assert self.slowest_ping < ping_seconds
        assert self.slowest_handshake < handshake_seconds
        assert self._server.is_alive

    def _run(self) -> None:
        try:
            with connected(self._server.port, self._path, host=self._host) as client:
                spent = self._server.cpu_seconds
                while not self._stop.is_set():
                    begun = spent()
                    assert client.say({"type": "ping"})["type"] == "pong"
                    self.slowest_ping = max(self.slowest_ping, spent() - begun)
                    self.pings += 1
                    if self.pings == ENOUGH_PINGS:
                        self._has_seen_enough.set()
                    if self.pings % 10 == 1 and self._comes_anew:
                        begun = spent()
                        connected(self._server.port, self._path, host=self._host).close()
                        self.slowest_handshake = max(self.slowest_handshake, spent() - begun)
                    self._stop.wait(0.01)
        except (AssertionError, OSError, ValueError, KeyError, psutil.Error) as failure:
            self._failure = failure
            self._has_seen_enough.set()
