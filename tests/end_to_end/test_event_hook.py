"""The event hook from outside: which clients it admits, which events it gets, and which answers reach clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgpack
import pytest
import pytest_asyncio
from aiohttp import web
from websockets.exceptions import InvalidStatus

from fastws.callouts import backlog
from fastws.callouts import event_hook as hook
from fastws.config import Config
from fastws.errors import ConfigError
from fastws.server.server import Server
from tests.callouts import application
from tests.serving import PATIENCE_SECONDS, Join, OpenRaw, Serve

APPLICATION = "tests.callouts.application"
LAMBDA = f"{APPLICATION}:lambda_handler"
COROUTINE = f"{APPLICATION}:coroutine"


@pytest_asyncio.fixture(autouse=True)
async def _fresh_application() -> None:
    application.reset()


async def next_event() -> dict[str, Any]:
    """The next event."""
    return await asyncio.wait_for(application.events.get(), PATIENCE_SECONDS)


async def refused(join: Join, server: Server, path: str = "/") -> int:
    with pytest.raises(InvalidStatus) as error:
        await join(server, path)
    return error.value.response.status_code


@pytest.mark.parametrize("where", [LAMBDA, COROUTINE])
async def test_the_hook_is_called_from_connect_to_disconnect(serve: Serve, join: Join, where: str) -> None:
    server = await serve(event_hook=where)
    client = await join(server, "/production", user_agent_header="a browser", additional_headers={"X-Room": "7"})
    event = await next_event()
    context = event["requestContext"]
    assert context["routeKey"] == "$connect"
    assert context["eventType"] == "CONNECT"
    assert context["connectionId"] == client.id
    assert (context["domainName"], context["stage"]) == (f"127.0.0.1:{server.port}", "production")
    assert context["identity"] == {"sourceIp": "127.0.0.1", "userAgent": "a browser"}
    assert context["connectedAt"] <= context["requestTimeEpoch"] < context["connectedAt"] + 60_000
    assert event["headers"]["X-Room"] == "7"
    assert event["headers"]["Sec-WebSocket-Version"] == "13"
    assert event["isBase64Encoded"] is False

    await client.say({"action": "make-tea", "sugar": 2})
    event = await next_event()
    assert (event["requestContext"]["routeKey"], event["requestContext"]["eventType"]) == ("$default", "MESSAGE")
    assert event["body"] == '{"action":"make-tea","sugar":2}'
    assert event["requestContext"]["connectionId"] == client.id

    await client.socket.close(4001, "had enough")
    event = await next_event()
    context = event["requestContext"]
    assert (context["routeKey"], context["eventType"]) == ("$disconnect", "DISCONNECT")
    assert (context["disconnectStatusCode"], context["disconnectReason"]) == (4001, "had enough")
    assert (context["connectionId"], context["stage"]) == (client.id, "production")
    assert server.counters.hook_calls == {("$connect", "done"): 1, ("$default", "done"): 1, ("$disconnect", "done"): 1}


async def test_the_hook_gets_the_query_and_the_user_of_the_token(serve: Serve, join: Join) -> None:
    server = await serve(event_hook=COROUTINE)
    token = server.tokens.sign("ann")
    await join(server, "/api/v1/ws", token=token)
    event = await next_event()
    assert event["queryStringParameters"] == {"token": token}
    assert event["requestContext"]["authorizer"] == {"principalId": "ann"}
    assert event["requestContext"]["stage"] == "api/v1/ws"


async def test_a_sync_function_runs_in_a_thread(serve: Serve, join: Join) -> None:
    await join(await serve(event_hook=LAMBDA))
    assert [name.startswith("fastws-event_hook") for name in application.threads] == [True]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (False, 403),
        ({"statusCode": 401}, 401),
        ({"statusCode": 400}, 403),
        ({"statusCode": 403, "body": "no"}, 403),
        ({"statusCode": 500}, 403),
        ({"statusCode": "401"}, 401),
        ("yes", 503),
        ({"statusCode": "ok"}, 503),
        ({"statusCode": None}, 503),
        (RuntimeError("broken"), 503),
    ],
)
async def test_the_application_may_refuse_a_client(serve: Serve, join: Join, answer: object, status: int) -> None:
    server = await serve(event_hook=COROUTINE)
    application.answers["$connect"] = answer
    assert await refused(join, server) == status
    assert len(server.roster) == 0
    outcome = "failed" if status == 503 else "refused"
    assert server.counters.hook_calls == {("$connect", outcome): 1}
    application.answers["$connect"] = {"statusCode": 200}
    await (await join(server)).hears_nothing()


@pytest.mark.parametrize("answer", [None, True, {}, {"statusCode": 200}, {"statusCode": 101}, {"body": "welcome"}])
async def test_any_other_answer_than_a_refusal_admits_the_client(serve: Serve, join: Join, answer: object) -> None:
    server = await serve(event_hook=COROUTINE)
    application.answers["$connect"] = answer
    await (await join(server)).hears_nothing()


async def test_an_application_that_does_not_answer_holds_up_that_client_alone(
    serve: Serve, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "CONNECT_SECONDS", PATIENCE_SECONDS)
    server = await serve(event_hook=f"{APPLICATION}:slow_connect")
    waiting = asyncio.ensure_future(join(server))
    await next_event()
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"http://127.0.0.1:{server.port}/health")).status_code == 200
    assert not waiting.done()
    application.hold.set()
    await (await waiting).hears_nothing()


async def test_an_application_that_does_not_answer_in_time_refuses_the_client(
    serve: Serve, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "CONNECT_SECONDS", 0.05)
    server = await serve(event_hook=f"{APPLICATION}:silent")
    assert await refused(join, server) == 503
    assert server.counters.hook_calls == {("$connect", "failed"): 1}


async def test_the_hook_is_not_called_for_clients_that_are_refused_anyway(serve: Serve, join: Join) -> None:
    server = await serve(event_hook=COROUTINE)
    assert await refused(join, server, "/api/v1/ws") == 401
    assert await refused(join, server, "/nowhere") == 404
    assert application.events.empty()


async def test_frames_sent_before_the_application_has_agreed_are_read_after(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(event_hook=LAMBDA)
    raw = await open_raw(server, path=None)
    upgrade = (
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    ping = b"\x89\x82abcd" + bytes(a ^ b for a, b in zip(b"hi", b"ab", strict=True))
    await raw.send_bytes(upgrade.encode() + ping)
    assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    frames = [await raw.receive(), await raw.receive()]
    assert (0x0A, b"hi") in frames


async def test_a_client_that_leaves_during_connect_is_reported_as_disconnected(
    serve: Serve, open_raw: OpenRaw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "CONNECT_SECONDS", PATIENCE_SECONDS)
    server = await serve(event_hook=f"{APPLICATION}:slow_connect")
    raw = await open_raw(server, path=None)
    await raw.send_bytes(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    connecting = await next_event()
    raw.writer.transport.abort()
    application.hold.set()
    gone = await next_event()
    assert gone["requestContext"]["routeKey"] == "$disconnect"
    assert gone["requestContext"]["connectionId"] == connecting["requestContext"]["connectionId"]
    assert gone["requestContext"]["disconnectStatusCode"] == 1006


async def test_the_applications_answer_reaches_the_client(serve: Serve, join: Join) -> None:
    server = await serve(event_hook=f"{APPLICATION}:echo")
    client = await join(server)
    await client.socket.send('{"action":  "tea"}')
    assert await client.socket.recv() == '{"action":  "tea"}'
    await client.socket.send('{"no":"action"}')
    assert await client.socket.recv() == '{"no":"action"}'


async def test_a_msgpack_client_speaks_with_the_application_all_the_same(serve: Serve, join: Join) -> None:
    server = await serve(event_hook=f"{APPLICATION}:slow")
    application.hold.set()
    client = await join(server, format="msgpack")
    await next_event()
    assert await client.ask({"action": "tea", "n": 1}) == {"answer to": {"action": "tea", "n": 1}}
    assert (await next_event())["body"] == '{"action":"tea","n":1}'


async def test_bytes_marked_as_base64_go_back_as_they_are(serve: Serve, join: Join) -> None:
    server = await serve(event_hook=f"{APPLICATION}:binary")
    client = await join(server, format="msgpack")
    await client.say({"action": "tea"})
    assert await client.socket.recv() == msgpack.packb({"n": 1})


async def test_actions_of_the_dialect_do_not_reach_the_application(serve: Serve, join: Join) -> None:
    server = await serve(event_hook=COROUTINE)
    client = await join(server)
    await next_event()
    await client.ask({"action": "subscribe", "channel": "news"})
    assert (await client.ask({"action": "subscribe"}))["code"] == "bad_request"
    await client.socket.send("no JSON")
    assert (await client.hear())["code"] == "bad_request"
    assert application.events.empty()


async def test_without_a_hook_an_unknown_action_is_an_error(serve: Serve, join: Join) -> None:
    client = await join(await serve())
    answer = await client.ask({"action": "make-tea", "id": 7})
    assert (answer["type"], answer["code"], answer["id"]) == ("error", "bad_request", 7)


async def test_the_hook_gets_messages_of_a_client_in_order_and_a_flood_is_refused(serve: Serve, join: Join) -> None:
    server = await serve(event_hook=f"{APPLICATION}:slow")
    client, other = await join(server), await join(server)
    for _ in range(2):
        await next_event()
    flood = backlog.MAX_MESSAGES_OF_ONE + 3
    for number in range(flood):
        await client.say({"action": "tea", "n": number, "id": number})
    refusals = [await client.hear() for _ in range(3)]
    assert [refusal["code"] for refusal in refusals] == ["rate_limited"] * 3
    assert [refusal["id"] for refusal in refusals] == [flood - 3, flood - 2, flood - 1]
    # Other clients are not affected.
    assert (await other.ask({"action": "ping"}))["type"] == "pong"
    application.hold.set()
    heard = [(await client.hear())["answer to"]["n"] for _ in range(flood - 3)]
    assert heard == list(range(flood - 3))
    assert server.counters.hook_calls[("$default", "dropped")] == 3


async def test_messages_that_wait_for_the_application_take_no_more_than_their_bytes(serve: Serve, join: Join) -> None:
    size = 1_000_000
    server = await serve(event_hook=f"{APPLICATION}:slow", max_queue_bytes=4 * size)
    clients = [await join(server, max_size=None) for _ in range(4)]
    for _ in clients:
        await next_event()
    fit = backlog.MAX_BYTES // size
    assert fit > backlog.MAX_MESSAGES_OF_ONE
    text = "x" * (size - 40)
    for number in range(fit + 1):
        client = clients[number % 4]
        await client.say({"action": "tea", "text": text, "n": number})
        assert (await client.ask({"action": "ping"}))["type"] == "pong" or number == fit
    assert server.counters.hook_calls[("$default", "dropped")] == 1
    application.hold.set()
    for number in range(fit):
        answer = await clients[number % 4].hear()
        while "answer to" not in answer:  # skip the replies to pings and the error for the one too many
            answer = await clients[number % 4].hear()
        assert answer["answer to"]["n"] == number


@pytest.mark.parametrize(
    "answer", [RuntimeError("broken"), {"body": 5}, {"body": "§", "isBase64Encoded": True}, {"body": "half: \ud83d"}]
)
async def test_a_failure_is_counted_and_the_next_message_is_served(serve: Serve, join: Join, answer: object) -> None:
    server = await serve(event_hook=COROUTINE)
    client = await join(server)
    await next_event()
    application.answers["$default"] = answer
    await client.say({"action": "tea", "id": 1})
    await next_event()
    reply = await client.hear()
    assert (reply["code"], reply["id"]) == ("internal", 1)
    application.answers["$default"] = {"body": "well"}
    await client.say({"action": "tea"})
    assert await client.socket.recv() == "well"
    assert server.counters.hook_calls[("$default", "failed")] == 1


async def test_a_stop_of_the_server_tells_of_every_disconnect(join: Join) -> None:
    async with Server(Config(port=0, event_hook=LAMBDA)) as server:
        clients = [await join(server) for _ in range(5)]
        connected = {(await next_event())["requestContext"]["connectionId"] for _ in clients}
    gone = [(await next_event())["requestContext"] for _ in clients]
    assert {context["connectionId"] for context in gone} == connected
    assert {context["disconnectStatusCode"] for context in gone} == {1012}


async def test_a_lost_connection_is_reported_as_1006(serve: Serve, join: Join) -> None:
    server = await serve(event_hook=COROUTINE)
    client = await join(server)
    await next_event()
    client.socket.transport.abort()
    assert (await next_event())["requestContext"]["disconnectStatusCode"] == 1006


@pytest_asyncio.fixture
async def callback() -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """An HTTP application: its URL, and what it is to answer by route (status, JSON or text)."""
    routes: dict[str, Any] = {}

    async def answer(request: web.Request) -> web.Response:
        event = await request.json()
        application.events.put_nowait(event)
        status, body = routes.get(event["requestContext"]["routeKey"], (200, None))
        if body is None:
            return web.Response(status=status)
        is_text = isinstance(body, str)
        return web.Response(text=body, status=status) if is_text else web.json_response(body, status=status)

    app = web.Application()
    app.router.add_post("/events", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    yield f"http://127.0.0.1:{port}/events", routes
    await runner.cleanup()


async def test_an_http_callback_gets_events_and_its_answers_count(
    serve: Serve, join: Join, callback: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url, routes = callback
    server = await serve(event_hook=url)
    routes["$default"] = (200, {"statusCode": 200, "body": "tea is served"})
    client = await join(server)
    assert (await next_event())["requestContext"]["connectionId"] == client.id
    await client.say({"action": "tea"})
    assert await client.socket.recv() == "tea is served"
    assert (await next_event())["body"] == '{"action":"tea"}'
    await client.socket.close()
    assert (await next_event())["requestContext"]["disconnectStatusCode"] == 1000


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((403, None), 403),
        ((401, {"message": "who are you?"}), 401),
        ((404, "nothing here"), 403),
        ((200, {"statusCode": 403}), 403),
        ((200, False), 403),
        ((500, None), 503),
        ((302, None), 503),
        ((200, [1]), 503),
        ((200, "ok"), None),
        ((204, None), None),
        ((200, {}), None),
    ],
)
async def test_an_http_callback_may_refuse(
    serve: Serve,
    join: Join,
    callback: tuple[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    answer: tuple[int, Any],
    status: int | None,
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url, routes = callback
    routes["$connect"] = answer
    server = await serve(event_hook=url)
    if status is None:
        await join(server)
    else:
        assert await refused(join, server) == status


@pytest.mark.parametrize(
    "where", ["no_such_module:f", f"{APPLICATION}:nothing", f"{APPLICATION}:not_callable", "nonsense", "ftp://x"]
)
async def test_a_hook_that_cannot_be_loaded_stops_the_start(where: str) -> None:
    with pytest.raises(ConfigError, match="event_hook"):
        await Server(Config(port=0, event_hook=where)).start()


async def test_full_and_draining_are_looked_at_again_after_the_application_agreed(serve: Serve, join: Join) -> None:
    server = await serve(event_hook=f"{APPLICATION}:slow_connect", max_connections=1)
    both = [asyncio.ensure_future(join(server)) for _ in range(2)]
    for _ in both:
        await next_event()
    application.hold.set()
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(isinstance(outcome, InvalidStatus) for outcome in outcomes) == [False, True]
    gone = await next_event()
    assert gone["requestContext"]["disconnectReason"] == "never opened"
    with contextlib.suppress(asyncio.QueueEmpty):
        pytest.fail(str(application.events.get_nowait()))


async def test_the_domain_is_that_of_the_public_url_and_not_of_the_client(serve: Serve, join: Join) -> None:
    server = await serve(event_hook=COROUTINE, public_url="https://live.example.com:8443")
    client = await join(server)
    event = await next_event()
    assert event["requestContext"]["domainName"] == "live.example.com:8443"
    await client.say({"action": "make-tea"})
    assert (await next_event())["requestContext"]["domainName"] == "live.example.com:8443"


@pytest.mark.parametrize(
    ("settings", "is_warned"),
    [
        ({"host": "0.0.0.0"}, True),
        ({"allowed_hosts": ("*",)}, True),
        ({}, False),
        ({"host": "0.0.0.0", "public_url": "https://live.example.com"}, False),
        ({"host": "0.0.0.0", "allowed_hosts": ("live.example.com",)}, False),
    ],
)
def test_a_domain_that_clients_choose_is_warned_of(settings: Any, is_warned: bool) -> None:
    warnings = Server(Config(event_hook=COROUTINE, **settings)).admittance.warnings
    assert any("public_url" in warning for warning in warnings) is is_warned
