"""Runs the browser client under node with a clock, a network and a server that tests move (virtual.js)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.node_packages import run_module

VIRTUAL = Path(__file__).parent / "virtual.js"
IMPORTS = """
import { clock, FakeServer, FakeSocket, http, page, reset, settled, show, tab } from "./virtual.js";
const fastws = await import("./client/fastws.js");
process.on("unhandledRejection", () => {}); // tests handle their promises later
const seen = {};
const open = (options = {}) => {
  const client = fastws.connect({ url: "ws://server.example", WebSocket: FakeSocket, ...options });
  for (const kind of ["message", "status", "gap", "lag", "left", "error", "reconnected"]) {
    seen[kind] = [];
    client.on(kind, (value) => seen[kind].push(value));
  }
  return client;
};
/** How the promises stand: "fulfilled", the code of the error, or "pending". */
const outcomes = async (promises) => {
  const states = promises.map(() => "pending");
  promises.forEach((promise, at) =>
    promise.then(() => (states[at] = "fulfilled"), (error) => (states[at] = error.code)));
  await settled();
  return [...states];
};
const report = (value) => console.log(JSON.stringify(value));
"""


def printed(source: str, folder: Path) -> Any:
    """The value that `source` passes to `report`. It can use everything of virtual.js, and the client as `fastws`."""
    folder.mkdir(exist_ok=True)
    (folder / VIRTUAL.name).write_text(VIRTUAL.read_text())
    return json.loads(run_module(IMPORTS + source, folder))
