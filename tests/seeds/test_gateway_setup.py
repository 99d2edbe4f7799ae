"""The gateway setup: its wscat session, its Node.js and Python backends, as the guide shows them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastws.backend import init_broadcaster
from tests.seeds.node import run_node, running
from tests.serving import KEY, Join, Message, Serve

SESSION = """
# Subscribe to channel
> {"action":"subscribe","channel":"admin"}

# Should receive:
< {"type":"subscription_succeeded","channel":"admin"}
"""
INITIALIZE = """
const { initBroadcaster, registerConnection, broadcastAdminEvent } = require('./broadcaster');

// Initialize once at startup
initBroadcaster({
    apiId: 'abc123xyz',  // Your API ID from the WebSocket URL
    region: 'us-east-1',
    stage: 'production'
});
"""
REGISTER = """
registerConnection('connection-id-here');

// Broadcast to all clients
await broadcastAdminEvent({
    type: 'run_started',
    thread_id: 'abc123',
    run_name: 'My Workflow'
});
"""
TESTING = """
// Manually register a connection (get ID from wscat or browser)
registerConnection('XYZ123connectionID');

// Broadcast
const result = await broadcastAdminEvent({
    type: 'test',
    message: 'Hello!'
});

console.log(result);  // { sent: 1, failed: 0, stale: 0 }
"""
PYTHON = """
init_broadcaster(
    api_id='YOUR-API-ID',
    region='us-east-1',
    stage='production'
)
"""
# The guide's `broadcaster.js` is the application's own file; this one sends over HTTP instead of the AWS SDK.
BROADCASTER_JS = """
const connections = new Set();
let url;
async function post(message) {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { Authorization: `Bearer ${process.env.FASTWS_BROADCAST_KEY}`, 'Content-Type': 'application/json' },
    body: JSON.stringify(message),
  });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}
exports.initBroadcaster = ({ stage }) => { url = `${process.env.FASTWS_URL}/${stage}/broadcast`; };
exports.registerConnection = (id) => { connections.add(id); };
exports.broadcastAdminEvent = async (data) => {
  const { results } = await post({
    messages: [...connections].map((connectionId) => ({ connectionId, event: 'admin_event', data })),
  });
  const total = { sent: 0, failed: 0, stale: 0 };
  for (const result of results) for (const key in total) total[key] += result[key];
  return total;
};
"""
# `require('./broadcaster')` without a file; what is awaited at the top level stands in a function.
BACKEND = """
const broadcaster = {{ exports: {{}} }};
(function (exports) {{ {broadcaster} }})(broadcaster.exports);
const builtin = require;
(async (require, console) => {{ {program} }})(
  (name) => (name === './broadcaster' ? broadcaster.exports : builtin(name)),
  {{ log: (value) => process.stdout.write(JSON.stringify(value) + '\\n') }},
).catch((error) => {{ process.stderr.write(String(error.stack)); process.exit(1); }});
"""


async def test_the_wscat_session(serve: Serve, join: Join, node_folder: Path) -> None:
    server = await serve()
    said = [line.removeprefix("> ") for line in SESSION.splitlines() if line.startswith("> ")]
    received = [line.removeprefix("< ") for line in SESSION.splitlines() if line.startswith("< ")]
    url = f"ws://127.0.0.1:{server.port}/production"
    async with running("node_modules/.bin/wscat", "-c", url, folder=node_folder) as wscat:
        hello = await wscat.hear()
        assert hello == {"type": "connection_id", "connection_id": next(iter(server.roster)).id}
        for line, answer in zip(said, received, strict=True):
            await wscat.say(line)
            assert await wscat.hear_line() == answer
        other = await join(server)
        await other.ask({"action": "send", "channel": "admin", "event": "e", "data": "hello wscat"})
        assert (await wscat.hear())["data"] == "hello wscat"


async def test_the_node_backend_broadcasts_as_the_guide_shows(serve: Serve, join: Join, node_folder: Path) -> None:
    server = await serve()
    client = await join(server, "/production")
    program = INITIALIZE + REGISTER.replace("await broadcast", "console.log(await broadcast").replace("});", "}));", 1)
    program += TESTING
    program = program.replace("connection-id-here", client.id).replace("XYZ123connectionID", client.id)
    source = BACKEND.format(broadcaster=BROADCASTER_JS, program=program)
    environment = {"FASTWS_URL": f"http://127.0.0.1:{server.port}", "FASTWS_BROADCAST_KEY": KEY}
    async with run_node(node_folder, source, environment=environment) as backend:
        assert await backend.hear() == {"sent": 1, "failed": 0, "stale": 0}
        assert await client.hear() == {
            "event": "admin_event",
            "data": {"type": "run_started", "thread_id": "abc123", "run_name": "My Workflow"},
        }
        assert await backend.hear() == {"sent": 1, "failed": 0, "stale": 0}
        assert (await client.hear())["data"] == {"type": "test", "message": "Hello!"}


async def test_the_python_backend_has_the_same_calls(serve: Serve, join: Join, monkeypatch: object) -> None:
    server = await serve()
    client = await join(server, "/production")
    arguments = PYTHON.strip().removeprefix("init_broadcaster(").removesuffix(")")
    given: Message = eval(f"dict({arguments})")
    with init_broadcaster(f"http://127.0.0.1:{server.port}", KEY, **given) as broadcaster:
        broadcaster.register_connection(client.id)
        broadcaster.register_connection("gone")
        result = await asyncio.to_thread(broadcaster.broadcast_admin_event, {"type": "test", "message": "Hello!"})
    assert result == {"sent": 1, "failed": 0, "stale": 1}
    assert await client.hear() == {"event": "admin_event", "data": {"type": "test", "message": "Hello!"}}
