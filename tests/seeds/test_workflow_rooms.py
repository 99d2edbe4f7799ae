"""Rooms of workflows: every example of the guide, replayed; its JavaScript class and React hook run under node."""

from __future__ import annotations

import json
import re
from pathlib import Path

import aiohttp

from fastws.server.server import Server
from tests.seeds.examples import agrees
from tests.seeds.node import run_node
from tests.serving import Join, Message, Serve, Talker

EXECUTION = "123e4567-e89b-12d3-a456-426614174000"
SUBSCRIBE = """
{
  "type": "subscribe",
  "room_id": "execution:123e4567-e89b-12d3-a456-426614174000"
}
"""
UNSUBSCRIBE = """
{
  "type": "unsubscribe",
  "room_id": "execution:123e4567-e89b-12d3-a456-426614174000"
}
"""
SUBSCRIBE_WORKFLOW = """
{
  "type": "subscribe",
  "room_id": "workflow:123e4567-e89b-12d3-a456-426614174000"
}
"""
PING = """
{
  "type": "ping"
}
"""
CONNECTED = """
{
  "type": "connection",
  "event": "connected",
  "connection_id": "abc-123-def",
  "timestamp": "2024-01-01T00:00:00"
}
"""
SUBSCRIBED = """
{
  "type": "subscription",
  "event": "subscribed",
  "room_id": "execution:123e4567-e89b-12d3-a456-426614174000",
  "timestamp": "2024-01-01T00:00:00"
}
"""
EXECUTION_UPDATE = """
{
  "type": "execution_update",
  "event": "status_changed",
  "data": {
    "execution_id": "123e4567-e89b-12d3-a456-426614174000",
    "status": "running",
    "progress_percentage": 45.5,
    "completed_nodes": 3,
    "total_nodes": 7,
    "current_node": "node-3"
  },
  "timestamp": "2024-01-01T00:00:00"
}
"""
NODE_UPDATE = """
{
  "type": "node_update",
  "event": "status_changed",
  "data": {
    "execution_id": "123e4567-e89b-12d3-a456-426614174000",
    "node_execution_id": "abc-def-ghi",
    "node_id": "node-1",
    "node_name": "Customer Support Agent",
    "status": "running",
    "message": "Processing customer inquiry..."
  },
  "timestamp": "2024-01-01T00:00:00"
}
"""
PONG = """
{
  "type": "pong",
  "timestamp": "2024-01-01T00:00:00"
}
"""
ERROR = """
{
  "type": "error",
  "message": "Access denied to room",
  "room_id": "execution:123e4567-e89b-12d3-a456-426614174000"
}
"""
STATISTICS = """
{
  "total_connections": 5,
  "user_connections": 2,
  "active_rooms": 3
}
"""
ROOMS = """
{
  "active_rooms": [
    "execution:123e4567-e89b-12d3-a456-426614174000",
    "workflow:abc-def-ghi",
    "user:user-id"
  ],
  "total_rooms": 3
}
"""


def token_of(server: Server, user: str = "user-id") -> str:
    return server.tokens.sign(user, channels=["execution:*", "workflow:*"])


async def enter(server: Server, join: Join, token: str) -> Talker:
    client = await join(server, "/api/v1/ws", greets=False, token=token)
    hello = await client.hear()
    assert agrees(hello, json.loads(CONNECTED))
    client.id = hello["connection_id"]
    return client


async def test_a_room_goes_as_the_guide_shows(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await enter(server, join, token_of(server))
    assert agrees(await client.ask(json.loads(SUBSCRIBE)), json.loads(SUBSCRIBED))
    for example in (EXECUTION_UPDATE, NODE_UPDATE):
        expected: Message = json.loads(example)
        # An execution's own update has its type from its room; a node's is said by the publisher.
        kind = None if expected["type"] == "execution_update" else expected["type"]
        await server.broadcaster.publish(f"execution:{EXECUTION}", expected["event"], expected["data"], type=kind)
        assert agrees(await client.hear(), expected)
    assert agrees(await client.ask(json.loads(PING)), json.loads(PONG))
    left = await client.ask(json.loads(UNSUBSCRIBE))
    assert agrees(left, {**json.loads(SUBSCRIBED), "event": "unsubscribed"})
    assert (await client.ask(json.loads(SUBSCRIBE_WORKFLOW)))["room_id"] == f"workflow:{EXECUTION}"


async def test_the_calls_of_a_backend_make_these_updates(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await enter(server, join, token_of(server))
    await client.ask(json.loads(SUBSCRIBE))
    update, node = json.loads(EXECUTION_UPDATE), json.loads(NODE_UPDATE)
    await server.broadcaster.execution_update(EXECUTION, update["data"])
    assert agrees(await client.hear(), update)
    await server.broadcaster.node_update(EXECUTION, "node-1", node["data"])
    assert agrees(await client.hear(), node)


async def test_a_room_without_the_right_is_refused_as_the_guide_shows(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await enter(server, join, server.tokens.sign("user-id"))
    assert await client.ask(json.loads(SUBSCRIBE)) == json.loads(ERROR)


async def test_the_user_room_is_there_from_the_start(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await enter(server, join, token_of(server))
    await server.broadcaster.publish("user:user-id", "hello", {"a": 1})
    heard = await client.hear()
    assert (heard["type"], heard["event"], heard["data"]) == ("notification", "hello", {"a": 1})


async def test_statistics_and_rooms_are_counted_as_the_guide_shows(serve: Serve, join: Join) -> None:
    server = await serve()
    token = token_of(server)
    first, second = [await enter(server, join, token) for _ in range(2)]
    await first.ask(json.loads(SUBSCRIBE))
    await second.ask({"type": "subscribe", "room_id": "workflow:abc-def-ghi"})
    for _ in range(3):
        await join(server)
    base = f"http://127.0.0.1:{server.port}/api/v1/ws"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:
        async with http.get(f"{base}/stats") as answer:
            assert await answer.json() == json.loads(STATISTICS)
        async with http.get(f"{base}/rooms") as answer:
            rooms = await answer.json()
    expected = json.loads(ROOMS)
    assert sorted(rooms.pop("active_rooms")) == sorted(expected.pop("active_rooms"))
    assert rooms == expected
    async with aiohttp.ClientSession() as http:
        for path in ("stats", "rooms"):
            async with http.get(f"{base}/{path}") as answer:
                assert answer.status == 401


JAVASCRIPT = """
class WorkflowWebSocket {
  constructor(accessToken) {
    this.token = accessToken;
    this.ws = null;
    this.reconnectAttempts = 0;
    this.maxReconnectAttempts = 5;
  }

  connect() {
    this.ws = new WebSocket(`ws://localhost:8000/api/v1/ws?token=${this.token}`);

    this.ws.onopen = () => {
      console.log('WebSocket connected');
      this.reconnectAttempts = 0;
    };

    this.ws.onmessage = (event) => {
      const message = JSON.parse(event.data);
      this.handleMessage(message);
    };

    this.ws.onerror = (error) => {
      console.error('WebSocket error:', error);
    };

    this.ws.onclose = () => {
      console.log('WebSocket disconnected');
      this.reconnect();
    };
  }

  handleMessage(message) {
    switch (message.type) {
      case 'connection':
        console.log('Connected with ID:', message.connection_id);
        break;

      case 'execution_update':
        console.log('Execution update:', message.data);
        // Update UI with execution progress
        this.updateExecutionUI(message.data);
        break;

      case 'node_update':
        console.log('Node update:', message.data);
        // Update UI with node status
        this.updateNodeUI(message.data);
        break;

      case 'subscription':
        console.log('Subscribed to:', message.room_id);
        break;

      case 'pong':
        console.log('Pong received');
        break;

      case 'error':
        console.error('Error:', message.message);
        break;
    }
  }

  subscribeToExecution(executionId) {
    this.send({
      type: 'subscribe',
      room_id: `execution:${executionId}`
    });
  }

  unsubscribeFromExecution(executionId) {
    this.send({
      type: 'unsubscribe',
      room_id: `execution:${executionId}`
    });
  }

  send(message) {
    if (this.ws && this.ws.readyState === WebSocket.OPEN) {
      this.ws.send(JSON.stringify(message));
    }
  }

  ping() {
    this.send({ type: 'ping' });
  }

  reconnect() {
    if (this.reconnectAttempts < this.maxReconnectAttempts) {
      this.reconnectAttempts++;
      const delay = Math.min(1000 * Math.pow(2, this.reconnectAttempts), 30000);
      console.log(`Reconnecting in ${delay}ms... (Attempt ${this.reconnectAttempts})`);
      setTimeout(() => this.connect(), delay);
    }
  }

  updateExecutionUI(data) {
    // Update your UI with execution progress
    const progressBar = document.getElementById('execution-progress');
    if (progressBar) {
      progressBar.style.width = `${data.progress_percentage}%`;
      progressBar.textContent = `${Math.round(data.progress_percentage)}%`;
    }

    const statusElement = document.getElementById('execution-status');
    if (statusElement) {
      statusElement.textContent = data.status;
      statusElement.className = `status-${data.status}`;
    }
  }

  updateNodeUI(data) {
    // Update your UI with node status
    const nodeElement = document.getElementById(`node-${data.node_id}`);
    if (nodeElement) {
      nodeElement.className = `node status-${data.status}`;
      nodeElement.querySelector('.status').textContent = data.status;
    }
  }

  disconnect() {
    if (this.ws) {
      this.ws.close();
    }
  }
}

// Usage
const wsClient = new WorkflowWebSocket(accessToken);
wsClient.connect();

// Subscribe to execution updates
wsClient.subscribeToExecution('123e4567-e89b-12d3-a456-426614174000');

// Keepalive ping every 30 seconds
setInterval(() => wsClient.ping(), 30000);
"""
# What a browser has and node has not; every line that the class logs goes to the test. Its clock runs 40 times faster.
BROWSER = """
const WebSocket = require('ws');
const accessToken = process.env.TOKEN;
const say = (...words) => process.stdout.write(JSON.stringify(words) + '\\n');
const console = { log: say, error: say };
const setTimeout = (call, delay) => globalThis.setTimeout(call, delay / 40);
const elements = {};
const made = (id) => ({ id, style: {}, parts: {}, querySelector(name) { return this.parts[name] ??= {}; } });
const element = (id) => elements[id] ??= made(id);
const document = { getElementById: element };
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const answer = eval(line);
  if (answer !== undefined) say(answer);
});
"""


async def test_the_javascript_class_runs_as_it_stands(serve: Serve, join: Join, node_folder: Path) -> None:
    server = await serve()
    source = BROWSER + JAVASCRIPT.replace("localhost:8000", f"127.0.0.1:{server.port}")
    async with run_node(node_folder, source, environment={"TOKEN": token_of(server)}) as page:
        assert await page.hear() == ["WebSocket connected"]
        words, connection_id = await page.hear()
        assert words == "Connected with ID:"
        assert connection_id in server.roster.clients
        # The usage above subscribes before the socket is open, which the class lets fall.
        await page.say(f"wsClient.subscribeToExecution('{EXECUTION}')")
        assert await page.hear() == ["Subscribed to:", f"execution:{EXECUTION}"]

        update, node = json.loads(EXECUTION_UPDATE), json.loads(NODE_UPDATE)
        await server.broadcaster.execution_update(EXECUTION, update["data"])
        assert await page.hear() == ["Execution update:", update["data"]]
        await server.broadcaster.node_update(EXECUTION, "node-1", node["data"])
        assert await page.hear() == ["Node update:", node["data"]]
        await page.say("elements")
        [shown] = await page.hear()
        assert shown["execution-progress"]["style"] == {"width": "45.5%"}
        assert shown["execution-progress"]["textContent"] == "46%"
        assert shown["execution-status"]["className"] == "status-running"
        assert shown["node-node-1"]["className"] == "node status-running"

        await page.say("wsClient.ping()")
        assert await page.hear() == ["Pong received"]
        await page.say("wsClient.send({ type: 'subscribe', room_id: 'user:somebody-else' })")
        assert await page.hear() == ["Error:", "Access denied to room"]
        await page.say(f"wsClient.unsubscribeFromExecution('{EXECUTION}')")
        assert await page.hear() == ["Subscribed to:", f"execution:{EXECUTION}"]  # so the class words any confirmation

        server.roster.clients[connection_id].end(1012, "restart", label="test")
        assert await page.hear() == ["WebSocket disconnected"]
        assert await page.hear() == ["Reconnecting in 2000ms... (Attempt 1)"]
        assert await page.hear() == ["WebSocket connected"]


REACT = """
import { useEffect, useRef, useState } from 'react';

interface ExecutionUpdate {
  execution_id: string;
  status: string;
  progress_percentage: number;
  completed_nodes: number;
  total_nodes: number;
}

export function useWorkflowWebSocket(accessToken: string, executionId: string) {
  const ws = useRef<WebSocket | null>(null);
  const [executionStatus, setExecutionStatus] = useState<ExecutionUpdate | null>(null);
  const [isConnected, setIsConnected] = useState(false);

  useEffect(() => {
    // Connect to WebSocket
    ws.current = new WebSocket(`ws://localhost:8000/api/v1/ws?token=${accessToken}`);

    ws.current.onopen = () => {
      setIsConnected(true);
      // Subscribe to execution updates
      ws.current?.send(JSON.stringify({
        type: 'subscribe',
        room_id: `execution:${executionId}`
      }));
    };

    ws.current.onmessage = (event) => {
      const message = JSON.parse(event.data);

      if (message.type === 'execution_update') {
        setExecutionStatus(message.data);
      }
    };

    ws.current.onclose = () => {
      setIsConnected(false);
    };

    // Cleanup on unmount
    return () => {
      ws.current?.close();
    };
  }, [accessToken, executionId]);

  return { executionStatus, isConnected };
}
"""
# As much of React as the hook needs: state whose changes are said, effects that run once.
REACT_ITSELF = """
const useRef = (current) => ({ current });
const useState = (first) => [first, (value) => say(value)];
let unmount;
const useEffect = (effect, dependencies) => { unmount = effect(); };
"""
HOOK_IN_USE = f"useWorkflowWebSocket(accessToken, '{EXECUTION}');"


def without_types(typescript: str) -> str:
    """The hook as JavaScript: imports, interfaces and annotations left out."""
    text = re.sub(r"^import [^\n]*|^interface \w+ \{[^}]*\}|^export ", "", typescript, flags=re.MULTILINE)
    return re.sub(r": string|<\w+ \| null>", "", text)


async def test_the_react_hook_runs_as_it_stands(serve: Serve, node_folder: Path) -> None:
    server = await serve()
    hook = without_types(REACT).replace("localhost:8000", f"127.0.0.1:{server.port}")
    source = BROWSER + REACT_ITSELF + hook + HOOK_IN_USE
    async with run_node(node_folder, source, environment={"TOKEN": token_of(server)}) as page:
        assert await page.hear() == [True]
        data = json.loads(EXECUTION_UPDATE)["data"]
        [client] = server.roster
        while f"execution:{EXECUTION}" not in client.channel_names:
            await page.say("'a round trip'")
            await page.hear()
        await server.broadcaster.execution_update(EXECUTION, data)
        assert await page.hear() == [data]
        await page.say("unmount()")
        assert await page.hear() == [False]
    assert len(server.roster) == 0
