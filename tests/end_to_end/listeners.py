"""Our three clients, each in a thread or process of its own, with a checker of the sequence that its program gets."""

from __future__ import annotations

import asyncio
import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastws.client import connect
from fastws.client.threaded import ThreadedClient
from tests.hostile.server_process import PATIENCE_SECONDS
from tests.node_packages import STATIC, node

Positions = Mapping[str, Mapping[str, object]]

_PACE = {"first_delay": 0.01, "longest_delay": 0.1}
_NODE_CLIENT = """
import { connect } from "./client/fastws.js";
const [url, channel] = process.argv.slice(2);
const say = (kind, value) => console.log(JSON.stringify([kind, value]));
const client = connect({ url, channels: [channel], firstDelay: 20, longestDelay: 200, onError: () => {} });
client.on("message", ({ data }) => data && say("n", data.n));
client.on("gap", (gap) => say("gap", gap));
client.on("reconnected", ({ recovered }) => say("recovered", recovered));
await client.subscribe(channel);
say("ready", true);
process.stdin.on("end", () => process.exit()).resume();
"""


class Listener:
    """A client that listens to `channel`. `numbers` are those heard, in order; None stands where a gap was told."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.numbers: list[int | None] = []
        self.recovered: list[bool] = []
        self._heard: queue.Queue[tuple[str, Any]] = queue.Queue()

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.numbers} {self.recovered}"

    def tell(self, message: Mapping[str, Any]) -> None:
        """Take a message of one of the Python clients."""
        kind = message.get("type")
        if kind == "gap":
            self._heard.put(("gap", message))
        elif kind == "reconnected":
            self._heard.put(("recovered", message["recovered"]))
        elif "data" in message:
            self._heard.put(("n", message["data"]["n"]))

    def wait_until(self, is_so: Callable[[Listener], object]) -> None:
        while not is_so(self):
            kind, value = self._heard.get(timeout=PATIENCE_SECONDS)
            if kind == "n":
                self.numbers.append(value)
            elif kind == "gap":
                self.numbers.append(None)
            elif kind == "recovered":
                self.recovered.append(value[self.channel])

    def wait_for(self, number: int) -> None:
        self.wait_until(lambda self: number in self.numbers)

    @property
    def gaps(self) -> int:
        return self.numbers.count(None)

    def close(self) -> None:
        """End the client."""


class ThreadedListener(Listener):
    def __init__(self, port: int, channel: str) -> None:
        super().__init__(channel)
        address = f"ws://127.0.0.1:{port}"
        self._client = ThreadedClient(address, [channel], on_message=self.tell, proxy=None, **_PACE)

    def close(self) -> None:
        self._client.close()


class AsyncListener(Listener):
    """Begins with the positions of an earlier client; `positions` are those at its end."""

    def __init__(self, port: int, channel: str, positions: Positions | None = None) -> None:
        super().__init__(channel)
        self.positions: Positions = {}
        self._given = positions or {}
        self._port = port
        self._is_ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._listen(),))
        self._thread.start()
        assert self._is_ready.wait(PATIENCE_SECONDS)

    async def _listen(self) -> None:
        address = f"ws://127.0.0.1:{self._port}"
        async with connect(address, [self.channel], positions=self._given, proxy=None, **_PACE) as client:
            self._is_ready.set()
            reading = asyncio.create_task(self._read(client))
            await self._stop.wait()
            self.positions = client.positions
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, client: Any) -> None:
        async for message in client:
            self.tell(message)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()


class NodeListener(Listener):
    def __init__(self, port: int, channel: str, folder: Path) -> None:
        super().__init__(channel)
        if not (folder / "package.json").exists():
            shutil.copytree(STATIC, folder, dirs_exist_ok=True)
            (folder / "package.json").write_text('{"type": "module"}')
            (folder / "script.mjs").write_text(_NODE_CLIENT)
        self._process = subprocess.Popen(
            [node(), "--experimental-websocket", "script.mjs", f"ws://127.0.0.1:{port}", channel],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        is_ready = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(is_ready,))
        self._thread.start()
        assert is_ready.wait(PATIENCE_SECONDS)

    def _read(self, is_ready: threading.Event) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            kind, value = json.loads(line)
            if kind == "ready":
                is_ready.set()
            else:
                self._heard.put((kind, value))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._thread.join()
        self._process.stdout.close()
