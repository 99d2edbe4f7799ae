"""Two processes on one Redis act as one: list of connections, direct sends, revocations."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import msgpack
import pytest

from fastws.server.server import Server
from tests.end_to_end.ears import get, until
from tests.hostile.server_process import ServerProcess
from tests.redis_server import RedisServer
from tests.serving import KEY, PATIENCE_SECONDS, Join, Serve, Talker

UNKNOWN = "AAAAAA" + "x" * 22


@pytest.fixture
async def servers(serve: Serve, redis_server: RedisServer) -> tuple[Server, Server]:
    return await serve(redis_url=redis_server.url), await serve(redis_url=redis_server.url)


async def call(server: Server, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
    """A request with the broadcast key."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as client:
        return await client.request(
            method,
            f"http://127.0.0.1:{server.port}{path}",
            json=body,
            headers={"Authorization": f"Bearer {KEY}", **headers},
        )


async def known(server: Server, query: str = "") -> dict[str, Any]:
    """Every connection that /connections shows, page by page, by id."""
    found: dict[str, Any] = {}
    cursor = ""
    while True:
        page = (await call(server, "GET", f"/connections?{query}&cursor={cursor}")).json()
        found.update((connection["id"], connection) for connection in page["connections"])
        if page["cursor"] is None:
            return found
        cursor = page["cursor"]


async def as_user(server: Server, path: str, user: str = "u1") -> Any:
    token = server.tokens.sign(user, channels=["**"])
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as client:
        url = f"http://127.0.0.1:{server.port}{path}"
        return (await client.get(url, headers={"Authorization": f"Bearer {token}"})).json()


async def test_connections_of_both_are_listed_shown_and_closed_from_either(
    servers: tuple[Server, Server], join: Join
) -> None:
    first, second = servers
    here = await join(first, "/api/v1/ws", token=first.tokens.sign("u1"))
    there = await join(second, format="msgpack")
    await there.ask({"action": "subscribe", "channel": "news"})

    async def both_know_both() -> bool:
        return all([set(await known(server)) == {here.id, there.id} for server in servers])

    await until(both_know_both)
    for server in servers:
        assert set(await known(server, "user=u1")) == {here.id}
        assert set(await known(server, "channel=news")) == {there.id}
        shown = (await call(server, "GET", f"/connections/{there.id}")).json()
        assert (shown["dialect"], shown["codec"], shown["channels"]) == ("channels", "msgpack", ["news"])
        assert (await call(server, "GET", f"/connections/{UNKNOWN}")).status_code == 404
        assert (await call(server, "DELETE", f"/connections/{UNKNOWN}")).status_code == 404
    assert (await call(first, "DELETE", f"/connections/{there.id}")).status_code == 204
    assert (await there.end())[0] == 1000
    assert (await call(second, "DELETE", f"/connections/{here.id}")).status_code == 204
    assert (await here.end())[0] == 1000
    assert (await call(first, "DELETE", f"/connections/{here.id}")).status_code == 404


async def test_pages_continue_across_processes(servers: tuple[Server, Server], join: Join) -> None:
    first, second = servers
    clients = [await join(server) for server in (first, second) for _ in range(3)]

    async def knows_all() -> bool:
        return len(await known(first)) == 6

    await until(knows_all)
    seen: list[str] = []
    cursor = ""
    for size in (4, 2):
        page = (await call(first, "GET", f"/connections?limit=4&cursor={cursor}")).json()
        assert len(page["connections"]) == size
        seen += [connection["id"] for connection in page["connections"]]
        cursor = page["cursor"]
    assert cursor is None
    assert seen == sorted(client.id for client in clients)


async def test_figures_are_those_of_both(servers: tuple[Server, Server], join: Join) -> None:
    first, second = servers
    token = first.tokens.sign("u1", channels=["execution:*"])
    rooms = [await join(server, "/api/v1/ws", token=token) for server in (first, second, second)]
    for number, client in enumerate(rooms):
        await client.ask({"type": "subscribe", "room_id": f"execution:{number}"})
    for server in (first, second):
        await join(server, "/ws", greets=False)

    async def all_figures_are_right() -> bool:
        answers = []
        for server in servers:
            statistics = await as_user(server, "/api/v1/ws/stats")
            found = await as_user(server, "/api/v1/ws/rooms")
            jobs = (await get(server, "/ws/stats")).json()
            answers.append(
                (statistics["total_connections"], statistics["user_connections"]) == (5, 3)
                and {"execution:0", "execution:1", "execution:2"} <= set(found["active_rooms"])
                and found["total_rooms"] == len(found["active_rooms"]) == statistics["active_rooms"]
                and jobs["connected_clients"] == 2
            )
        return all(answers)

    await until(all_figures_are_right)
    for server in servers:
        assert (await as_user(server, "/api/v1/ws/stats", "somebody else"))["user_connections"] == 0


async def test_sent_counts_the_subscribers_of_both(servers: tuple[Server, Server], join: Join) -> None:
    first, second = servers
    for server in (first, second, second):
        await (await join(server)).ask({"action": "subscribe", "channel": "news"})

    async def all_are_counted() -> bool:
        return (first.broker.remote_count("news"), second.broker.remote_count("news")) == (2, 1)

    await until(all_are_counted)
    reply = await (await join(first)).ask({"action": "send", "channel": "news", "event": "e"})
    assert (reply["sent"], reply["failed"]) == (3, 0)
    for server in servers:
        answer = await call(server, "POST", "/broadcast", {"channel": "news", "event": "e"})
        assert answer.json() == {"sent": 3, "failed": 0, "stale": 0}


async def test_a_connection_is_reached_from_the_other_process(servers: tuple[Server, Server], join: Join) -> None:
    first, second = servers
    sender, target = await join(first), await join(second, format="msgpack")
    reply = await sender.ask({"action": "send", "connectionId": target.id, "event": "e", "data": {"a": 1}})
    assert reply == {"type": "send_success", "connectionId": target.id, "sent": 1, "failed": 0}
    assert await target.hear() == {"event": "e", "data": {"a": 1}, "from": sender.id}
    answer = await call(first, "POST", "/broadcast", {"connectionId": target.id, "event": "e", "data": [1]})
    assert answer.json() == {"sent": 1, "failed": 0, "stale": 0}
    assert await target.hear() == {"event": "e", "data": [1]}
    for gone in (UNKNOWN, second.node_id + "x" * 22):
        reply = await sender.ask({"action": "send", "connectionId": gone, "event": "e"})
        assert (reply["sent"], reply["failed"]) == (0, 1)
        answer = await call(first, "POST", "/broadcast", {"connectionId": gone, "event": "e"})
        assert answer.json() == {"sent": 0, "failed": 0, "stale": 1}


@pytest.mark.parametrize("reader", ["json", "msgpack"])
@pytest.mark.parametrize("writer", ["json", "msgpack"])
async def test_an_unencodable_direct_send_is_the_same_error_from_every_process(
    servers: tuple[Server, Server], join: Join, caplog: pytest.LogCaptureFixture, writer: str, reader: str
) -> None:
    target = await join(servers[1], format=reader)
    senders = [await join(server, format=writer) for server in servers]
    deep: object = 1
    for _ in range(300):
        deep = [deep]
    values: list[object] = [deep, 2**64 - 1, -(2**63), "half an emoji", {"": None}]
    if writer == "msgpack":
        values += [
            b"\xff",
            msgpack.ExtType(5, b"x"),
            msgpack.Timestamp(2**62),
            [float("inf")] if reader == "json" else 1,
        ]
    for value in values:
        replies, heard = [], []
        for sender in senders:
            message = {"action": "send", "connectionId": target.id, "event": "e", "data": value, "id": 1}
            # Not `ask`: orjson nests no deeper than 254 levels.
            await sender.socket.send(msgpack.packb(message) if sender.is_msgpack else json.dumps(message))
            reply = await sender.hear()
            replies.append(reply)
            if reply["type"] == "send_success":
                heard.append((await target.hear())["data"])
        assert replies[0] == replies[1]
        if heard:
            assert heard[0] == heard[1]
        assert (replies[0]["type"] == "error") is (value is deep and reader == "json")
        if not heard:
            assert replies[0]["code"] == "bad_request"
            answers = [
                await call(server, "POST", "/broadcast", {"connectionId": target.id, "event": "e", "data": deep})
                for server in servers
            ]
            assert [answer.status_code for answer in answers] == [400, 400]
            assert answers[0].json() == answers[1].json()
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


async def test_an_event_of_the_server_cannot_be_forged_from_another_process(
    servers: tuple[Server, Server], join: Join
) -> None:
    first, second = servers
    sender = await join(first)
    target = await join(second, "/ws", token=second.tokens.sign("bob", workspaces=["w1"]))
    reply = await sender.ask({"action": "send", "connectionId": target.id, "event": "metrics_update", "id": 1})
    assert (reply["type"], reply["code"], reply["id"]) == ("error", "forbidden", 1)
    await target.hears_nothing()


async def test_order_to_one_connection_is_that_of_the_sender(servers: tuple[Server, Server], join: Join) -> None:
    first, second = servers
    sender, target = await join(first), await join(second)
    await target.ask({"action": "subscribe", "channel": "news"})
    for number in range(100):
        way = {"channel": "news"} if number % 2 else {"connectionId": target.id}
        await sender.say({"action": "send", **way, "event": "e", "data": number, "id": number})
    answers = [await sender.hear() for _ in range(100)]
    assert {answer["type"] for answer in answers} == {"send_success"}
    heard = [(await target.hear())["data"] for _ in range(100)]
    assert heard[1::2] == sorted(heard[1::2])
    assert sorted(heard) == list(range(100))


@pytest.mark.parametrize("what", ["jti", "user"])
async def test_a_revocation_at_one_holds_at_the_other(servers: tuple[Server, Server], join: Join, what: str) -> None:
    first, second = servers
    token = first.tokens.sign("u1")
    clients = [await join(server, "/api/v1/ws", token=token) for server in servers]
    other = await join(second, "/api/v1/ws", token=first.tokens.sign("u2"))
    body = {"jti": first.tokens.verify(token).token_id} if what == "jti" else {"user": "u1"}
    assert (await call(first, "POST", "/revocations", body)).status_code == 204
    for client in clients:
        code, _ = await client.end()
        assert code == 4401
    await other.hears_nothing()
    for server in servers:
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as client:
            answer = await client.get(
                f"http://127.0.0.1:{server.port}/api/v1/ws/stats", headers={"Authorization": f"Bearer {token}"}
            )
        assert answer.status_code == 401


async def test_a_process_that_starts_later_knows_what_was_revoked(
    servers: tuple[Server, Server], serve: Serve, redis_server: RedisServer
) -> None:
    first, _ = servers
    assert (await call(first, "POST", "/revocations", {"user": "u1"})).status_code == 204
    token = first.tokens.sign("u1")
    third = await serve(redis_url=redis_server.url)

    async def refuses() -> bool:
        return (await as_user_with(third, token)).status_code == 401

    await until(refuses)


async def as_user_with(server: Server, token: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as client:
        url = f"http://127.0.0.1:{server.port}/api/v1/ws/stats"
        return await client.get(url, headers={"Authorization": f"Bearer {token}"})


async def test_metrics_of_a_workspace_are_known_at_both(servers: tuple[Server, Server], join: Join) -> None:
    first, second = servers
    token = first.tokens.sign("u1", workspaces=["w1"])
    early, late = await join(first, "/ws", token=token), await join(second, "/ws", token=token)
    event = {"event": "metrics_update", "data": {"metric_type": "executions", "total": 5}}
    assert (await call(first, "POST", "/broadcast", {"channel": "workspace:w1", **event})).json()["sent"] >= 1
    for client in (early, late):
        assert (await client.hear())["data"] == event["data"]

    async def both_answer() -> bool:
        answers = [await ask_metrics(client, "executions") for client in (early, late)]
        return answers == [event["data"]] * 2

    await until(both_answer)
    assert await ask_metrics(late, "default") == {}

    async def both_are_counted() -> bool:
        return [await ask_metrics(client, "connections") for client in (early, late)] == [{"connections": 2}] * 2

    await until(both_are_counted)


async def ask_metrics(client: Talker, metric_type: str) -> object:
    answer = await client.ask({"type": "request_metrics", "metric_type": metric_type})
    assert (answer["event"], answer["metric_type"]) == ("metrics_update", metric_type)
    return answer["data"]


async def test_a_message_id_is_published_once_by_all(servers: tuple[Server, Server], join: Join) -> None:
    first, second = servers
    client = await join(second)
    await client.ask({"action": "subscribe", "channel": "news"})
    body = {"channel": "news", "event": "e", "data": 1, "message_id": "m1"}
    answers = await asyncio.gather(*(call(server, "POST", "/broadcast", body) for server in (first, second) * 4))
    assert {answer.status_code for answer in answers} == {200}
    assert (await client.hear())["data"] == 1
    await client.hears_nothing()


async def test_a_process_that_is_killed_is_gone_from_every_figure(
    serve: Serve, join: Join, redis_server: RedisServer
) -> None:
    server = await serve(redis_url=redis_server.url)
    await join(server)
    with ServerProcess("--redis-url", redis_server.url) as other:
        doomed = [await join(other) for _ in range(3)]  # type: ignore[arg-type] # it looks at the port alone
        for client in doomed:
            await client.ask({"action": "subscribe", "channel": "doomed"})

        async def figures() -> tuple[int, int, int, bool]:
            sent = (await call(server, "POST", "/broadcast", {"channel": "doomed", "event": "e"})).json()["sent"]
            statistics = await as_user(server, "/api/v1/ws/stats")
            rooms = (await as_user(server, "/api/v1/ws/rooms"))["active_rooms"]
            return sent, statistics["total_connections"], len(await known(server)), "doomed" in rooms

        async def all_are_known() -> bool:
            return await figures() == (3, 4, 4, True)

        async def they_are_forgotten() -> bool:
            return await figures() == (0, 1, 1, False)

        await until(all_are_known)
        other.process.kill()
        answer = await call(server, "POST", "/broadcast", {"connectionId": doomed[0].id, "event": "e"})
        assert answer.json() == {"sent": 0, "failed": 0, "stale": 1}
        assert (await call(server, "DELETE", f"/connections/{doomed[0].id}")).status_code == 404
        await until(they_are_forgotten)


async def test_a_process_that_stops_is_gone_from_the_figures(
    serve: Serve, join: Join, redis_server: RedisServer
) -> None:
    server = await serve(redis_url=redis_server.url)
    leaving = await serve(redis_url=redis_server.url)
    await (await join(leaving)).ask({"action": "subscribe", "channel": "news"})

    async def total(expected: int) -> bool:
        return bool((await as_user(server, "/api/v1/ws/stats"))["total_connections"] == expected)

    await until(lambda: total(1))
    await leaving.stop()
    await until(lambda: total(0))
