"""The type declarations of the browser client: TypeScript accepts them, and they are complete."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.node_packages import STATIC, node, packages, run, run_module

SAMPLE = """
import { connect, FastWSError, type Message } from "./client/fastws.js";
import { encode } from "./client/msgpack.js";
import { LiveExecutionCounter, RealtimeMetrics, WebSocketProvider } from "./client/react.js";
import { useChannel, usePresence, useTyping, useWebSocket, useWorkflowWebSocket } from "./client/react.js";
import { createElement } from "react";

const getToken = async ({ reason }: { reason: string }) => (reason === "start" ? "a" : null);
const client = connect({ url: "wss://x", dialect: "rooms", getToken });
client.on("reconnected", ({ recovered }) => console.log(recovered["news"], client.positions["news"]?.offset));
client.history("news", { limit: 5, reverse: true }).then(({ messages, epoch }) => console.log(messages.length, epoch));
connect({ positions: client.positions, replay: 5 });
client.on("presence", ({ joined, count }) => console.log(joined[0]?.user, count));
client.presence("news", { limit: 5 }).then(({ members, cursor }) => console.log(members?.length, cursor));
client.on("gap", ({ channel, source }) => console.log(channel?.length, source === "server"));
const sent: Promise<{ sent: number }> = client.send("news", "hello", { text: "x" }, { excludeSelf: true });
const bytes: Uint8Array = encode({ a: 1n });
export const problem = (error: unknown) => (error instanceof FastWSError ? error.code : [sent, bytes]);

export function Page() {
  const { executionStatus, isConnected } = useWorkflowWebSocket("token", "1");
  const { connectionStatus, sendMessage, subscribe } = useWebSocket({
    workspaceId: "w", autoReconnect: true, maxReconnectAttempts: 5,
    onMessage: (event) => JSON.parse(event.data) as Message,
  });
  subscribe(["alert"]);
  const { send } = useChannel("chat", ({ data }) => console.log(data), { history: 50, onGap: () => {} });
  useChannel("client:ada:phone", ({ data }) => console.log(data), { clientId: "phone" });
  const { people, typing } = useTyping("chat", { name: "Ada" });
  const { members, isComplete } = usePresence("chat", { limit: 20 });
  const names: string[] = isComplete ? members.map(({ user }) => user) : [];
  send("said", people.map(({ name }) => name), { ephemeral: true }).then(({ sent: reached }) => reached, typing);
  sendMessage({ type: "ping" });
  const words: string = `${connectionStatus} ${executionStatus?.status} ${isConnected} ${names}`;
  return createElement(WebSocketProvider, { token: "t", clientId: "phone" }, words,
    createElement(LiveExecutionCounter, { workspaceId: "w" }),
    createElement(RealtimeMetrics, { workspaceId: "w", labels: { a: "A" } }));
}
// @ts-expect-error a dialect that does not exist
connect({ dialect: "chess" });
"""
OPTIONS = ["--noEmit", "--strict", "--skipLibCheck", "false", "--module", "esnext", "--moduleResolution", "bundler"]


@pytest.mark.timeout(240)
def test_typescript_takes_the_declarations(tmp_path: Path) -> None:
    modules = packages()
    shutil.copytree(STATIC / "client", tmp_path / "client")
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "sample.ts").write_text(SAMPLE)
    compiler = str(modules / "typescript" / "bin" / "tsc")
    run([node(), compiler, *OPTIONS, "--target", "es2022", "--lib", "es2022,dom", "sample.ts"], tmp_path)


@pytest.mark.parametrize("name", ["fastws", "msgpack", "react"])
def test_everything_that_is_exported_is_declared(tmp_path: Path, name: str) -> None:
    declared = re.findall(
        r"^export (?:function|class|const) (\w+)", (STATIC / "client" / f"{name}.d.ts").read_text(), re.MULTILINE
    )
    stub = tmp_path / "node_modules" / "react"
    stub.mkdir(parents=True)
    (stub / "package.json").write_text('{"name": "react", "type": "module", "main": "index.js"}')
    sources = "".join(path.read_text() for path in (STATIC / "client").glob("react*.js"))
    imported = re.findall(r"import {([^}]+)} from .react.;", sources)
    words = sorted({word.strip() for word in ",".join(imported).split(",") if word.strip()})
    (stub / "index.js").write_text("".join(f"export const {word} = () => {{}};\n" for word in words))
    source = f'console.log(JSON.stringify(Object.keys(await import("./client/{name}.js"))));'
    assert sorted(json.loads(run_module(source, tmp_path))) == sorted(declared)
