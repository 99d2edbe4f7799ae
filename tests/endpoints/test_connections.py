"""GET and DELETE /connections: the connected clients, by user and channel, page by page."""

from __future__ import annotations

import re

import pytest

from tests.endpoints.conftest import Ask
from tests.serving import Join, Serve


async def test_a_connection_is_described(serve: Serve, join: Join, ask: Ask) -> None:
    server = await serve()
    token = server.tokens.sign("u1", channels=["**"])
    client = await join(server, token=token, format="msgpack")
    await client.ask({"action": "subscribe", "channel": "a"})
    answer = await ask(server, "GET", f"/connections/{client.id}")
    assert answer.status == 200
    described = answer.json
    for moment in ("connected_at", "last_active_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", described.pop(moment))
    assert "websockets" in described.pop("user_agent")
    assert described == {
        "id": client.id,
        "user": "u1",
        "dialect": "channels",
        "codec": "msgpack",
        "channels": ["a"],
        "address": "127.0.0.1",
    }
    listed = (await ask(server, "GET", "/connections")).json
    assert listed["cursor"] is None
    assert [connection["id"] for connection in listed["connections"]] == [client.id]


async def test_connections_are_filtered_by_user_and_channel(serve: Serve, join: Join, ask: Ask) -> None:
    server = await serve()
    ids = {}
    for user in ("u1", "u2"):
        for channel in ("a", "b c/ü"):
            client = await join(server, token=server.tokens.sign(user, channels=["**"]))
            await client.ask({"action": "subscribe", "channel": channel})
            ids[user, channel] = client.id
    ids["nobody", ""] = (await join(server)).id

    async def listed(query: str) -> set[str]:
        return {
            connection["id"] for connection in (await ask(server, "GET", f"/connections{query}")).json["connections"]
        }

    assert await listed("") == set(ids.values())
    assert await listed("?user=u1") == {ids["u1", "a"], ids["u1", "b c/ü"]}
    assert await listed("?channel=b%20c/%C3%BC") == {ids["u1", "b c/ü"], ids["u2", "b c/ü"]}
    assert await listed("?user=u2&channel=a") == {ids["u2", "a"]}
    assert await listed("?user=u3") == set()


async def test_pages_are_walked_by_their_cursor_while_clients_come_and_go(serve: Serve, join: Join, ask: Ask) -> None:
    server = await serve()
    clients = [await join(server) for _ in range(7)]
    stay = {client.id for client in clients[:5]}
    seen: list[str] = []
    cursor, path = None, "/connections?limit=2"
    while True:
        page = (await ask(server, "GET", path)).json
        seen += [connection["id"] for connection in page["connections"]]
        cursor = page["cursor"]
        if cursor is None:
            break
        assert len(page["connections"]) == 2
        path = f"/connections?limit=2&cursor={cursor}"
        for gone in clients[5:]:
            await gone.socket.close()
        await join(server)
    assert stay <= set(seen)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1e3", "٣"])
async def test_a_limit_out_of_range_is_400(serve: Serve, ask: Ask, limit: str) -> None:
    server = await serve()
    status, code, message = (await ask(server, "GET", f"/connections?limit={limit}")).error
    assert (status, code) == (400, "bad_request")
    assert "`limit`" in message


async def test_a_deleted_connection_is_closed_with_1000_after_its_pending_messages(
    serve: Serve, join: Join, ask: Ask
) -> None:
    server = await serve()
    client = await join(server)
    await ask(server, "POST", "/broadcast", {"connectionId": client.id, "event": "e"})
    answer = await ask(server, "DELETE", f"/connections/{client.id}")
    assert (answer.status, answer.body) == (204, b"")
    assert (await client.hear())["event"] == "e"
    assert (await client.end())[0] == 1000
    for method in ("GET", "DELETE"):
        assert (await ask(server, method, f"/connections/{client.id}")).error[:2] == (404, "not_found")


async def test_ids_are_unguessable_and_safe_in_an_address(serve: Serve, join: Join) -> None:
    server = await serve()
    ids = {(await join(server)).id for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22,}", connection_id) for connection_id in ids)


@pytest.mark.parametrize(
    ("count", "limit", "sizes"), [(3, 4, [3]), (3, 3, [3]), (4, 3, [3, 1]), (4, 2, [2, 2]), (0, 1, [0])]
)
async def test_the_cursor_is_null_exactly_at_the_last_page(
    serve: Serve, join: Join, ask: Ask, count: int, limit: int, sizes: list[int]
) -> None:
    server = await serve()
    for _ in range(count):
        await join(server)
    seen, cursor = [], ""
    while cursor is not None:
        page = (await ask(server, "GET", f"/connections?limit={limit}&cursor={cursor}")).json
        seen.append(len(page["connections"]))
        cursor = page["cursor"]
    assert seen == sizes
