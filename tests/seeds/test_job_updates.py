"""Job updates: what workers publish on Redis is heard by everybody; the clients of the guide as they stand."""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path

import aiohttp
import redis.asyncio

from fastws.server.server import Server
from tests.redis_server import RedisServer
from tests.seeds.examples import agrees
from tests.seeds.node import run_node
from tests.serving import PATIENCE_SECONDS, Join, Message, OpenRaw, Serve, Talker

STATISTICS = """
{
  "connected_clients": 3,
  "timestamp": "2025-11-07T14:30:00Z"
}
"""
JOB_UPDATE = """
{
  "type": "job_update",
  "job_id": "550e8400-e29b-41d4-a716-446655440000",
  "status": "processing",
  "data": {
    "job_id": "550e8400-e29b-41d4-a716-446655440000",
    "status": "processing",
    "progress": 50,
    "accounts_processed": 3,
    "timestamp": 1699369800
  }
}
"""
REDIS_MESSAGE = """
{
  "event": "job_update",
  "job_id": "550e8400-e29b-41d4-a716-446655440000",
  "timestamp": 1699369800,
  "data": {
    "job_id": "550e8400-e29b-41d4-a716-446655440000",
    "status": "completed",
    "result": {
      "accounts_created": 5,
      "success": true
    }
  }
}
"""
REDIS_CLI = """
PUBLISH botrix:jobs:updates '{"job_id":"test-123","status":"completed","data":{"success":true}}'
"""
HEADERS = """
GET /ws HTTP/1.1
Host: localhost:8080
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Key: [base64-key]
Sec-WebSocket-Version: 13
"""


async def enter(server: Server, join: Join) -> Talker:
    client = await join(server, "/ws", greets=False)
    pong = await client.ask({"type": "ping"})  # what the guide's clients send every 30 seconds
    assert agrees(pong, {"type": "pong", "timestamp": ""})
    return client


async def publish(redis_server: RedisServer, message: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_server.url, protocol=2) as worker:
        assert await worker.publish("botrix:jobs:updates", message) == 1


async def test_what_workers_publish_is_heard_by_every_client(
    serve: Serve, join: Join, redis_server: RedisServer
) -> None:
    server = await serve(redis_url=redis_server.url)
    clients = [await enter(server, join) for _ in range(3)]
    update = json.loads(JOB_UPDATE)
    published = {"job_id": update["job_id"], "status": update["status"], "data": update["data"]}
    await publish(redis_server, json.dumps(published))
    for client in clients:
        heard = await client.hear()
        assert agrees(heard, {**update, "timestamp": 0, "seq": 1})


async def test_the_message_with_its_event_and_timestamp(serve: Serve, join: Join, redis_server: RedisServer) -> None:
    server = await serve(redis_url=redis_server.url)
    client = await enter(server, join)
    await publish(redis_server, REDIS_MESSAGE)
    message = json.loads(REDIS_MESSAGE)
    assert await client.hear() == {
        "type": "job_update",
        "job_id": message["job_id"],
        "status": "completed",
        "data": message["data"],
        "timestamp": 1699369800,
        "seq": 1,
    }


async def test_the_redis_cli_line(serve: Serve, join: Join, redis_server: RedisServer) -> None:
    server = await serve(redis_url=redis_server.url)
    client = await enter(server, join)
    command, channel, message = shlex.split(REDIS_CLI)
    async with redis.asyncio.Redis.from_url(redis_server.url, protocol=2) as cli:
        assert await cli.execute_command(command, channel, message) == 1
    heard = await client.hear()
    assert (heard["job_id"], heard["status"], heard["data"]) == ("test-123", "completed", {"success": True})


async def test_sequence_numbers_tell_the_order(serve: Serve, join: Join, redis_server: RedisServer) -> None:
    server = await serve(redis_url=redis_server.url)
    client = await enter(server, join)
    async with redis.asyncio.Redis.from_url(redis_server.url, protocol=2) as worker:
        for number in range(5):
            await worker.publish("botrix:jobs:updates", json.dumps({"job_id": number, "status": "processing"}))
    heard = [await client.hear() for _ in range(5)]
    assert [(message["seq"], message["job_id"]) for message in heard] == [(n + 1, str(n)) for n in range(5)]


async def test_statistics_count_these_clients(serve: Serve, join: Join) -> None:
    server = await serve()
    for _ in range(3):
        await enter(server, join)
    await join(server)  # one of another kind
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{server.port}/ws/stats") as answer:
        assert agrees(await answer.json(), json.loads(STATISTICS))


async def test_the_headers_of_the_guide_open_a_connection(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve()
    raw = await open_raw(server, None)
    lines = HEADERS.strip().replace("[base64-key]", "dGhlIHNhbXBsZSBub25jZQ==").splitlines()
    await raw.send_bytes("\r\n".join([*lines, "", ""]).encode())
    assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")


PYTHON_CLIENT = """
import asyncio
import websockets
import json

async def listen_to_updates():
    uri = "ws://localhost:8080/ws"
    
    async with websockets.connect(uri) as websocket:
        print("Connected to WebSocket server")
        
        async for message in websocket:
            data = json.loads(message)
            
            if data['type'] == 'job_update':
                print(f"Job {data['job_id']}: {data['status']}")
                print(f"Data: {json.dumps(data['data'], indent=2)}")

asyncio.run(listen_to_updates())
"""  # noqa: W293 as it stands in the guide


async def test_the_python_client_runs_as_it_stands(serve: Serve) -> None:
    server = await serve()
    lines: asyncio.Queue[str] = asyncio.Queue()
    *definition, start = PYTHON_CLIENT.replace("localhost:8080", f"127.0.0.1:{server.port}").strip().splitlines()
    assert start == "asyncio.run(listen_to_updates())"  # here it is a task of the loop that runs already
    application: dict[str, object] = {"print": lines.put_nowait}
    exec("\n".join(definition), application)
    task = asyncio.create_task(application["listen_to_updates"]())  # type: ignore[operator]
    try:
        assert await asyncio.wait_for(lines.get(), PATIENCE_SECONDS) == "Connected to WebSocket server"
        await server.broadcaster.job_update("job-1", "processing", {"progress": 50})
        assert await asyncio.wait_for(lines.get(), PATIENCE_SECONDS) == "Job job-1: processing"
        said = await asyncio.wait_for(lines.get(), PATIENCE_SECONDS)
        assert json.loads(said.removeprefix("Data: "))["progress"] == 50
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


JAVASCRIPT_CLIENT = """
// Connect to WebSocket
const ws = new WebSocket('ws://localhost:8080/ws');

// Handle connection open
ws.onopen = () => {
    console.log('Connected to WebSocket server');
};

// Handle incoming messages
ws.onmessage = (event) => {
    const message = JSON.parse(event.data);
    
    if (message.type === 'job_update') {
        console.log(`Job ${message.job_id} status: ${message.status}`);
        console.log('Data:', message.data);
        
        // Update UI based on status
        updateJobStatus(message.job_id, message.status, message.data);
    }
};

// Handle errors
ws.onerror = (error) => {
    console.error('WebSocket error:', error);
};

// Handle connection close
ws.onclose = () => {
    console.log('Disconnected from WebSocket server');
    // Implement reconnection logic here
};

// Send heartbeat (optional - server sends pings)
setInterval(() => {
    if (ws.readyState === WebSocket.OPEN) {
        ws.send(JSON.stringify({ type: 'ping' }));
    }
}, 30000);
"""  # noqa: W293 as it stands in the guide
PAGE = """
const WebSocket = require('ws');
const say = (...words) => process.stdout.write(JSON.stringify(words) + '\\n');
const console = { log: say, error: say };
const updateJobStatus = (...words) => say('updateJobStatus', ...words);
"""


async def test_the_javascript_client_runs_as_it_stands(serve: Serve, node_folder: Path) -> None:
    server = await serve()
    source = PAGE + JAVASCRIPT_CLIENT.replace("localhost:8080", f"127.0.0.1:{server.port}")
    async with run_node(node_folder, source, environment={}) as page:
        assert await page.hear() == ["Connected to WebSocket server"]
        await server.broadcaster.job_update("job-1", "failed", {"error": "x"})
        assert await page.hear() == ["Job job-1 status: failed"]
        words, data = await page.hear()
        assert (words, data["error"]) == ("Data:", "x")
        assert await page.hear() == ["updateJobStatus", "job-1", "failed", data]
        [client] = server.roster
        client.end(1012, "restart", label="test")
        assert await page.hear() == ["Disconnected from WebSocket server"]


async def test_clients_may_narrow_what_they_hear(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await enter(server, join)
    wanted: Message = {"type": "subscribe", "job_ids": ["job-1"], "statuses": ["failed", "completed"]}
    assert await client.ask(wanted) == {"type": "subscribed", "job_ids": ["job-1"], "statuses": ["completed", "failed"]}
    for job_id, status in [("job-1", "processing"), ("job-2", "failed"), ("job-1", "failed")]:
        await server.broadcaster.job_update(job_id, status)
    heard = await client.hear()
    assert (heard["job_id"], heard["status"]) == ("job-1", "failed")
    assert await client.ask({"type": "unsubscribe"}) == {"type": "subscribed", "job_ids": [], "statuses": []}
