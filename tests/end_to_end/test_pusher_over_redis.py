"""Pusher clients of two processes on one Redis: killed, cut and stopped, both know the right members in the end."""

from __future__ import annotations

import asyncio

import httpx

from tests.end_to_end.pusher_client import APP, Enter, PusherClient, decoded, enter
from tests.hostile.server_process import ServerProcess
from tests.redis_server import RedisServer
from tests.serving import KEY, PATIENCE_SECONDS, Message, Serve

__all__ = ["enter"]


async def event(client: PusherClient, name: str) -> Message:
    """The next event of this name; before it nothing but gaps."""
    while True:
        message = decoded(await client.hear())
        if message["event"] == name:
            return message
        assert message["event"] == "fastws:gap", message


async def test_clients_of_two_processes(serve: Serve, enter: Enter, redis_server: RedisServer) -> None:
    servers = [
        await serve(redis_url=redis_server.url, pusher_apps=(APP,), pusher_client_events=("true",)) for _ in range(2)
    ]
    here, there = [await enter(server) for server in servers]
    for client in (here, there):
        await client.subscribe("private-x")
    await here.say("client-x", '{"n":1}', channel="private-x")
    assert await there.hear() == {"event": "client-x", "channel": "private-x", "data": '{"n":1}'}
    await here.say("client-x", {"n": [1]}, channel="private-x")
    assert (await there.hear())["data"] == {"n": [1]}
    headers = {"Authorization": f"Bearer {KEY}"}
    url = f"http://127.0.0.1:{servers[0].port}"
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE_SECONDS) as web:
        body = {"channel": "pusher:4711:private-x", "event": "e", "data": 7, "exclude": [there.id]}
        await web.post("/broadcast", json=body)
        assert (await here.hear())["data"] == "7"
        direct = await web.post("/broadcast", json={"connectionId": there.id, "event": "e", "data": 8})
        assert direct.json()["sent"] == 1
        assert (await there.hear())["data"] == "8"
        listed = (await web.get("/connections", params={"limit": 1})).json()
        more = (await web.get("/connections", params={"cursor": listed["cursor"]})).json()
        assert [each["id"] for each in (*listed["connections"], *more["connections"])] == sorted([here.id, there.id])
        assert (await web.get(f"/connections/{there.id}")).json()["dialect"] == "pusher"
    await there.sign_in("u1")
    await there.hear()
    await servers[0].assembly.cluster.disconnect("4711", "u1")  # type: ignore[union-attr]
    assert (await there.hear())["data"]["code"] == 4009


async def test_the_maximum_of_connections_is_of_all_processes(
    serve: Serve, enter: Enter, redis_server: RedisServer
) -> None:
    servers = [
        await serve(redis_url=redis_server.url, pusher_apps=(APP,), pusher_max_connections=("1",)) for _ in range(2)
    ]
    await enter(servers[0])
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not servers[1].assembly.cluster.realm_connections_elsewhere("pusher", "4711"):  # type: ignore[union-attr]
            await asyncio.sleep(0.02)
    refused = await enter(servers[1], greets=False)
    assert (await refused.hear())["data"]["code"] == 4100


async def test_members_on_two_processes(serve: Serve, enter: Enter, redis_server: RedisServer) -> None:
    servers = [await serve(redis_url=redis_server.url, pusher_apps=(APP,)) for _ in range(2)]
    ann, bob = [await enter(server) for server in servers]
    await ann.subscribe("presence-r", member={"user_id": 7, "user_info": {"name": "A"}})
    joined = await bob.subscribe("presence-r", member={"user_id": "bob"})
    if joined["data"]["presence"]["count"] == 1:
        assert (await event(bob, "pusher_internal:member_added"))["data"] == {"user_id": 7, "user_info": {"name": "A"}}
    else:
        assert joined["data"]["presence"]["hash"] == {"7": {"name": "A"}, "bob": {}}
    assert (await event(ann, "pusher_internal:member_added"))["data"]["user_id"] == "bob"
    # Ann on the other process, too: nobody is told, not even when she leaves the first.
    again = await enter(servers[1])
    await again.subscribe("presence-r", member={"user_id": "7"})
    await ann.socket.close()
    await bob.hears_nothing()
    await again.socket.close()
    assert (await event(bob, "pusher_internal:member_removed"))["data"] == {"user_id": 7}


async def test_presence_of_other_dialects_counts_pusher_clients(
    serve: Serve, enter: Enter, redis_server: RedisServer
) -> None:
    settings = {"redis_url": redis_server.url, "pusher_apps": (APP,), "presence": ("**",)}
    servers = [await serve(**settings) for _ in range(2)]
    for server in servers:
        await (await enter(server)).subscribe("presence-p", member={"user_id": "ann"})
        await (await enter(server)).subscribe("counted")
    headers = {"Authorization": f"Bearer {KEY}"}
    for server in servers:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers=headers) as web:
            for channel in ("presence-p", "counted"):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    found: Message = {}
                    while found.get("count") != 2:
                        found = (await web.get(f"/channels/pusher:4711:{channel}/presence")).json()
                        await asyncio.sleep(0.02)
    # The heartbeats of presence find no entry of a node that does not exist.
    with redis_server.client() as client:
        assert client.hlen("fastws:{pusher:4711:counted}:presence") == 2


async def test_members_of_a_killed_process_are_removed(serve: Serve, enter: Enter, redis_server: RedisServer) -> None:
    server = await serve(redis_url=redis_server.url, pusher_apps=(APP,))
    with ServerProcess("--redis-url", redis_server.url, "--pusher-apps", APP) as killed:
        bob, ann, both = await enter(server), await enter(killed), await enter(killed)
        await bob.subscribe("presence-k", member={"user_id": "bob"})
        await ann.subscribe("presence-k", member={"user_id": "ann"})
        assert (await event(bob, "pusher_internal:member_added"))["data"]["user_id"] == "ann"
        await both.subscribe("presence-k", member={"user_id": "bob"})
        killed.process.kill()
        assert (await event(bob, "pusher_internal:member_removed"))["data"] == {"user_id": "ann"}
        await bob.hears_nothing()


async def test_redis_is_cut(serve: Serve, enter: Enter, own_redis_server: RedisServer) -> None:
    servers = [await serve(redis_url=own_redis_server.url, pusher_apps=(APP,)) for _ in range(2)]
    ann, bob = [await enter(server) for server in servers]
    await ann.subscribe("presence-r", member={"user_id": "ann"})
    await bob.subscribe("presence-r", member={"user_id": "bob"})
    await event(ann, "pusher_internal:member_added")
    own_redis_server.kill()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while servers[0].assembly.broker.is_up:  # type: ignore[union-attr]
            await asyncio.sleep(0.02)
    late = await enter(servers[0])
    refused = await late.subscribe("presence-r", member={"user_id": "late"})
    assert (refused["data"]["type"], refused["data"]["status"]) == ("ServerError", 503)
    # Bob leaves while nobody can be told.
    await bob.socket.close()
    own_redis_server.start()
    assert (await event(ann, "pusher_internal:member_removed"))["data"] == {"user_id": "bob"}
    while (answer := await late.subscribe("presence-r", member={"user_id": "late"}))["event"].endswith("error"):
        await asyncio.sleep(0.05)
    assert answer["data"]["presence"]["ids"] == ["ann", "late"]
    assert (await event(ann, "pusher_internal:member_added"))["data"]["user_id"] == "late"


async def test_a_process_that_stops_takes_its_members_with_it(
    serve: Serve, enter: Enter, redis_server: RedisServer
) -> None:
    server, stopping = [
        await serve(redis_url=redis_server.url, pusher_apps=(APP,), drain_timeout=0.1) for _ in range(2)
    ]
    ann, bob = await enter(server), await enter(stopping)
    await ann.subscribe("presence-s", member={"user_id": "ann"})
    await bob.subscribe("presence-s", member={"user_id": "bob"})
    await event(ann, "pusher_internal:member_added")
    await stopping.stop()
    assert (await event(ann, "pusher_internal:member_removed"))["data"] == {"user_id": "bob"}
    with redis_server.client() as client:
        assert client.hlen("fastws:{pusher:4711:presence-s}:members") == 1
