"""The HTTP API of Pusher: what is signed wrongly, refused, and answered."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing, suppress
from http.client import HTTPConnection
from typing import Any

import pytest

from fastws.access.pusher_signatures import REFUSAL
from fastws.endpoints.pusher import MAX_BODY_BYTES
from fastws.server.server import Server
from tests.end_to_end.pusher_client import Enter, enter
from tests.endpoints.conftest import Answer, Ask
from tests.endpoints.pusher_requests import APP, KEY, SECRET, body_of, target
from tests.serving import Serve

__all__ = ["enter"]

EVENT = {"name": "e", "data": "1", "channel": "c"}
EVENTS = "/apps/4711/events"


async def send(
    ask: Ask, server: Server, method: str, path: str, body: Any = None, *, sent: Any = ..., **how: Any
) -> Answer:
    """Send a signed request; with `sent` another body than the signed one."""
    address = target(method, path, body, **how)
    data = body_of(body if sent is ... else sent)
    return await ask(server, method, address, data or None, key=None)


async def test_every_wrong_signature_is_refused_in_the_same_words(serve: Serve, ask: Ask) -> None:
    server = await serve(pusher_apps=(APP, "1:other:s"))
    now = int(time.time())
    for how in (
        {"secret": "wrong"},
        {"key": "nobody"},
        {"key": "other", "secret": "s"},
        {"auth_timestamp": str(now - 700)},
        {"auth_timestamp": str(now + 700)},
        {"body_md5": "0" * 32},
        {"body_md5": None},
        {"signed_path": "/apps/4711/batch_events"},
        {"sent": {"name": "e", "data": "2", "channel": "c"}},
    ):
        answer = await send(ask, server, "POST", EVENTS, EVENT, **how)
        assert answer.error == (401, "unauthorized", REFUSAL), how
    replayed = target("POST", EVENTS, EVENT).replace("auth_timestamp=", "auth_timestamp=9")
    assert (await ask(server, "POST", replayed, EVENT, key=None)).status == 401
    assert server.counters.pusher_requests["events", 401] > 1
    assert server.counters.publications == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auth_version": "2.0"}, "`auth_version` must be 1.0"),
        ({"auth_key": None}, "`auth_key` is missing in the query: the request is not signed"),
        ({"auth_timestamp": None}, "`auth_timestamp` is missing in the query: the request is not signed"),
        ({"auth_timestamp": "soon"}, "`auth_timestamp` must be seconds since 1970 as an integer"),
    ],
)
async def test_what_is_missing_is_named(serve: Serve, ask: Ask, change: dict[str, Any], message: str) -> None:
    server = await serve(pusher_apps=(APP,))
    assert (await send(ask, server, "POST", EVENTS, EVENT, **change)).error == (401, "unauthorized", message)


async def test_the_second_key_pair_of_an_app_is_valid(serve: Serve, ask: Ask) -> None:
    server = await serve(pusher_apps=(APP, "4711:second:s:e"))
    assert (await send(ask, server, "POST", EVENTS, EVENT, key="second", secret="s:e")).json == {}


async def test_paths_are_signed_as_sent_or_decoded(serve: Serve, ask: Ask) -> None:
    server = await serve(pusher_apps=(APP,))
    for signed in ("/apps/4711/channels/a%40b", "/apps/4711/channels/a@b"):
        address = target("GET", "/apps/4711/channels/a%40b", signed_path=signed)
        assert await asyncio.to_thread(_request, server.port, "GET", address) == (200, b'{"occupied":false}')


def _request(port: int, method: str, address: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Send a request by a client that sends the path as it is and any body."""
    with closing(HTTPConnection("127.0.0.1", port)) as connection:
        # A body that is too large is refused before all of it is sent.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, address, body)
        response = connection.response_class(connection.sock, method=method)
        response.begin()
        return response.status, response.read()


async def test_apps_that_are_unknown_or_off(serve: Serve, ask: Ask) -> None:
    server = await serve(pusher_apps=(APP,), pusher_enabled=("false",))
    unknown = await send(ask, server, "GET", "/apps/1/channels")
    assert unknown.error == (404, "not_found", "no app with this id: it must be an ID of the setting pusher_apps")
    assert "Access-Control-Allow-Origin" not in unknown.headers
    off = await send(ask, server, "GET", "/apps/4711/channels")
    assert off.error == (403, "forbidden", "this app is not enabled: see the setting pusher_enabled")
    event = {"name": "e", "data": "1", "channel": "c"}
    assert (await send(ask, server, "POST", "/apps/4711/events", event)).error == off.error
    assert (await ask(server, "GET", "/up", key=None)).json == {"health": "OK"}


async def test_without_apps_there_is_no_api(serve: Serve, ask: Ask) -> None:
    server = await serve()
    for path in ("/up", "/apps/4711/channels"):
        assert (await ask(server, "GET", path, key=None)).status == 404


async def test_other_methods_are_named(serve: Serve, ask: Ask) -> None:
    server = await serve(pusher_apps=(APP,))
    answer = await send(ask, server, "GET", EVENTS)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_a_body_that_is_too_large_is_refused(serve: Serve, ask: Ask) -> None:
    server = await serve(pusher_apps=(APP,), max_message_bytes=1000)
    fits = {"name": "e", "data": "x" * 102_400, "channel": "c"}
    assert (await send(ask, server, "POST", EVENTS, fits)).json == {}
    large = b'{"name":"e","data":"' + b"x" * MAX_BODY_BYTES + b'","channel":"c"}'
    status, text = await asyncio.to_thread(_request, server.port, "POST", target("POST", EVENTS, large), large)
    assert status == 413
    assert b"a body has at most %d bytes" % MAX_BODY_BYTES in text
    broadcast = await ask(server, "POST", "/broadcast", {"channel": "c", "event": "e", "data": "x" * 10_000})
    assert broadcast.error == (413, "too_large", f"a body has at most {1000 + 4096} bytes")


INVALID: list[tuple[Any, str]] = [
    (b"{", "invalid body: "),
    (b"[]", "the body must be a JSON object"),
    ({"data": "1", "channel": "c"}, "`name` must be a string of 1 to 200 characters"),
    ({**EVENT, "name": ""}, "`name` must be a string of 1 to 200 characters"),
    ({**EVENT, "name": "n" * 201}, "`name` must be a string of 1 to 200 characters"),
    ({**EVENT, "name": "pusher:x"}, "`name` must not begin pusher: or pusher_internal:, which only the server sends"),
    ({**EVENT, "name": "pusher_internal:x"}, "`name` must not begin pusher: or pusher_internal:"),
    ({"name": "e", "channel": "c"}, "`data` is missing: a string, or any other JSON value"),
    ({"name": "e", "data": "1"}, "`channel` must be a channel name: 1 to 200 of A-Z a-z 0-9 _-=@,.;"),
    ({**EVENT, "channel": "a b"}, "`channel` must be a channel name"),
    ({**EVENT, "channel": "c" * 201}, "`channel` must be a channel name"),
    ({**EVENT, "channels": []}, "`channels` must be a list of 1 to 100 channel names"),
    ({**EVENT, "channels": ["c"] * 101}, "`channels` must be a list of 1 to 100 channel names"),
    ({**EVENT, "channels": "c"}, "`channels` must be a list of 1 to 100 channel names"),
    ({**EVENT, "channels": ["c", "é"]}, "`channels[1]` must be a channel name"),
    ({**EVENT, "socket_id": "x"}, "`socket_id` must be two numbers of at most ten digits, such as 123.456"),
    ({**EVENT, "socket_id": 7}, "`socket_id` must be two numbers of at most ten digits"),
    ({**EVENT, "info": "user_count,x"}, "`info` contains 'x'; the attributes are user_count, subscription_count"),
    ({**EVENT, "info": 7}, "`info` must be a string such as user_count,subscription_count"),
]
INVALID_BATCHES: list[tuple[Any, str]] = [
    ({}, "`batch` must be a list of 1 to 10 events (limit: pusher_max_batch)"),
    ({"batch": []}, "`batch` must be a list of 1 to 10 events"),
    ({"batch": [EVENT] * 11}, "`batch` must be a list of 1 to 10 events"),
    ({"batch": [EVENT, 7]}, "`batch[1]` must be an object"),
    ({"batch": [EVENT, {**EVENT, "channel": ""}]}, "`batch[1].channel` must be a channel name"),
    ({"batch": [EVENT, {**EVENT, "name": 1}]}, "`batch[1].name` must be a string"),
    ({"batch": [EVENT, {"name": "e", "channel": "c"}]}, "`batch[1].data` is missing"),
    ({"batch": [EVENT, {**EVENT, "socket_id": "1"}]}, "`batch[1].socket_id` must be two numbers"),
    ({"batch": [EVENT, {**EVENT, "info": "cache"}]}, "`batch[1].info` contains 'cache'"),
]


async def test_invalid_events_are_refused_and_nothing_is_published(serve: Serve, ask: Ask) -> None:
    server = await serve(pusher_apps=(APP,))
    for path, cases in ((EVENTS, INVALID), ("/apps/4711/batch_events", INVALID_BATCHES)):
        for body, message in cases:
            status, code, text = (await send(ask, server, "POST", path, body)).error
            assert (status, code) == (400, "bad_request"), body
            assert text.startswith(message), body
    assert server.counters.publications == {}


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("channels", "info=user_count", "`info` may contain user_count only if `filter_by_prefix` begins presence-"),
        ("channels", "info=x", "`info` contains 'x'; the attributes are user_count, subscription_count"),
        ("channels/c", "info=user_count", "`info` may contain user_count only for presence channels"),
        ("channels/a%20b", "", "the channel in the path must have a name of 1 to 200 of A-Z a-z 0-9 _-=@,.;"),
        ("channels/c/users", "", "only presence channels have users: the name must begin presence-"),
    ],
)
async def test_invalid_questions_are_refused(serve: Serve, ask: Ask, path: str, query: str, message: str) -> None:
    server = await serve(pusher_apps=(APP,))
    answer = await send(ask, server, "GET", f"/apps/4711/{path}", query=query)
    assert answer.error == (400, "bad_request", message)


async def test_data_over_the_limit_of_the_app_is_refused(serve: Serve, ask: Ask) -> None:
    server = await serve(pusher_apps=(APP,), pusher_max_event_bytes=("4",))
    assert (await send(ask, server, "POST", EVENTS, {**EVENT, "data": "éé"})).json == {}
    answer = await send(ask, server, "POST", EVENTS, {**EVENT, "data": "ééé"})
    assert answer.error == (413, "too_large", "`data` has more than 4 bytes (limit: pusher_max_event_bytes)")


async def test_each_event_and_channel_counts_for_the_rate(serve: Serve, ask: Ask) -> None:
    server = await serve(pusher_apps=(APP,), broadcast_rate=3.0)
    event = {"name": "e", "data": "1", "channels": ["a", "b", "a"]}
    assert (await send(ask, server, "POST", EVENTS, event)).json == {}
    batch = {"batch": [EVENT, EVENT]}
    answer = await send(ask, server, "POST", "/apps/4711/batch_events", batch)
    assert answer.error[:2] == (429, "rate_limited")
    assert int(answer.headers["Retry-After"]) >= 1


async def test_data_arrives_byte_for_byte_and_once_per_channel(serve: Serve, ask: Ask, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,))
    ann, bob = await enter(server), await enter(server)
    for client in (ann, bob):
        await client.subscribe("a")
        await client.subscribe("b")
    for text in ('{"a": 1.0,  "b":"ü"}', "hi", "", "null", '"x"', "{not json"):
        event = {"name": "e\\n", "data": text, "channels": ["a", "b", "a"], "socket_id": bob.id}
        assert (await send(ask, server, "POST", EVENTS, event)).json == {}
        for channel in ("a", "b"):
            assert await ann.hear() == {"event": "e\\n", "channel": channel, "data": text}
    await bob.hears_nothing()
    event = {"name": "e", "data": {"n": [1, None]}, "channel": "a", "socket_id": None}
    assert (await send(ask, server, "POST", EVENTS, event)).json == {}
    assert await bob.hear() == {"event": "e", "channel": "a", "data": '{"n":[1,null]}'}


async def test_figures_of_channels_and_users(serve: Serve, ask: Ask, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,))
    ann, bob, eve = await enter(server), await enter(server), await enter(server)
    await ann.subscribe("c")
    for client, user in ((ann, "u1"), (bob, 2), (eve, 2)):
        await client.subscribe("presence-r", member={"user_id": user})
    await eve.sign_in("u3")
    await eve.say("pusher:subscribe", {"channel": "#server-to-user-u3"})

    async def get(path: str, query: str = "") -> Any:
        answer = await send(ask, server, "GET", f"/apps/4711/{path}", query=query)
        assert answer.status == 200
        return answer.json

    assert await get("channels") == {"channels": {"c": {}, "presence-r": {}}}
    assert await get("channels", "filter_by_prefix=presence-&info=user_count") == {
        "channels": {"presence-r": {"user_count": 2}}
    }
    assert await get("channels/presence-r", "info=user_count,subscription_count") == {
        "occupied": True,
        "user_count": 2,
        "subscription_count": 3,
    }
    assert await get("channels/d", "info=subscription_count") == {"occupied": False, "subscription_count": 0}
    users = await get("channels/presence-r/users")
    assert sorted(user["id"] for user in users["users"]) == ["2", "u1"]
    assert await get("channels/presence-x/users") == {"users": []}
    assert await get("connections") == {"connections": 3}
    event = {"name": "e", "data": "1", "channels": ["presence-r", "c"], "info": "user_count,subscription_count"}
    assert (await send(ask, server, "POST", EVENTS, event)).json == {
        "channels": {"presence-r": {"user_count": 2, "subscription_count": 3}, "c": {"subscription_count": 1}}
    }
    batch = {"batch": [{**EVENT, "info": "subscription_count"}, EVENT]}
    answer = await send(ask, server, "POST", "/apps/4711/batch_events", batch)
    assert answer.json == {"batch": [{"subscription_count": 1}, {}]}


async def test_users_are_disconnected_by_both_addresses(serve: Serve, ask: Ask, enter: Enter) -> None:
    server = await serve(pusher_apps=(APP,))
    for path, user in (
        ("/apps/4711/users/u1/terminate_connections", "u1"),
        ("/users/u1/terminate_connections", "u1"),
        ("/apps/4711/users/a%2Fb/terminate_connections", "a/b"),
    ):
        ann, bob = await enter(server), await enter(server)
        await ann.sign_in(user)
        await ann.hear()
        await bob.subscribe("presence-r", member={"user_id": "u1"})
        assert (await send(ask, server, "POST", path, b"{}")).json == {}
        assert (await ann.hear())["data"]["code"] == 4009
        assert (await ann.end())[0] == 4009
        await bob.hears_nothing()
    assert (await ask(server, "POST", "/users/u1/terminate_connections", b"", key=None)).status == 401
    assert (await send(ask, server, "POST", "/users/%20/terminate_connections", b"{}")).error[0] == 400


def test_the_constants_of_these_tests_belong_together() -> None:
    assert f"4711:{KEY}:{SECRET}" == APP
