"""Statistics: no request walks over all connections."""

from __future__ import annotations

import pytest

from fastws.hub.roster import Roster
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
