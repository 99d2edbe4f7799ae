"""What an application that embeds the server does with it: publish in its process, start, stop, start again."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from fastws.backend.message import PublishOptions, to_channel
from fastws.config import Config
from fastws.errors import BadRequest, ConfigError
from fastws.server.server import Server
from tests.redis_server import RedisServer
from tests.serving import PATIENCE_SECONDS, Join, Serve, Talker


async def subscribed(join: Join, server: Server, channel: str, **options: Any) -> Talker:
    client = await join(server, **options)
    assert (await client.ask({"action": "subscribe", "channel": channel}))["type"] == "subscription_succeeded"
    return client


async def test_clients_get_data_as_it_was_when_it_was_published(serve: Serve, join: Join) -> None:
    server = await serve(flush_interval=("20",))
    client = await subscribed(join, server, "counts")
    data = {"count": 0}
    for count in range(3):
        data["count"] = count
        assert (await server.broadcaster.publish("counts", "count", data))["sent"] == 1
    assert [(await client.hear())["data"]["count"] for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("data", [object(), {"ids": {1, 2}}, 2**64])
async def test_data_that_cannot_be_encoded_is_refused_with_what_can(serve: Serve, join: Join, data: object) -> None:
    server = await serve()
    client = await subscribed(join, server, "news")
    with pytest.raises(BadRequest, match="dicts, lists, strings, numbers"):
        await server.broadcaster.publish("news", "hello", data)
    await client.hears_nothing()


async def test_bytes_and_numbered_keys_reach_readers_of_both_codecs(serve: Serve, join: Join) -> None:
    server = await serve()
    packed = await subscribed(join, server, "scans", format="msgpack")
    plain = await subscribed(join, server, "scans")
    await server.broadcaster.publish("scans", "page", {"image": b"\x89PNG"})
    assert (await packed.hear())["data"] == {"image": b"\x89PNG"}
    assert (await plain.hear())["data"] == {"image": "iVBORw=="}
    await server.broadcaster.publish("scans", "pages", {1: "one"})
    assert (await packed.hear())["data"] == {"1": "one"}
    assert (await plain.hear())["data"] == {"1": "one"}


async def test_of_many_messages_none_is_published_where_one_cannot_be(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await subscribed(join, server, "logs")
    good = {"channel": "logs", "event": "log", "data": 1}
    for bad in ({"channel": "logs", "event": "log", "data": object()}, {"channel": "logs"}, {"chanel": "logs"}):
        with pytest.raises(BadRequest):
            await server.broadcaster.publish_many([good, bad])
    await client.hears_nothing()
    outcomes = await server.broadcaster.publish_many([good, {"connectionId": "gone", "event": "log"}])
    assert outcomes == [{"sent": 1, "failed": 0, "stale": 0}, {"sent": 0, "failed": 0, "stale": 1}]
    assert (await client.hear())["data"] == 1


async def test_an_admin_event_reaches_subscribers_and_the_registered_once_each(serve: Serve, join: Join) -> None:
    server = await serve()
    subscriber, registered = await subscribed(join, server, "admin"), await join(server)
    for connection_id in (subscriber.id, registered.id, "gone"):
        server.broadcaster.register_connection(connection_id)
    assert await server.broadcaster.broadcast_admin_event({"a": 1}) == {"sent": 2, "failed": 0, "stale": 1}
    assert await server.broadcaster.broadcast_admin_event({"a": 2}) == {"sent": 2, "failed": 0, "stale": 0}
    for client in (subscriber, registered):
        assert [(await client.hear())["data"] for _ in range(2)] == [{"a": 1}, {"a": 2}]
        await client.hears_nothing()


async def test_fields_other_than_data_are_delivered_too(serve: Serve, join: Join) -> None:
    server = await serve()
    token = server.tokens.sign("ada", workspaces=["w1"])
    client = await join(server, "/ws", token=token)
    options: PublishOptions = {"priority": "high", "key": "k", "type": "t", "exclude": ["x"]}
    await server.broadcaster.publish("workspace:w1", "alert", 1, **options)
    assert (await client.hear())["priority"] == "high"
    publication = server.broadcaster._publication(to_channel("c", "e", 1, options))
    assert (publication.key, publication.type, publication.exclude) == ("k", "t", {"x"})


async def test_a_job_update_reaches_clients_that_filter_for_its_status(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server, "/ws", greets=False)
    await client.ask({"type": "subscribe", "statuses": ["completed"]})
    await server.broadcaster.job_update("j1", "processing", {"progress": 50})
    await server.broadcaster.job_update("j1", "completed", {"accounts": 5})
    heard = await client.hear()
    assert (heard["job_id"], heard["status"], heard["data"]["accounts"]) == ("j1", "completed", 5)


async def test_the_last_metrics_are_those_that_the_application_published(serve: Serve, join: Join) -> None:
    server = await serve()
    token = server.tokens.sign("ada", workspaces=["w1"])
    await server.broadcaster.broadcast_metrics_update("w1", {"metric_type": "runs", "running": 3})
    client = await join(server, "/ws", token=token)
    answer = await client.ask({"type": "request_metrics", "metric_type": "runs"})
    assert answer["data"]["running"] == 3
    assert server.broadcaster.get_connection_count("w1") == 1
    assert server.broadcaster.get_workspace_connections("w1") == [client.id]


async def test_a_call_from_another_event_loop_raises_an_error_that_names_the_right_one(serve: Serve) -> None:
    server = await serve()

    def from_a_thread() -> None:
        asyncio.run(_publish(server))

    with pytest.raises(RuntimeError, match="must be used on the event loop of the server"):
        await asyncio.to_thread(from_a_thread)


async def _publish(server: Server) -> None:
    await server.broadcaster.publish("news", "hello")


def test_a_server_may_be_started_again_on_another_loop(redis_server: RedisServer) -> None:
    """As it is for every test of an application that makes its server when it is imported."""
    server = Server(Config(port=0, redis_url=redis_server.url))

    async def once() -> dict[str, int]:
        async with server:
            outcome = await server.broadcaster.publish("news", "hello")
            await server.drain()
            return dict(outcome)

    assert asyncio.run(once()) == asyncio.run(once()) == {"sent": 0, "failed": 0, "stale": 0}


@pytest.mark.parametrize("is_with_redis", [False, True])
async def test_a_start_that_fails_says_where_and_leaves_nothing_behind(
    serve: Serve, redis_server: RedisServer, is_with_redis: bool
) -> None:
    other = await serve()
    redis_url = redis_server.url if is_with_redis else None
    before = asyncio.all_tasks()
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{other.port}: Address already in use; only one"):
        await Server(Config(port=other.port, redis_url=redis_url)).start()
    server = Server(Config(port=0, redis_url=redis_url, metrics_address=f"127.0.0.1:{other.port}"))
    with pytest.raises(ConfigError, match="metrics_address: cannot listen on"):
        await server.start()
    assert asyncio.all_tasks() == before
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", server.port)
    with redis_server.client() as client:
        assert [entry["name"] for entry in client.client_list() if entry["name"].startswith("fastws")] == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"workers": 2, "redis_url": "redis://127.0.0.1"}, "workers: an embedded server is one process"),
        ({"redis_url": "embedded"}, "redis_url: 'embedded' is only supported by `fastws serve`"),
    ],
)
async def test_what_only_the_command_can_do_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        await Server(Config(port=0, **settings)).start()


@pytest.mark.parametrize("settings", [{"max_queue_bytes": 0}, {"broadcast_key": "one string"}, {"tls_cert": "x"}])
def test_settings_are_checked_before_anything_starts(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings)).partition("_")[0]):
        Server(Config(**settings))


async def test_signals_are_the_applications(serve: Serve) -> None:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    server = await serve()
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before
    async with asyncio.timeout(PATIENCE_SECONDS):
        await server.drain()
