"""The commands of clients, as one connection sees them."""

from __future__ import annotations

import pytest

from fastws.access.tokens import REFUSAL
from tests.serving import Join, Serve, Talker
from tests.transport.pipes import connect, say


@pytest.mark.parametrize("is_revoked", [False, True])
async def test_a_refresh_with_an_invalid_or_revoked_token_gets_the_same_answer(serve: Serve, is_revoked: bool) -> None:
    server = await serve()
    pipe, connection = connect(server, target=f"/?token={server.tokens.sign('ada')}")
    fresh = server.tokens.sign("ada", ttl_seconds=600)
    if is_revoked:
        server.services.revocations.revoke_user("ada")
    else:
        fresh += "x"
    say(connection, {"action": "refresh", "token": fresh})
    assert pipe.messages == [{"type": "error", "code": "unauthorized", "message": REFUSAL}]


ALLOWED = {"**": ["**"], "one channel": ["news"]}


def send_to(target: Talker, event: str = "hello") -> dict[str, object]:
    return {"action": "send", "connectionId": target.id, "event": event, "data": 1, "id": 7}


@pytest.mark.parametrize("publish", ALLOWED.values(), ids=ALLOWED)
async def test_a_token_that_allows_publishing_allows_direct_sends(serve: Serve, join: Join, publish: list[str]) -> None:
    server = await serve(allow_anonymous=False)
    sender = await join(server, token=server.tokens.sign("ann", publish=publish))
    target = await join(server, token=server.tokens.sign("bob"))
    assert (await sender.ask(send_to(target)))["sent"] == 1
    assert await target.hear() == {"event": "hello", "data": 1, "from": sender.id}


async def test_a_token_that_allows_no_publishing_allows_no_direct_sends(serve: Serve, join: Join) -> None:
    server = await serve()
    target = await join(server)
    sender = await join(server, token=server.tokens.sign("ann", publish=[]))
    refusal = {"type": "error", "code": "forbidden", "message": "not allowed to send to connections", "id": 7}
    assert await sender.ask(send_to(target)) == refusal
    await target.hears_nothing()


@pytest.mark.parametrize("anonymous", [True, False])
async def test_a_token_without_the_claim_allows_direct_sends_where_anonymous_clients_are_let_in(
    serve: Serve, join: Join, anonymous: bool
) -> None:
    server = await serve(allow_anonymous=anonymous)
    sender, target = [await join(server, token=server.tokens.sign(user)) for user in ("ann", "bob")]
    reply = await sender.ask(send_to(target))
    assert (reply["type"], reply.get("code")) == (("send_success", None) if anonymous else ("error", "forbidden"))
    if anonymous:
        assert (await target.hear())["event"] == "hello"
    await target.hears_nothing()


async def test_clients_cannot_forge_an_event_of_the_server_by_a_direct_send(serve: Serve, join: Join) -> None:
    server = await serve()
    sender, reader = await join(server), await join(server)
    target = await join(server, "/ws", token=server.tokens.sign("bob", workspaces=["w1"]))
    for event in ("metrics_update", "error", "gap"):
        reply = await sender.ask(send_to(target, event))
        assert (reply["code"], reply["id"]) == ("forbidden", 7)
        assert event in reply["message"]
    await target.hears_nothing()
    # To clients of other dialects these are events like any other, and the server's own events still arrive.
    assert (await sender.ask(send_to(reader, "error")))["sent"] == 1
    assert (await reader.hear())["from"] == sender.id
    await server.broadcaster.publish_many([{"connectionId": target.id, "event": "metrics_update", "data": {"n": 1}}])
    assert (await target.hear())["data"] == {"n": 1}
