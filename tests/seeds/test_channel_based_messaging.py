"""Channel-based messaging: every example of the guide, replayed; its Python class run as it stands."""

from __future__ import annotations

import asyncio
import shlex
import threading
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
import websocket

from fastws.backend import broadcast_admin_event, init_broadcaster
from fastws.server.server import Server
from tests.seeds.examples import agrees, javascript, python
from tests.serving import KEY, PATIENCE_SECONDS, Join, Serve, Talker

SUBSCRIBE = """
ws.send(JSON.stringify({
    action: 'subscribe',
    channel: 'admin'
}));
"""
RESPONSE_1 = """
{
    type: 'connection_id',
    connection_id: 'abc123...'
}
"""
RESPONSE_2 = """
{
    type: 'subscription_succeeded',
    channel: 'admin'
}
"""
UNSUBSCRIBE = """
ws.send(JSON.stringify({
    action: 'unsubscribe',
    channel: 'admin'
}));
"""
UNSUBSCRIBED = """
{
    type: 'unsubscribe_succeeded',
    channel: 'admin'
}
"""
SEND = """
ws.send(JSON.stringify({
    action: 'send',
    channel: 'admin',
    event: 'admin_event',
    data: {
        type: 'run_started',
        thread_id: 'thread-123',
        run_name: 'My Workflow'
    }
}));
"""
ACKNOWLEDGMENT = """
{
    type: 'send_success',
    channel: 'admin',
    sent: 5,
    failed: 0
}
"""
DELIVERY = """
{
    channel: 'admin',
    event: 'admin_event',
    data: {
        type: 'run_started',
        thread_id: 'thread-123',
        run_name: 'My Workflow'
    },
    from: 'xyz789...' // sender's connectionId
}
"""
SEND_TO_CONNECTION = """
ws.send(JSON.stringify({
    action: 'send',
    connectionId: 'target-connection-id',
    event: 'private_message',
    data: {
        message: 'Hello specific client!'
    }
}));
"""
CURL = """
curl -X POST https://your-api.amazonaws.com/production/broadcast \\
  -H "Authorization: Bearer your-secret-key" \\
  -H "Content-Type: application/json" \\
  -d '{
    "channel": "admin",
    "event": "admin_event",
    "data": {
        "type": "run_started",
        "thread_id": "123"
    }
  }'
"""
USE_CASE_1 = """
ws.send(json.dumps({
    'action': 'send',
    'channel': 'logs',
    'event': 'log',
    'data': {
        'text': 'Step 1 completed',
        'thread_id': 'thread-123',
        'timestamp': '2024-01-20T10:00:00Z'
    }
}))
"""
USE_CASE_2 = """
ws.send(json.dumps({
    'action': 'send',
    'channel': 'admin',
    'event': 'admin_event',
    'data': {
        'type': 'run_started',
        'thread_id': 'thread-123',
        'run_name': 'Data Pipeline',
        'sop': 'ETL Process'
    }
}))
"""
USE_CASE_3 = """
ws.send(json.dumps({
    'action': 'send',
    'connectionId': 'abc123...',
    'event': 'approval_required',
    'data': {
        'workflow_id': 'workflow-456',
        'step': 'manual_review'
    }
}))
"""


async def production(server: Server, join: Join) -> Talker:
    client = await join(server, "/production", greets=False)
    hello = await client.hear()
    assert agrees(hello, javascript(RESPONSE_1))
    client.id = hello["connection_id"]
    return client


async def test_subscribe_send_and_unsubscribe_go_as_the_guide_shows(serve: Serve, join: Join) -> None:
    server = await serve()
    clients = [await production(server, join) for _ in range(5)]
    for client in clients:
        assert await client.ask(javascript(SUBSCRIBE)) == javascript(RESPONSE_2)
    sender, *others = clients
    assert agrees(await sender.ask(javascript(SEND)), javascript(DELIVERY))
    assert await sender.hear() == javascript(ACKNOWLEDGMENT)
    for client in others:
        heard = await client.hear()
        assert agrees(heard, javascript(DELIVERY))
        assert heard["from"] == sender.id
    for client in clients:
        assert await client.ask(javascript(UNSUBSCRIBE)) == javascript(UNSUBSCRIBED)


@pytest.mark.parametrize("request_text", [SEND_TO_CONNECTION, USE_CASE_3], ids=["private_message", "approval_required"])
async def test_only_that_connection_receives_the_message(serve: Serve, join: Join, request_text: str) -> None:
    server = await serve()
    sender, target, other = [await production(server, join) for _ in range(3)]
    message = (python if "json.dumps" in request_text else javascript)(request_text)
    message["connectionId"] = target.id
    reply = await sender.ask(message)
    assert reply == {"type": "send_success", "connectionId": target.id, "sent": 1, "failed": 0}
    assert await target.hear() == {"event": message["event"], "data": message["data"], "from": sender.id}
    await other.hears_nothing()


@pytest.mark.parametrize("request_text", [USE_CASE_1, USE_CASE_2], ids=["logs", "workflow"])
async def test_all_clients_subscribed_receive_it_instantly(serve: Serve, join: Join, request_text: str) -> None:
    server = await serve()
    message = python(request_text)
    backend, *clients = [await production(server, join) for _ in range(4)]
    for client in clients:
        await client.ask({"action": "subscribe", "channel": message["channel"]})
    assert (await backend.ask(message))["sent"] == 3
    for client in clients:
        heard = await client.hear()
        assert heard == {
            "channel": message["channel"],
            "event": message["event"],
            "data": message["data"],
            "from": backend.id,
        }


async def test_the_curl_command_broadcasts(serve: Serve, join: Join) -> None:
    server = await serve(broadcast_key=("your-secret-key",))
    client = await production(server, join)
    await client.ask(javascript(SUBSCRIBE))
    command = CURL.replace("https://your-api.amazonaws.com", f"http://127.0.0.1:{server.port}").replace("\\\n", "")
    words = shlex.split(command)
    url = next(word for word in words if word.startswith("http"))
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    async with aiohttp.ClientSession() as http, http.post(url, data=words[-1], headers=headers) as answer:
        assert answer.status == 200
        assert await answer.json() == {"sent": 1, "failed": 0, "stale": 0}
    assert await client.hear() == {
        "channel": "admin",
        "event": "admin_event",
        "data": {"type": "run_started", "thread_id": "123"},
    }


async def test_the_python_function_broadcasts(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await production(server, join)
    await client.ask(javascript(SUBSCRIBE))
    with init_broadcaster(f"http://127.0.0.1:{server.port}", KEY):
        outcome = await asyncio.to_thread(broadcast_admin_event, {"type": "run_started", "thread_id": "123"})
    assert outcome == {"sent": 1, "failed": 0, "stale": 0}
    assert (await client.hear())["data"] == {"type": "run_started", "thread_id": "123"}


BACKEND_WEBSOCKET = '''
import websocket
import json
import threading

class BackendWebSocket:
    def __init__(self, ws_url):
        self.ws_url = ws_url
        self.ws = None
        self.connection_id = None
        self.connected = False
        
    def connect(self):
        """Connect and subscribe to channels"""
        self.ws = websocket.WebSocketApp(
            self.ws_url,
            on_open=self.on_open,
            on_message=self.on_message,
            on_error=self.on_error,
            on_close=self.on_close
        )
        
        # Run in background thread
        wst = threading.Thread(target=self.ws.run_forever)
        wst.daemon = True
        wst.start()
    
    def on_open(self, ws):
        print("Connected to WebSocket")
        # Subscribe to admin channel (optional if backend also wants to receive)
        self.subscribe('admin')
    
    def on_message(self, ws, message):
        data = json.loads(message)
        
        if data.get('type') == 'connection_id':
            self.connection_id = data['connection_id']
            print(f"Got connection ID: {self.connection_id}")
            self.connected = True
        
        elif data.get('type') == 'subscription_succeeded':
            print(f"Subscribed to: {data['channel']}")
    
    def on_error(self, ws, error):
        print(f"WebSocket error: {error}")
    
    def on_close(self, ws, close_status_code, close_msg):
        print("WebSocket closed, reconnecting...")
        self.connected = False
        # Implement reconnection logic here
    
    def subscribe(self, channel):
        """Subscribe to a channel"""
        self.ws.send(json.dumps({
            'action': 'subscribe',
            'channel': channel
        }))
    
    def send_to_channel(self, channel, event, data):
        """Send message to all subscribers of a channel"""
        if not self.connected:
            print("Not connected!")
            return False
        
        self.ws.send(json.dumps({
            'action': 'send',
            'channel': channel,
            'event': event,
            'data': data
        }))
        return True

# Initialize once at app startup
backend_ws = BackendWebSocket('wss://your-api.amazonaws.com/production')
backend_ws.connect()

# Use anywhere in your app
def log_to_clients(message, thread_id):
    backend_ws.send_to_channel('logs', 'log', {
        'text': message,
        'thread_id': thread_id
    })

def notify_run_started(thread_id, run_name):
    backend_ws.send_to_channel('admin', 'admin_event', {
        'type': 'run_started',
        'thread_id': thread_id,
        'run_name': run_name
    })
'''  # noqa: W293 as it stands in the guide


async def test_the_backend_class_runs_as_it_stands(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await production(server, join)
    for channel in ("admin", "logs"):
        await client.ask({"action": "subscribe", "channel": channel})
    said = Printed()
    application: dict[str, Any] = {"print": said, "__name__": "application"}
    url = f"ws://127.0.0.1:{server.port}/production"
    # The only change: the address that is ours.
    exec(BACKEND_WEBSOCKET.replace("wss://your-api.amazonaws.com/production", url), application)
    backend = application["backend_ws"]
    await asyncio.to_thread(said.wait_for, "Subscribed to: admin")
    assert backend.connection_id in server.roster.clients
    assert said.lines == [
        "Connected to WebSocket",
        f"Got connection ID: {backend.connection_id}",
        "Subscribed to: admin",
    ]

    application["log_to_clients"]("Step 1 completed", "thread-123")
    assert await client.hear() == {
        "channel": "logs",
        "event": "log",
        "data": {"text": "Step 1 completed", "thread_id": "thread-123"},
        "from": backend.connection_id,
    }
    application["notify_run_started"]("thread-123", "My Workflow")
    assert agrees(await client.hear(), javascript(DELIVERY))
    plain_socket = backend.ws.sock.sock
    server.roster.clients[backend.connection_id].end(1000, "", label="test")
    await asyncio.to_thread(said.wait_for, "WebSocket closed, reconnecting...")
    plain_socket.close()  # the package leaves that to the garbage collector


class Printed:
    """What an application prints, and a way to wait for a line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, line: str) -> None:
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()

    def wait_for(self, line: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: line in self.lines, PATIENCE_SECONDS), self.lines


async def test_client_to_client_with_the_websocket_client_package(serve: Serve) -> None:
    server = await serve()
    url = f"ws://127.0.0.1:{server.port}/production"

    def session() -> list[str]:
        first, second = (websocket.create_connection(url, timeout=PATIENCE_SECONDS) for _ in range(2))
        receive: list[Callable[[], str]] = [first.recv, second.recv]
        heard = [take() for take in receive]
        for socket in (first, second):
            socket.send('{"action":"subscribe","channel":"chat"}')
        heard += [take() for take in receive]
        first.send('{"action":"send","channel":"chat","event":"say","data":"hi"}')
        heard += [take() for take in (first.recv, first.recv, second.recv)]
        for socket in (first, second):
            socket.close()
        return heard

    heard = await asyncio.to_thread(session)
    assert sum('"subscription_succeeded"' in line for line in heard) == 2
    assert sum('"data":"hi"' in line for line in heard) == 2
    assert sum('"sent":2' in line for line in heard) == 1
