"""Statistics: no request walks over all connections, and none names channels that are not for its token."""

from __future__ import annotations

from typing import Any

import pytest

from fastws.cluster import channel_list
from fastws.endpoints import statistics
from fastws.hub.roster import Roster
from fastws.server.server import Server
from tests.endpoints.conftest import Ask
from tests.serving import Join, Serve


async def test_no_request_walks_over_all_connections(
    serve: Serve, join: Join, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    token = server.tokens.sign("ann")
    ann = await join(server, "/api/v1/ws", token=token)
    bob = await join(server, "/api/v1/ws", token=server.tokens.sign("bob"))
    await join(server, "/ws", greets=False)
    clients = list(server.roster)
    monkeypatch.setattr(Roster, "__iter__", lambda roster: pytest.fail("walked over all connections"))
    try:
        assert (await ask(server, "GET", "/ws/stats")).json["connected_clients"] == 1
        answer = await ask(server, "GET", "/api/v1/ws/stats", key=token)
        assert answer.json == {"total_connections": 3, "user_connections": 1, "active_rooms": 3}
        metrics = (await ask(server, "GET", "/metrics")).body
        assert b'fastws_connections{codec="json",dialect="rooms"} 2.0' in metrics
        page = (await ask(server, "GET", "/connections?user=ann")).json["connections"]
        assert [connection["id"] for connection in page] == [ann.id]
        assert (await ask(server, "POST", "/revocations", {"user": "bob"})).status == 204
        assert (await bob.hear())["message"] == "the token was revoked"
    finally:
        monkeypatch.undo()
    assert len(clients) == 3


async def test_a_token_is_revoked_by_its_id_after_a_refresh_too(serve: Serve, join: Join, ask: Ask) -> None:
    server = await serve()
    tokens = [server.tokens.sign("ann") for _ in range(2)]
    client = await join(server, "/api/v1/ws", token=tokens[0])
    assert (await client.ask({"type": "refresh", "token": tokens[1]}))["type"] == "refreshed"
    first, second = [server.tokens.verify(token).token_id for token in tokens]
    assert (await ask(server, "POST", "/revocations", {"jti": first})).status == 204
    await client.hears_nothing()
    assert (await ask(server, "POST", "/revocations", {"jti": second})).status == 204
    assert (await client.hear())["message"] == "the token was revoked"


async def rooms(server: Server, ask: Ask, user: str, **claims: Any) -> Any:
    return (await ask(server, "GET", "/api/v1/ws/rooms", key=server.tokens.sign(user, **claims))).json


async def test_a_token_shows_the_rooms_that_it_allows_and_no_others(serve: Serve, join: Join, ask: Ask) -> None:
    server = await serve()
    ann = await join(server, "/api/v1/ws", token=server.tokens.sign("ann", channels=["execution:*"]))
    for number in (1, 2):
        await ann.ask({"type": "subscribe", "room_id": f"execution:{number}"})
    await join(server, "/ws", token=server.tokens.sign("bob", workspaces=["w1"]))
    await join(server, "/ws", greets=False)
    await (await join(server)).ask({"action": "subscribe", "channel": "open"})
    found = await rooms(server, ask, "ann", channels=["execution:1", "open"])
    # The jobs feed is open to everybody who listens.
    expected = ["botrix:jobs:updates", "execution:1", "open", "user:ann"]
    assert found == {"active_rooms": expected, "total_rooms": 4}
    found = await rooms(server, ask, "bob", workspaces=["w1"])
    assert found["active_rooms"] == ["botrix:jobs:updates", "workspace:w1"]
    assert (await rooms(server, ask, "eve"))["active_rooms"] == ["botrix:jobs:updates"]


async def test_the_list_of_rooms_is_bounded_and_their_number_is_not(
    serve: Serve, join: Join, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "MAX_ROOMS", 2)
    monkeypatch.setattr(channel_list, "SLICE", 3)
    server = await serve()
    client = await join(server)
    for number in range(10):
        await client.ask({"action": "subscribe", "channel": f"room:{9 - number}"})
    assert await rooms(server, ask, "ann", channels=["room:*"]) == {
        "active_rooms": ["room:0", "room:1"],
        "total_rooms": 10,
    }


async def test_with_an_authorizer_only_ones_own_rooms_are_listed(serve: Serve, join: Join, ask: Ask) -> None:
    server = await serve(authorizer="operator:eq")
    await join(server, "/api/v1/ws", token=server.tokens.sign("ann"))
    await join(server, "/api/v1/ws", token=server.tokens.sign("bob"))
    assert (await rooms(server, ask, "ann", channels=["**"]))["active_rooms"] == ["user:ann"]
