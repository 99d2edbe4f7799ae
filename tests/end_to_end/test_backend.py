"""Broadcasters against a real server, received by clients of another library."""

import asyncio
import json
import time
from contextlib import AsyncExitStack

import jwt
import pytest
import websockets

from fastws.backend import (
    AsyncBroadcaster,
    AsyncRedisBroadcaster,
    BadRequest,
    Broadcaster,
    BrokerUnavailable,
    TooLarge,
    Unauthorized,
    Unrecoverable,
)
from fastws.client import connect
from fastws.config import Config
from fastws.server.server import Server
from tests.serving import PATIENCE_SECONDS

SECRET = "a secret of at least thirty-two bytes"
EXPIRES = 4_102_444_800  # the year 2100


def token(**claims):
    return jwt.encode({"sub": "u1", "exp": EXPIRES, **claims}, SECRET, algorithm="HS256")


@pytest.fixture
async def server():
    config = Config(port=0, jwt_secret=SECRET, broadcast_key=("old-key", "key"), allow_anonymous=True)
    async with Server(config) as server:
        yield server


async def test_channels_and_their_history_are_read_and_ephemeral_messages_are_not_kept():
    config = Config(port=0, broadcast_key=("key",), history=("plain=off", "**=2000/60"))
    async with Server(config) as server:
        url = f"http://127.0.0.1:{server.port}"
        async with AsyncBroadcaster(url, "key") as broadcaster:
            names = [f"many:{number:04}" for number in range(1001)]
            await broadcaster.publish_many({"channel": name, "event": "e"} for name in names)
            assert [each["channel"] for each in await broadcaster.channels("many:")] == names
            for number in range(3):
                await broadcaster.publish("a/b c", "e", number)
            await broadcaster.publish("a/b c", "typing", 3, ephemeral=True)
            await broadcaster.publish_many([{"channel": "a/b c", "event": "typing", "ephemeral": True}])
            page = await broadcaster.history("a/b c", limit=2)
            assert (page["channel"], page["offset"], [each["data"] for each in page["messages"]]) == (
                "a/b c",
                3,
                [0, 1],
            )
            after = {"offset": 1, "epoch": page["epoch"]}
            assert [each["data"] for each in (await broadcaster.history("a/b c", **after))["messages"]] == [1, 2]
            assert [m["data"] for m in (await broadcaster.history("a/b c", reverse=True))["messages"]] == [2, 1, 0]
            with pytest.raises(Unrecoverable, match="409"):
                await broadcaster.history("a/b c", offset=9, epoch=page["epoch"])
            with pytest.raises(BadRequest, match="history"):
                await broadcaster.history("plain")
            with pytest.raises(BadRequest, match="together"):
                await broadcaster.history("a/b c", offset=1)

        def use():
            with Broadcaster(url, "key") as blocking:
                return blocking.history("a/b c", limit=1)["offset"], len(blocking.channels())

        assert await asyncio.to_thread(use) == (3, 1002)


async def test_the_members_of_a_channel_are_read():
    presence = {"presence": ("counted=count", "plain=off", "**"), "allow_anonymous": True}
    async with Server(Config(port=0, broadcast_key=("key",), jwt_secret=SECRET, **presence)) as server:
        url, claims = f"http://127.0.0.1:{server.port}", {"sub": "ada", "exp": time.time() + 60, "channels": ["**"]}
        given = jwt.encode(claims, SECRET, "HS256")
        async with AsyncBroadcaster(url, "key") as broadcaster, AsyncExitStack() as stack:
            assert await broadcaster.presence("a/b c") == {"channel": "a/b c", "count": 0, "users": 0, "members": []}
            clients = [connect(url, ["a/b c", "counted"], given, proxy=None) for _ in range(3)]
            ids = sorted([(await stack.enter_async_context(client)).connection_id for client in clients])
            found = await broadcaster.presence("a/b c")
            members = [{"connection_id": each, "user": "ada"} for each in ids]
            assert found == {"channel": "a/b c", "count": 3, "users": 1, "members": members}
            assert await broadcaster.presence("counted") == {"channel": "counted", "count": 3, "users": 1}
            with pytest.raises(BadRequest, match="presence"):
                await broadcaster.presence("plain")

            def use():
                with Broadcaster(url, "key") as blocking:
                    return blocking.presence("a/b c")

            assert await asyncio.to_thread(use) == found


@pytest.fixture
async def listen(server):
    """Connects a client of the `websockets` library; returns it and a coroutine function for its next message."""
    async with AsyncExitStack() as stack:

        async def connect(path="/", *requests, greetings=1):
            socket = await stack.enter_async_context(
                websockets.connect(f"ws://127.0.0.1:{server.port}{path}", proxy=None)
            )

            async def hear():
                return json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS))

            first = [await hear() for _ in range(greetings)]
            for request in requests:
                await socket.send(json.dumps(request))
                first.append(await hear())
            return hear, first

        yield connect


@pytest.fixture
async def broadcaster(server):
    async with AsyncBroadcaster(f"http://127.0.0.1:{server.port}", "key") as broadcaster:
        yield broadcaster


SUBSCRIBE_ADMIN = {"action": "subscribe", "channel": "admin"}


async def test_published_messages_reach_subscribers_and_are_counted(listen, broadcaster):
    hear, _ = await listen("/", SUBSCRIBE_ADMIN)
    assert await broadcaster.publish("admin", "e", {"a": 1}) == {"sent": 1, "failed": 0, "stale": 0}
    assert await hear() == {"channel": "admin", "event": "e", "data": {"a": 1}}
    assert await broadcaster.publish("nobody", "e") == {"sent": 0, "failed": 0, "stale": 0}


async def test_one_connection_is_reached_by_its_id(listen, broadcaster):
    hear, (hello,) = await listen()
    assert await broadcaster.send(hello["connection_id"], "e", 5) == {"sent": 1, "failed": 0, "stale": 0}
    assert await hear() == {"event": "e", "data": 5}
    assert await broadcaster.send("gone", "e") == {"sent": 0, "failed": 0, "stale": 1}


async def test_a_batch_arrives_in_order_with_its_outcomes(listen, broadcaster):
    hear, _ = await listen("/", SUBSCRIBE_ADMIN)
    messages = [{"channel": "admin", "event": "e", "data": number} for number in range(200)]
    outcomes = await broadcaster.publish_many(messages)
    assert [outcome["sent"] for outcome in outcomes] == [1] * 200
    assert [(await hear())["data"] for _ in range(200)] == list(range(200))


async def test_one_name_is_published_once(listen, broadcaster):
    hear, _ = await listen("/", SUBSCRIBE_ADMIN)
    await broadcaster.publish("admin", "once", message_id="m1")
    await broadcaster.publish("admin", "once", message_id="m1")
    await broadcaster.publish("admin", "other")
    assert [(await hear())["event"] for _ in range(2)] == ["once", "other"]


async def test_an_excluded_connection_gets_nothing(listen, broadcaster):
    hear, (hello, _) = await listen("/", SUBSCRIBE_ADMIN)
    assert (await broadcaster.publish("admin", "e", exclude=[hello["connection_id"]]))["sent"] == 0
    await broadcaster.publish("admin", "next")
    assert (await hear())["event"] == "next"


async def test_an_admin_event_reaches_each_client_once_and_forgets_closed_ones(listen, broadcaster):
    subscriber, _ = await listen("/", SUBSCRIBE_ADMIN)
    registered, (hello,) = await listen()
    both, (other, _) = await listen("/", SUBSCRIBE_ADMIN)
    for connection_id in (hello["connection_id"], other["connection_id"], "left-long-ago"):
        broadcaster.register_connection(connection_id)
    event = {"type": "run_started", "thread_id": "abc123", "run_name": "My Workflow"}
    assert await broadcaster.broadcast_admin_event(event) == {"sent": 3, "failed": 0, "stale": 1}
    assert await broadcaster.broadcast_admin_event(event) == {"sent": 3, "failed": 0, "stale": 0}
    for hear in (subscriber, registered, both):
        heard = [await hear() for _ in range(2)]
        assert all(message["event"] == "admin_event" and message["data"] == event for message in heard)
    await broadcaster.publish("admin", "last")
    assert (await both())["event"] == "last"


async def test_workspace_events_arrive_as_the_guide_shows_them(listen, broadcaster):
    hear, _ = await listen(f"/ws?token={token(workspace_id='workspace-123')}")
    await broadcaster.broadcast_execution_started(
        workspace_id="workspace-123", agent_id="agent-456", run_id="run-789", user_id="user-123"
    )
    started = await hear()
    assert started["event"] == "execution_started"
    assert sorted(started["data"]) == ["agent_id", "run_id", "started_at", "user_id"]
    await broadcaster.broadcast_alert(
        workspace_id="workspace-123", alert_type="credit_limit", alert_data={"message": "m", "priority": "high"}
    )
    alert = await hear()
    assert alert["priority"] == alert["data"]["priority"] == "high"
    assert alert["data"]["type"] == "credit_limit"


async def test_execution_and_node_updates_arrive_in_their_room(listen, broadcaster):
    path = f"/api/v1/ws?token={token(channels=['execution:*'])}"
    hear, _ = await listen(path, {"type": "subscribe", "room_id": "execution:1"})
    await broadcaster.execution_update("1", {"status": "running"})
    await broadcaster.node_update("1", "node-3", {"status": "running"})
    heard = [await hear(), await hear()]
    assert [(message["type"], message["event"]) for message in heard] == [
        ("execution_update", "status_changed"),
        ("node_update", "status_changed"),
    ]
    assert heard[1]["data"] == {"execution_id": "1", "node_id": "node-3", "status": "running"}


async def test_job_updates_arrive_on_the_feed(listen, broadcaster):
    hear, _ = await listen("/ws", {"type": "subscribe", "statuses": ["failed"]}, greetings=0)
    await broadcaster.job_update(6, "processing")
    await broadcaster.job_update(7, "failed", {"progress": 50})
    message = await hear()
    assert (message["type"], message["job_id"], message["status"]) == ("job_update", "7", "failed")
    assert message["data"] == {"job_id": "7", "status": "failed", "progress": 50}


async def test_threads_publish_too(server, listen):
    hear, _ = await listen("/", SUBSCRIBE_ADMIN)
    with Broadcaster(f"ws://127.0.0.1:{server.port}/production", "old-key") as broadcaster:
        outcomes = await asyncio.gather(*(asyncio.to_thread(broadcaster.publish, "admin", "e", n) for n in range(8)))
    assert [outcome["sent"] for outcome in outcomes] == [1] * 8
    assert sorted([(await hear())["data"] for _ in range(8)]) == list(range(8))


async def test_refusals_are_raised_with_the_servers_words(server, broadcaster):
    async with AsyncBroadcaster(f"http://127.0.0.1:{server.port}", "wrong") as stranger:
        with pytest.raises(Unauthorized, match="FASTWS_BROADCAST_KEY"):
            await stranger.publish("admin", "e")
    with pytest.raises(TooLarge, match="max_message_bytes"):
        await broadcaster.publish("admin", "e", "x" * 1_100_000)
    with pytest.raises(BadRequest, match="`event`"):
        await broadcaster.publish("admin", "e" * 300)


@pytest.mark.parametrize("form", ["json", "msgpack"])
async def test_publications_through_redis_arrive_in_every_dialect(redis_server, form):
    config = Config(port=0, jwt_secret=SECRET, redis_url=redis_server.url, allow_anonymous=True)
    rooms = token(channels=["execution:*"])
    async with (
        Server(config) as server,
        AsyncRedisBroadcaster(redis_server.url, format=form) as broadcaster,
        connect(f"ws://127.0.0.1:{server.port}", ["admin"], proxy=None) as admin,
        connect(f"ws://127.0.0.1:{server.port}", ["execution:1"], token=rooms, dialect="rooms", proxy=None) as room,
        connect(f"ws://127.0.0.1:{server.port}", token=token(workspace_id="w"), dialect="workspaces") as workspace,
        connect(f"ws://127.0.0.1:{server.port}", dialect="jobs", proxy=None) as jobs,
    ):
        assert (await broadcaster.broadcast_admin_event({"type": "t"}))["sent"] == 1
        await broadcaster.execution_update("1", {"status": "running"})
        await broadcaster.broadcast_alert("w", "credit_limit", {"priority": "high"})
        await broadcaster.job_update(7, "completed", {"result": {"success": True}})
        heard = [await asyncio.wait_for(anext(client), PATIENCE_SECONDS) for client in (admin, room, workspace, jobs)]
    assert heard[0] == {"channel": "admin", "event": "admin_event", "data": {"type": "t"}}
    assert (heard[1]["type"], heard[1]["data"]) == ("execution_update", {"execution_id": "1", "status": "running"})
    assert (heard[2]["event"], heard[2]["priority"], heard[2]["data"]["type"]) == ("alert", "high", "credit_limit")
    assert (heard[3]["job_id"], heard[3]["status"]) == ("7", "completed")
    assert heard[3]["data"]["result"] == {"success": True}


async def test_a_publication_that_redis_did_not_accept_arrives_after_a_retry(own_redis_server):
    config = Config(port=0, redis_url=own_redis_server.url, broadcast_key=("key",))
    async with (
        Server(config) as server,
        connect(f"ws://127.0.0.1:{server.port}", ["admin"], proxy=None) as client,
        AsyncBroadcaster(f"http://127.0.0.1:{server.port}", "key", retry_seconds=0) as broadcaster,
    ):
        own_redis_server.kill()
        with pytest.raises(BrokerUnavailable):
            await broadcaster.publish("admin", "e", 1, message_id="m1")
        own_redis_server.start()
        assert await asyncio.wait_for(anext(client), PATIENCE_SECONDS) == {"type": "gap", "channel": "admin"}
        # The connection for commands may come back after the one that brings the gap.
        url = f"http://127.0.0.1:{server.port}"
        async with AsyncBroadcaster(url, "key", retry_seconds=PATIENCE_SECONDS) as patient:
            assert (await patient.publish("admin", "e", 1, message_id="m1"))["sent"] == 1
        assert (await asyncio.wait_for(anext(client), PATIENCE_SECONDS))["data"] == 1
