"""A crowd of good clients on one channel, read by one thread, each checking that nothing is missing or out of order."""

from __future__ import annotations

import json
import selectors
import threading
from types import TracebackType

from tests.hostile.raw_client import CLOSE, RawClient, connected


class Crowd:
    """`count` subscribers of `channel`; publications must carry 0, 1, 2, … as `data["n"]`."""

    def __init__(self, port: int, count: int, channel: str) -> None:
        self._clients = []
        self._selector = selectors.DefaultSelector()
        self._stop = threading.Event()
        self._heard_all = threading.Condition()
        self.heard = [0] * count
        self.faults: list[str] = []
        for number in range(count):
            client = connected(port, source=f"127.0.0.{2 + number % 200}")
            client.say({"action": "subscribe", "channel": channel})
            client.socket.setblocking(False)
            self._selector.register(client.socket, selectors.EVENT_READ, number)
            self._clients.append(client)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def wait_until_all_heard(self, count: int, seconds: float = 60.0) -> None:
        """Wait until every client has received `count` publications, without a gap."""
        with self._heard_all:
            done = self._heard_all.wait_for(lambda: self.faults or min(self.heard) >= count, seconds)
        assert not self.faults, self.faults[:5]
        assert done, (min(self.heard), max(self.heard), count)

    def _read(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.1):
                self._read_one(self._clients[key.data], key.data)
            with self._heard_all:
                self._heard_all.notify_all()

    def _read_one(self, client: RawClient, number: int) -> None:
        try:
            data = client.socket.recv(262_144)
        except BlockingIOError:
            return
        except OSError as error:
            data = b""
            self.faults.append(f"client {number}: {error}")
        if not data:
            self.faults.append(f"client {number} was disconnected")
            self._selector.unregister(client.socket)
            return
        client.bytes += data
        while (frame := client._take_frame()) is not None:
            if frame[0] == CLOSE:
                self.faults.append(f"client {number} was closed: {frame[1]!r}")
            elif frame[0] < CLOSE:
                heard = json.loads(frame[1])["data"]["n"]
                if heard != self.heard[number]:
                    self.faults.append(f"client {number} heard {heard} for {self.heard[number]}")
                self.heard[number] = heard + 1

    def __enter__(self) -> Crowd:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._selector.close()
        for client in self._clients:
            client.close()
