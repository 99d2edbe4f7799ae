"""Real servers, real clients and a real Redis between them."""

from __future__ import annotations

import asyncio
import time

import httpx
import jwt
import msgpack
import orjson
import pytest

from fastws.server.server import Server
from tests.redis_server import RedisServer
from tests.serving import KEY, PATIENCE_SECONDS, SECRET, Join, Message, Serve, Talker

BEARER = {"Authorization": f"Bearer {KEY}"}
JOBS = "botrix:jobs:updates"


def token(**claims: object) -> str:
    return jwt.encode({"sub": "ann", "exp": time.time() + 600, **claims}, SECRET, "HS256")


async def subscribe(talker: Talker, channel: str) -> None:
    assert (await talker.ask({"action": "subscribe", "channel": channel}))["type"] == "subscription_succeeded"


async def broadcast(server: Server, **message: object) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=PATIENCE_SECONDS) as client:
        return await client.post("/broadcast", json=message, headers=BEARER)


async def until_known(server: Server, channel: str, count: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while server.broker.remote_count(channel) != count:
            await asyncio.sleep(0.01)


async def test_clients_of_two_servers_reach_each_other_in_json_and_msgpack(
    serve: Serve, join: Join, redis_server: RedisServer
) -> None:
    one, two = await serve(redis_url=redis_server.url), await serve(redis_url=redis_server.tcp_url)
    ann, bob = await join(one), await join(two, format="msgpack")
    await subscribe(ann, "admin")
    await subscribe(bob, "admin")
    await until_known(one, "admin", 1)
    send = {"action": "send", "channel": "admin", "event": "e", "data": {"n": 1}, "exclude_self": True}
    assert await ann.ask(send) == {"type": "send_success", "channel": "admin", "sent": 1, "failed": 0}
    assert await bob.hear() == {"channel": "admin", "event": "e", "data": {"n": 1}, "from": ann.id}
    await until_known(two, "admin", 1)
    await bob.say({"action": "send", "channel": "admin", "event": "raw", "data": {"b": b"\x00\x01"}})
    heard = [await bob.hear(), await bob.hear()]
    assert {"channel": "admin", "event": "raw", "data": {"b": b"\x00\x01"}, "from": bob.id} in heard
    assert {"type": "send_success", "channel": "admin", "sent": 2, "failed": 0} in heard
    assert (await ann.hear())["data"] == {"b": "AAE="}


async def test_connection_on_another_server_is_reached_by_its_id(
    serve: Serve, join: Join, redis_server: RedisServer
) -> None:
    one, two = await serve(redis_url=redis_server.url), await serve(redis_url=redis_server.url)
    ann, bob = await join(one), await join(two)
    direct = {"action": "send", "connectionId": bob.id, "event": "hello", "data": 1}
    assert await ann.ask(direct) == {"type": "send_success", "connectionId": bob.id, "sent": 1, "failed": 0}
    assert await bob.hear() == {"event": "hello", "data": 1, "from": ann.id}
    gone = {**direct, "connectionId": bob.id[:-1] + ("a" if bob.id[-1] != "a" else "b")}
    assert (await ann.ask(gone))["failed"] == 1
    assert (await broadcast(one, connectionId=bob.id, event="hi", data=2)).json() == {
        "sent": 1,
        "failed": 0,
        "stale": 0,
    }
    assert (await bob.hear())["data"] == 2
    assert (await broadcast(one, connectionId=gone["connectionId"], event="hi")).json()["stale"] == 1


async def test_clients_stay_and_get_a_gap_notice_when_redis_is_replaced(
    serve: Serve, join: Join, own_redis_server: RedisServer
) -> None:
    server = await serve(redis_url=own_redis_server.url)
    ann, worker = await join(server), await join(server, "/ws", greets=False)
    rooms = await join(server, "/api/v1/ws", token=token(channels=["execution:**"]))
    spaces = await join(server, "/ws", token=token(workspace_id="w1"))
    await subscribe(ann, "admin")
    await rooms.ask({"type": "subscribe", "room_id": "execution:1"})
    own_redis_server.kill()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await _ready(server)) != 503:
            await asyncio.sleep(0.05)
    refused = await broadcast(server, channel="admin", event="e", data=1)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "broker_unavailable")
    answer = await ann.ask({"action": "send", "channel": "admin", "event": "e", "data": 1})
    assert (answer["type"], answer["code"]) == ("error", "broker_unavailable")
    own_redis_server.start()
    heard: list[Message] = [await ann.hear(), await worker.hear(), await spaces.hear()]
    assert heard == [
        {"type": "gap", "channel": "admin"},
        {"type": "gap"},
        {"event": "gap", "workspace_id": "w1"},
    ]
    assert {(m["type"], m["room_id"]) for m in [await rooms.hear(), await rooms.hear()]} == {
        ("gap", "execution:1"),
        ("gap", "user:ann"),
    }
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await _ready(server)) != 200:
            await asyncio.sleep(0.05)
    assert (await broadcast(server, channel="admin", event="after", data=2)).json()["sent"] == 1
    assert (await ann.hear())["event"] == "after"


async def _ready(server: Server) -> int:
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        return (await client.get(f"http://127.0.0.1:{server.port}/ready")).status_code


async def test_old_backends_publish_straight_to_redis(serve: Serve, join: Join, redis_server: RedisServer) -> None:
    server = await serve(redis_url=redis_server.url)
    worker = await join(server, "/ws", greets=False)
    await worker.hears_nothing()
    spaces = await join(server, "/ws", token=token(workspace_id="w1"), format="msgpack")
    ann = await join(server)
    await subscribe(ann, "news")
    with redis_server.client() as redis:
        redis.publish(JOBS, b"poison")
        redis.publish(JOBS, orjson.dumps({"job_id": 7, "status": "completed", "data": {"success": True}}))
        redis.publish("workspace:w1", msgpack.packb({"event": "alert", "data": {"n": 1}, "priority": "high"}))
        redis.publish("workspace:w2", msgpack.packb({"event": "alert", "data": "another workspace"}))
        redis.publish("fastws:channel:news", orjson.dumps({"event": "e", "data": [1]}))
    update = await worker.hear()
    assert (update["job_id"], update["status"], update["seq"]) == ("7", "completed", 1)
    alert = await spaces.hear()
    assert (alert["event"], alert["data"], alert["priority"]) == ("alert", {"n": 1}, "high")
    assert await ann.hear() == {"channel": "news", "event": "e", "data": [1]}
    await spaces.hears_nothing()


async def test_figures_and_revocations_are_those_of_all_servers(
    serve: Serve, join: Join, redis_server: RedisServer
) -> None:
    one, two = await serve(redis_url=redis_server.url), await serve(redis_url=redis_server.url)
    ann = await join(two, "/api/v1/ws", token=token(jti="t1"))
    await join(one)
    await until_known(one, "user:ann", 1)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{one.port}", timeout=PATIENCE_SECONDS) as client:
        bearer = {"Authorization": f"Bearer {token()}"}
        stats = (await client.get("/api/v1/ws/stats", headers=bearer)).json()
        assert (stats["total_connections"], stats["user_connections"]) == (2, 1)
        page = (await client.get("/connections", params={"user": "ann"}, headers=BEARER)).json()
        assert [entry["id"] for entry in page["connections"]] == [ann.id]
        assert (await client.post("/revocations", json={"jti": "t1"}, headers=BEARER)).status_code == 204
    assert (await ann.hear())["type"] == "error"
    code, _ = await ann.end()
    assert code == 4401


@pytest.mark.parametrize("dead", [False, True])
async def test_order_is_complete_on_every_server_while_others_come_and_go(
    serve: Serve, join: Join, redis_server: RedisServer, *, dead: bool
) -> None:
    servers = [await serve(redis_url=redis_server.url) for _ in range(3)]
    listeners = [await join(server) for server in servers[:2] for _ in range(2)]
    for listener in listeners:
        await subscribe(listener, "feed")
    count = 1_000

    async def publish(who: int) -> None:
        talker = await join(servers[who % 2])
        for number in range(count):
            send = {"action": "send", "channel": "feed", "event": "e", "data": [who, number]}
            assert (await talker.ask(send))["type"] == "send_success"

    publishing = [asyncio.create_task(publish(who)) for who in range(3)]
    if dead:
        await servers[2].stop()
        await serve(redis_url=redis_server.url)
    heard = [[(await listener.hear())["data"] for _ in range(3 * count)] for listener in listeners]
    await asyncio.gather(*publishing)
    assert all(each == heard[0] for each in heard)
    for who in range(3):
        assert [number for publisher, number in heard[0] if publisher == who] == list(range(count))
