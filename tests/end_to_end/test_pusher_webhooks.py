"""Webhooks of Pusher apps: a real server, clients and a receiver that checks them with Pusher's own SDK."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests import node_packages
from tests.end_to_end.pusher_client import KEY, SECRET, Enter, enter
from tests.endpoints.pusher_requests import APP
from tests.serving import SECRET as JWT_SECRET
from tests.serving import Join, Serve, join
from tests.webhook_receiver import Receiver, receiver

__all__ = ["enter", "join"]


def named(hook: Receiver) -> list[tuple[str, str]]:
    return sorted(hook.told)


async def test_what_happens_in_channels_is_reported(serve: Serve, enter: Enter) -> None:
    async with receiver() as hook:
        server = await serve(
            pusher_apps=(APP, "4711:second:x"),
            pusher_webhooks=(hook.url,),
            pusher_webhook_grace=("0",),
            pusher_client_events=("true",),
        )
        ann, bob = await enter(server), await enter(server)
        for client, user in ((ann, 1), (bob, 2), (bob, 2)):
            await client.subscribe("presence-r", member={"user_id": user})
        await hook.until(3)
        assert hook.told[0] == ("channel_occupied", "presence-r")
        members = [event for event in hook.events if event["name"] == "member_added"]
        assert [event["user_id"] for event in members] == ["1", "2"]
        for client in (ann, bob):
            await client.say("client-x", {"a": [1]}, channel="presence-r", user_id="forged")
            await client.say("client-y", '{"b": 2}', channel="presence-r")
        await hook.until(7)
        assert [event for event in hook.events if event["name"] == "client_event"][:2] == [
            {
                "name": "client_event",
                "channel": "presence-r",
                "event": "client-x",
                "data": {"a": [1]},
                "socket_id": ann.id,
                "user_id": "1",
            },
            {
                "name": "client_event",
                "channel": "presence-r",
                "event": "client-y",
                "data": '{"b": 2}',
                "socket_id": ann.id,
                "user_id": "1",
            },
        ]
        await ann.socket.close()
        await hook.until(8)
        assert hook.events[7] == {"name": "member_removed", "channel": "presence-r", "user_id": "1"}
        await bob.say("pusher:unsubscribe", {"channel": "presence-r"})
        await hook.until(10)
        assert hook.told[8:] == [("member_removed", "presence-r"), ("channel_vacated", "presence-r")]
        _check_with_the_sdk(hook)


def _check_with_the_sdk(hook: Receiver) -> None:
    pusher = pytest.importorskip("pusher", reason="pip install pusher")
    sdk = pusher.Pusher("4711", KEY, SECRET, ssl=False, host="127.0.0.1")
    for headers, body, _ in hook.requests:
        key, signature = headers["X-Pusher-Key"], headers["X-Pusher-Signature"]
        valid: Any = sdk.validate_webhook(key, signature, body.decode())
        assert valid is not None
        assert len(valid["events"]) == 1
        assert sdk.validate_webhook(key, signature, body.decode() + " ") is None


NODE = """
import Pusher from "pusher"
const pusher = new Pusher({appId: "4711", key: "app-key", secret: "app-secret", host: "127.0.0.1"})
let given = ""
for await (const piece of process.stdin) given += piece
for (const {headers, body} of JSON.parse(given)) {
  const lower = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
  const valid = pusher.webhook({headers: lower, rawBody: body})
  const forged = pusher.webhook({headers: lower, rawBody: body + " "})
  console.log(valid.isValid(), forged.isValid(), JSON.stringify(valid.getEvents()))
}
"""


async def test_the_node_sdk_accepts_the_requests(serve: Serve, enter: Enter, tmp_path: Path) -> None:
    modules = await asyncio.to_thread(node_packages.pusher)
    async with receiver() as hook:
        server = await serve(pusher_apps=(APP,), pusher_webhooks=(hook.url,))
        await (await enter(server)).subscribe("c")
        await hook.until(1)
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "script.mjs").write_text(NODE)
    given = json.dumps([{"headers": headers, "body": body.decode()} for headers, body, _ in hook.requests])
    command = [node_packages.node(), str(tmp_path / "script.mjs")]
    printed = await asyncio.to_thread(node_packages.run, command, tmp_path, given=given)
    assert printed.split() == ["true", "false", '[{"name":"channel_occupied","channel":"c"}]']


async def test_clients_of_other_dialects_occupy_no_channel_of_an_app(serve: Serve, enter: Enter, join: Join) -> None:
    async with receiver() as hook:
        server = await serve(pusher_apps=(APP,), pusher_webhooks=(hook.url,), drain_timeout=0.0)
        claims = {"sub": "ann", "exp": time.time() + 600, "channels": ["pusher:**"]}
        other = await join(server, token=jwt.encode(claims, JWT_SECRET))
        answer = await other.ask({"action": "subscribe", "channel": "pusher:4711:c"})
        assert answer["type"] == "subscription_succeeded"
        await (await enter(server)).subscribe("d")
        await hook.until(1)
        await server.drain()
        assert {channel for _, channel in hook.told} == {"d"}


async def test_users_own_channels_and_other_apps_are_left_out(serve: Serve, enter: Enter) -> None:
    async with receiver() as hook:
        server = await serve(
            pusher_apps=(APP, "1:other:s"),
            pusher_webhooks=(f"4711={hook.url}",),
            pusher_webhook_batch=("1",),
            pusher_webhook_events=("channel_occupied+client_event",),
            drain_timeout=0.0,
        )
        other, ann = await enter(server, "other"), await enter(server)
        await other.subscribe("c")
        await ann.sign_in("u1")
        await ann.hear()
        await ann.subscribe("#server-to-user-u1")
        await ann.subscribe("d")
        await server.drain()
        assert hook.told == [("channel_occupied", "d")]
        results = {key: count for key, count in server.counters.pusher_webhooks.items() if count}
        assert results == {("channel_occupied", "sent"): 1}
