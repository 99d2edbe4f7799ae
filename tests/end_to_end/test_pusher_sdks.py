"""Pusher's own SDKs for backends, of PyPI and npm, and the requests of Laravel's broadcaster, against a real server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from fastws.server.server import Server
from tests import node_packages
from tests.end_to_end.pusher_client import KEY, SECRET, Enter, PusherClient, enter
from tests.endpoints.pusher_requests import APP, target
from tests.serving import Serve

__all__ = ["enter"]

# What a script of either SDK does, with the answers that it prints.
NODE = """
import Pusher from "pusher"
const [port, socketId] = process.argv.slice(2)
const pusher = new Pusher({appId: "4711", key: "app-key", secret: "app-secret", host: "127.0.0.1", port})
const bodies = []
const text = async (response) => bodies.push(await (await response).json())
await text(pusher.trigger("c", "e", {n: 1}))
await text(pusher.trigger(["c", "presence-r"], "e", "text", {socket_id: socketId}))
await text(pusher.trigger("presence-r", "e", "x", {info: "user_count,subscription_count"}))
await text(pusher.triggerBatch([{channel: "c", name: "b1", data: "1"}, {channel: "c", name: "b2", data: {a: "ü"}}]))
await text(pusher.get({path: "/channels", params: {filter_by_prefix: "presence-", info: "user_count"}}))
await text(pusher.get({path: "/channels/presence-r", params: {info: "user_count,subscription_count"}}))
await text(pusher.get({path: "/channels/presence-r/users", params: {}}))
await text(pusher.sendToUser("u1", "hello", {a: 1}))
await pusher.terminateUserConnections("u1")
console.log(JSON.stringify(bodies))
"""
FIGURES = {"user_count": 1, "subscription_count": 1}


async def _joined(server: Server, enter: Enter) -> PusherClient:
    """A client in two channels that has signed in."""
    client = await enter(server)
    await client.subscribe("c")
    await client.subscribe("presence-r", member={"user_id": "u1"})
    await client.sign_in("u1")
    await client.hear()
    await client.subscribe("#server-to-user-u1")
    return client


def _use_python_sdk(port: int, socket_id: str) -> list[Any]:
    pusher = pytest.importorskip("pusher", reason="pip install pusher")
    sdk = pusher.Pusher("4711", KEY, SECRET, ssl=False, host="127.0.0.1", port=port)
    return [
        sdk.trigger("c", "e", {"n": 1}),
        sdk.trigger(["c", "presence-r"], "e", "text", socket_id),
        sdk.trigger_batch([{"channel": "c", "name": "b1", "data": "1"}, {"channel": "c", "name": "b2", "data": {}}]),
        sdk.channels_info("presence-", attributes=["user_count"]),
        sdk.channel_info("presence-r", attributes=["user_count", "subscription_count"]),
        sdk.users_info("presence-r"),
        sdk.send_to_user("u1", "hello", {"a": 1}),
        sdk.terminate_user_connections("u1"),
    ]


async def _ended_by_the_backend(client: PusherClient) -> None:
    assert (await client.hear())["data"]["code"] == 4009
    assert (await client.end())[0] == 4009


async def test_the_python_sdk(serve: Serve, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,))
    client = await _joined(server, enter)
    answers = await asyncio.to_thread(_use_python_sdk, server.port, client.id)
    assert answers[3] == {"channels": {"presence-r": {"user_count": 1}}}
    assert answers[4] == {"occupied": True, **FIGURES}
    assert answers[5] == {"users": [{"id": "u1"}]}
    heard = [await client.hear() for _ in range(4)]
    assert [(each["event"], each["channel"], json.loads(each["data"])) for each in heard] == [
        ("e", "c", {"n": 1}),
        ("b1", "c", 1),
        ("b2", "c", {}),
        ("hello", "#server-to-user-u1", {"a": 1}),
    ]
    await _ended_by_the_backend(client)


async def test_the_node_sdk(serve: Serve, enter: Enter, tmp_path: Path) -> None:
    modules = await asyncio.to_thread(node_packages.pusher)
    server = await serve(pusher_apps=(APP,))
    client = await _joined(server, enter)
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "script.mjs").write_text(NODE)
    command = [node_packages.node(), str(tmp_path / "script.mjs"), str(server.port), client.id]
    answers = json.loads(await asyncio.to_thread(node_packages.run, command, tmp_path))
    assert answers == [
        {},
        {},
        {"channels": {"presence-r": FIGURES}},
        {},
        {"channels": {"presence-r": {"user_count": 1}}},
        {"occupied": True, **FIGURES},
        {"users": [{"id": "u1"}]},
        {},
    ]
    heard = [await client.hear() for _ in range(5)]
    assert [(each["event"], each["channel"], each["data"]) for each in heard] == [
        ("e", "c", '{"n":1}'),
        ("e", "presence-r", "x"),
        ("b1", "c", "1"),
        ("b2", "c", '{"a":"ü"}'),
        ("hello", "#server-to-user-u1", '{"a":1}'),
    ]
    await _ended_by_the_backend(client)


async def test_the_requests_of_laravel(serve: Serve, enter: Enter) -> None:
    """PusherBroadcaster::broadcast: `trigger` with names that hold backslashes, and `socket_id` of toOthers()."""
    server = await serve(pusher_apps=(APP,))
    ann, bob = await enter(server), await enter(server)
    for client in (ann, bob):
        await client.subscribe("private-orders.1")
    data = json.dumps({"order": {"id": 1, "total": "10,00 €"}, "socket": bob.id}, separators=(",", ":"))
    body = json.dumps(
        {"name": "App\\Events\\OrderShipped", "data": data, "channels": ["private-orders.1"], "socket_id": bob.id},
        separators=(",", ":"),
    ).replace("/", "\\/")
    address = target("POST", "/apps/4711/events", body.encode())
    status = await asyncio.to_thread(_post, server.port, address, body.encode())
    assert status == (200, b"{}")
    message = await ann.hear()
    assert message == {"event": "App\\Events\\OrderShipped", "channel": "private-orders.1", "data": data}
    await bob.hears_nothing()


def _post(port: int, address: str, body: bytes) -> tuple[int, bytes]:
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", port)
    headers = {"Content-Type": "application/json", "X-Pusher-Library": "pusher-http-php 7.2.7"}
    connection.request("POST", address, body, headers)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer
