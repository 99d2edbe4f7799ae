"""Tokens while a client is connected: they end, are renewed, are revoked."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import jwt
import pytest
from websockets.exceptions import InvalidStatus

from fastws.server.server import Server
from tests.serving import KEY, SECRET, Join, Message, Serve

# path: the key of a request's kind in the dialect, and that of a reply's
DIALECTS = {"/": ("action", "type"), "/api/v1/ws": ("type", "type"), "/ws": ("type", "event")}


def token(*, user: str = "u1", seconds: float = 3600, **claims: object) -> str:
    now = int(time.time())
    workspace = {"workspace_id": "w1"}
    return jwt.encode({"sub": user, "iat": now, "exp": now + seconds, **workspace, **claims}, SECRET)


async def post(server: Server, path: str, body: Message) -> int:
    url, headers = f"http://127.0.0.1:{server.port}{path}", {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession() as http, http.post(url, json=body, headers=headers) as answer:
        return answer.status


async def test_a_client_gets_notice_of_its_expired_token_and_is_closed_with_4401_after_the_leeway(
    serve: Serve, join: Join
) -> None:
    server = await serve(jwt_leeway=2.0)
    ends = int(time.time()) + 2
    clients = [await join(server, path, token=token(seconds=0, exp=ends)) for path in DIALECTS]
    for client in clients:
        notice = await client.hear()
        assert "error" in (notice.get("type"), notice.get("event"))
        assert "expired" in notice["message"]
        assert await client.end() == (4401, "token expired")
    assert time.time() - ends >= 2.0
    assert server.counters.closed == {(4401, "expired"): 3}


@pytest.mark.parametrize("path", DIALECTS)
async def test_a_refreshed_token_stays(serve: Serve, join: Join, path: str) -> None:
    server = await serve(jwt_leeway=0.0)
    asks, answers = DIALECTS[path]
    client = await join(server, path, token=token(seconds=600))
    fresh = token(seconds=1000)
    expires = jwt.decode(fresh, options={"verify_signature": False})["exp"]
    reply = await client.ask({asks: "refresh", "token": fresh, "id": 5})
    assert reply == {answers: "refreshed", "expires": expires, "id": 5}
    [connection] = server.roster
    assert server.heartbeat._expiries == {connection: expires}


REFUSED = {
    "another user": ({"user": "u2"}, "for another user"),
    "ended": ({"seconds": -100}, "token"),
    "forged": (None, "token"),
}


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("why", REFUSED)
async def test_a_refresh_with_an_invalid_token_is_an_error_and_the_old_token_stays(
    serve: Serve, join: Join, path: str, why: str
) -> None:
    server = await serve()
    asks, answers = DIALECTS[path]
    client = await join(server, path, token=token())
    changes, words = REFUSED[why]
    given = token(**changes) if changes is not None else token()[:-6] + "AAAAAA"  # type: ignore[arg-type] # keywords
    reply = await client.ask({asks: "refresh", "token": given})
    assert reply[answers] == "error"
    assert words in reply["message"]
    await client.hears_nothing()


async def test_channels_that_the_new_token_does_not_allow_are_left_with_a_notice(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server, token=token(channels=["a", "b"]))
    for name in ("a", "b"):
        await client.ask({"action": "subscribe", "channel": name})
    assert (await client.ask({"action": "refresh", "token": token(channels=["b"])}))["type"] == "refreshed"
    assert await client.hear() == {"type": "unsubscribe_succeeded", "channel": "a", "reason": "forbidden"}
    for name in ("a", "b"):
        await server.broadcaster.publish(name, "e")
    assert (await client.hear())["channel"] == "b"
    await client.hears_nothing()


async def test_a_workspace_that_the_new_token_does_not_allow_is_left(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server, "/ws", token=token())
    assert (await client.ask({"type": "refresh", "token": token(workspace_id="w2")}))["event"] == "refreshed"
    assert (await client.hear())["event"] == "error"
    await server.broadcaster.publish("workspace:w1", "alert")
    await server.broadcaster.publish("workspace:w1", "metrics_update", {"metric_type": "m", "total": 1})
    await client.hears_nothing()
    for metric_type in ("m", "connections"):  # nor in other ways
        reply = await client.ask({"type": "request_metrics", "metric_type": metric_type})
        assert (reply["event"], "data" in reply) == ("error", False)


async def test_a_rooms_client_keeps_its_own_room(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server, "/api/v1/ws", token=token(channels=["execution:*"]))
    await client.ask({"type": "subscribe", "room_id": "execution:1"})
    await client.ask({"type": "refresh", "token": token()})
    assert (await client.hear())["event"] == "unsubscribed"
    await server.broadcaster.publish("user:u1", "still here")
    assert (await client.hear())["event"] == "still here"


async def test_a_revoked_token_is_closed_and_does_not_come_in_again(serve: Serve, join: Join) -> None:
    server = await serve()
    revoked, kept = token(jti="t1"), token(jti="t2")
    clients = [await join(server, path, token=revoked) for path in DIALECTS]
    other = await join(server, token=kept)
    assert await post(server, "/revocations", {"jti": "t1"}) == 204
    for client in clients:
        notice = await client.hear()
        assert "revoked" in notice["message"]
        assert await client.end() == (4401, "token revoked")
    await other.hears_nothing()
    with pytest.raises(InvalidStatus) as refused:
        await join(server, token=revoked)
    assert refused.value.response.status_code == 401
    await join(server, token=kept)


async def test_a_revoked_user_loses_what_was_issued_until_then_and_may_come_with_a_new_token(
    serve: Serve, join: Join
) -> None:
    server = await serve()
    # The revocation is of a minute ago: a token that is issued now is later than it and the leeway.
    server.admittance.revocations._clock = lambda: time.time() - 60
    old, undated = token(iat=int(time.time()) - 3600), jwt.encode({"sub": "u1", "exp": int(time.time()) + 60}, SECRET)
    clients = [await join(server, token=text) for text in (old, undated)]
    other = await join(server, token=token(user="u2"))
    assert await post(server, "/revocations", {"user": "u1"}) == 204
    for client in clients:
        await client.hear()
        assert (await client.end())[0] == 4401
    for text in (old, undated):
        with pytest.raises(InvalidStatus):
            await join(server, token=text)
    await join(server, token=token())
    await other.hears_nothing()


@pytest.mark.parametrize(
    "body", [{}, {"jti": "a", "user": "b"}, {"jti": ""}, {"user": 1}, {"jti": None}, {"user": "x" * 256}]
)
async def test_a_revocation_names_one_token_or_one_user(serve: Serve, body: Message) -> None:
    server = await serve()
    assert await post(server, "/revocations", body) == 400


@pytest.mark.parametrize("path", ["/api/v1/ws", "/ws"])
async def test_many_clients_ending_at_once_leave_nothing_behind(serve: Serve, join: Join, path: str) -> None:
    server = await serve()
    clients = [await join(server, path, token=token()) for _ in range(30)]
    await post(server, "/revocations", {"user": "u1"})
    await asyncio.gather(*(client.socket.wait_closed() for client in clients))
    assert len(server.roster) == 0
    assert server.hub.channels == {}
    assert server.heartbeat._expiries == {}
