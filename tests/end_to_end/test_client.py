"""Our client against a real server: what it promises over restarts, expiries and slow readers."""

import asyncio
import time

import httpx
import jwt
import pytest

from fastws.backend import AsyncBroadcaster
from fastws.client import connect
from fastws.client.threaded import ThreadedClient
from fastws.config import Config
from fastws.errors import BadRequest, Forbidden, Unauthorized
from fastws.server.server import Server
from tests.serving import PATIENCE_SECONDS

SECRET = "a secret of at least thirty-two bytes"
LATER = 4_102_444_800  # the year 2100


def token(expires=LATER, **claims):
    return jwt.encode({"sub": "u1", "exp": expires, **claims}, SECRET, algorithm="HS256")


def config(port=0, **settings):
    return Config(
        **{"port": port, "jwt_secret": SECRET, "broadcast_key": ("key",), "allow_anonymous": True, **settings}
    )


@pytest.fixture
async def server():
    async with Server(config()) as server:
        yield server


@pytest.fixture
async def broadcaster(server):
    async with AsyncBroadcaster(f"http://127.0.0.1:{server.port}", "key") as broadcaster:
        yield broadcaster


def client_of(server, *args, **options):
    return connect(f"ws://127.0.0.1:{server.port}", *args, **{"proxy": None, "first_delay": 0.01, **options})


async def next_of(client):
    return await asyncio.wait_for(anext(client), PATIENCE_SECONDS)


@pytest.mark.parametrize("form", ["json", "msgpack"])
async def test_channels_are_subscribed_sent_to_and_heard_in_both_formats(server, form):
    async with client_of(server, ["admin"], format=form) as client, client_of(server) as other:
        assert await other.send("admin", "e", {"a": [1, None, "ä"]}) == {"sent": 1, "failed": 0}
        assert await next_of(client) == {
            "channel": "admin",
            "event": "e",
            "data": {"a": [1, None, "ä"]},
            "from": other.connection_id,
        }
        assert await client.send("admin", "e", exclude_self=True) == {"sent": 0, "failed": 0}
        assert await other.send_to(client.connection_id, "direct", 5) == {"sent": 1, "failed": 0}
        assert (await next_of(client))["event"] == "direct"
        assert await other.send_to("gone", "direct") == {"sent": 0, "failed": 1}
        assert await client.ping() > 0
        await client.unsubscribe("admin")
        assert await other.send("admin", "e") == {"sent": 0, "failed": 0}


async def test_msgpack_clients_exchange_bytes_and_json_clients_get_base64(server):
    async with client_of(server, ["a"], format="msgpack") as packed, client_of(server, ["a"]) as plain:
        await packed.send("a", "e", b"\x00\xff")
        assert (await next_of(packed))["data"] == b"\x00\xff"
        assert (await next_of(plain))["data"] == "AP8="


async def test_refusals_of_the_server_are_raised(server):
    async with client_of(server) as client:
        with pytest.raises(BadRequest, match="white space"):
            await client.subscribe(" admin")
        with pytest.raises(Forbidden):
            await client.subscribe("user:someone")
        await client.subscribe("admin")


async def test_rooms_deliver_only_to_clients_whose_token_allows_it(server, broadcaster):
    allowed = token(channels=["execution:*"])
    async with client_of(server, ["execution:1"], token=allowed, dialect="rooms") as client:
        await broadcaster.execution_update("1", {"status": "running"})
        assert (await next_of(client))["type"] == "execution_update"
        await broadcaster.publish("user:u1", "hello")
        assert (await next_of(client))["type"] == "notification"
        with pytest.raises(Forbidden):
            await client.subscribe("workflow:1")


async def test_workspaces_deliver_the_event_types_that_are_wanted(server, broadcaster):
    options = {"token": token(workspaces=["w"]), "dialect": "workspaces", "workspace_id": "w"}
    async with client_of(server, **options) as client:
        await broadcaster.broadcast_metrics_update("w", {"n": 1})
        assert (await next_of(client))["data"] == {"n": 1}
        await client.subscribe("alert")
        await broadcaster.broadcast_metrics_update("w", {"n": 2})
        await broadcaster.broadcast_alert("w", "kind", {})
        assert (await next_of(client))["event"] == "alert"
        assert isinstance(await client.request_metrics("connections"), dict)


async def test_jobs_are_narrowed_by_id_and_status(server, broadcaster):
    async with client_of(server, ["7"], dialect="jobs", statuses=["failed"]) as client:
        await broadcaster.job_update("6", "failed")
        await broadcaster.job_update("7", "processing")
        await broadcaster.job_update("7", "failed")
        message = await next_of(client)
        assert (message["job_id"], message["status"]) == ("7", "failed")


async def test_a_restarted_server_is_found_again_and_everything_subscribed(server):
    async with client_of(server, ["a"]) as client:
        await client.subscribe("b")
        port = server.port
        await server.stop()
        assert (await next_of(client))["code"] == 1012
        async with Server(config(port)), AsyncBroadcaster(f"http://127.0.0.1:{port}", "key") as broadcaster:
            assert (await next_of(client))["type"] == "reconnected"
            await client.ping()
            for channel in ("a", "b"):
                assert (await broadcaster.publish(channel, "e"))["sent"] == 1
                assert (await next_of(client))["channel"] == channel


async def test_a_drain_spreads_its_clients_over_the_time_it_names():
    async with Server(config(drain_timeout=1.0)) as server, client_of(server) as client:
        await server.drain()
        lost = await next_of(client)
        assert (lost["type"], lost["code"]) == ("disconnected", 1012)
        assert "reconnect in 0-1 s" in lost["reason"]
        assert 0 <= lost["retry_seconds"] <= 1


async def test_a_client_closed_by_the_operator_stays_away(server):
    async with client_of(server) as client, httpx.AsyncClient(trust_env=False) as http:
        address = f"http://127.0.0.1:{server.port}/connections/{client.connection_id}"
        answer = await http.delete(address, headers={"Authorization": "Bearer key"})
        assert answer.status_code == 204
        assert [message async for message in client] == []


async def test_a_token_is_refreshed_on_the_same_connection():
    tokens = [token(time.time() + 1.5), token()]

    async def provider():
        return tokens.pop(0)

    # The first token is valid for the upgrade even if it has expired, because the machine may be busy.
    async with Server(config(jwt_leeway=30)) as server, client_of(server, token_provider=provider) as client:
        first = client.connection_id
        (connection,) = server.roster
        assert connection.identity.expires_at < LATER
        async with asyncio.timeout(PATIENCE_SECONDS):
            while connection.identity.expires_at != LATER:
                await client.ping()
        assert client.connection_id == first


async def test_a_token_that_ended_without_a_provider_ends_the_client():
    async def read_to_the_end(client):
        return [message async for message in client]

    async with Server(config(jwt_leeway=0)) as server:
        async with client_of(server, token=token(time.time() + 3)) as client:
            with pytest.raises(Unauthorized, match="token_provider"):
                await asyncio.wait_for(read_to_the_end(client), PATIENCE_SECONDS)
        with pytest.raises(Unauthorized, match="401"):
            async with client_of(server, token=token(time.time() - 1)):
                pytest.fail("it must not come this far")


async def test_a_slow_reader_of_the_clients_own_queue_gets_the_number_of_lost_messages(server, broadcaster):
    async with client_of(server, ["a"], max_queue=10) as client:
        await broadcaster.publish_many([{"channel": "a", "event": "e", "data": n} for n in range(100)])
        await client.ping()
        assert await next_of(client) == {"type": "lag", "dropped": 90, "source": "client"}
        assert [(await next_of(client))["data"] for _ in range(10)] == list(range(90, 100))


async def test_threads_use_it_with_plain_calls(server, broadcaster):
    def use():
        with ThreadedClient(f"ws://127.0.0.1:{server.port}", ["a"], proxy=None) as client:
            assert client.send("a", "e", 1) == {"sent": 1, "failed": 0}
            return client.receive(5)

    assert (await asyncio.to_thread(use))["data"] == 1
