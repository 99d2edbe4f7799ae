"""POST /broadcast: single and many, to channels and connections, and every way to get it wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.endpoints.conftest import Ask
from tests.serving import KEY, Join, Message, Serve

GOOD: Message = {"channel": "a", "event": "e", "data": {"x": 1}}


@pytest.mark.parametrize("path", ["/broadcast", "/production/broadcast", "/dev/broadcast"])
async def test_a_broadcast_reaches_every_subscriber_and_returns_their_number(
    serve: Serve, join: Join, ask: Ask, path: str
) -> None:
    server = await serve()
    clients = [await join(server) for _ in range(3)]
    for client in clients[:2]:
        await client.ask({"action": "subscribe", "channel": "a"})
    answer = await ask(server, "POST", path, GOOD)
    assert (answer.status, answer.json) == (200, {"sent": 2, "failed": 0, "stale": 0})
    for client in clients[:2]:
        assert await client.hear() == GOOD
    await clients[2].hears_nothing()


@pytest.mark.parametrize(
    "data", [None, False, 0, 1.5, "", "ü", [], [1, None], {}, {"": {"a": []}}, 2**64 - 1, -(2**63)]
)
async def test_data_is_any_json_value(serve: Serve, join: Join, ask: Ask, data: object) -> None:
    server = await serve()
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "a"})
    await ask(server, "POST", "/broadcast", {**GOOD, "data": data})
    assert (await client.hear())["data"] == data


async def test_absent_data_is_null(serve: Serve, join: Join, ask: Ask) -> None:
    server = await serve()
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "a"})
    await ask(server, "POST", "/broadcast", {"channel": "a", "event": "e"})
    assert await client.hear() == {"channel": "a", "event": "e", "data": None}


async def test_excluded_connections_get_nothing_and_are_not_counted(serve: Serve, join: Join, ask: Ask) -> None:
    server = await serve()
    first, second = await join(server), await join(server)
    for client in (first, second):
        await client.ask({"action": "subscribe", "channel": "a"})
    answer = await ask(server, "POST", "/broadcast", {**GOOD, "exclude": [first.id, "nobody"]})
    assert answer.json == {"sent": 1, "failed": 0, "stale": 0}
    assert (await second.hear())["event"] == "e"
    await first.hears_nothing()


async def test_a_message_to_one_connection_or_to_one_that_is_gone(serve: Serve, join: Join, ask: Ask) -> None:
    server = await serve()
    client = await join(server)
    answer = await ask(server, "POST", "/broadcast", {"connectionId": client.id, "event": "e", "data": 1})
    assert answer.json == {"sent": 1, "failed": 0, "stale": 0}
    assert await client.hear() == {"event": "e", "data": 1}
    answer = await ask(server, "POST", "/broadcast", {"connectionId": "gone", "event": "e"})
    assert (answer.status, answer.json) == (200, {"sent": 0, "failed": 0, "stale": 1})


async def test_messages_are_answered_in_order(serve: Serve, join: Join, ask: Ask) -> None:
    server = await serve()
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "a"})
    messages: list[Message] = [
        GOOD,
        {"connectionId": "gone", "event": "e"},
        {**GOOD, "data": 2},
        {"channel": "empty", "event": "e"},
    ]
    answer = await ask(server, "POST", "/broadcast", {"messages": messages})
    assert answer.json == {
        "results": [
            {"sent": 1, "failed": 0, "stale": 0},
            {"sent": 0, "failed": 0, "stale": 1},
            {"sent": 1, "failed": 0, "stale": 0},
            {"sent": 0, "failed": 0, "stale": 0},
        ]
    }
    assert [(await client.hear())["data"] for _ in range(2)] == [{"x": 1}, 2]


async def test_one_bad_item_refuses_all_before_any_is_sent(serve: Serve, join: Join, ask: Ask) -> None:
    server = await serve()
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "a"})
    messages = [GOOD, GOOD, GOOD, {"channel": "a"}]
    status, code, message = (await ask(server, "POST", "/broadcast", {"messages": messages})).error
    assert (status, code) == (400, "bad_request")
    assert "`messages[3].event`" in message
    await client.hears_nothing()


BAD: list[tuple[object, str]] = [
    (b"", "not valid JSON"),
    (b"{", "not valid JSON"),
    (b'{"a":"\xff"}', "UTF-8"),
    (b'{"channel":"a","event":"e","data":18446744073709551616}', "64 bits"),
    ([], "must be a JSON object"),
    ("text", "must be a JSON object"),
    ({}, "`event` is missing"),
    ({"channel": "a"}, "`event` is missing"),
    ({**GOOD, "event": ""}, "`event`"),
    ({**GOOD, "event": 1}, "`event`"),
    ({**GOOD, "event": "x" * 256}, "`event`"),
    ({"event": "e"}, "`channel` is missing"),
    ({**GOOD, "channel": 1}, "`channel`"),
    ({**GOOD, "channel": ""}, "`channel`"),
    ({**GOOD, "channel": " a"}, "`channel`"),
    ({**GOOD, "channel": "a\u0000"}, "`channel`"),
    ({**GOOD, "channel": "a" * 256}, "`channel`"),
    ({**GOOD, "connectionId": "b"}, "`connectionId`"),
    ({"connectionId": 1, "event": "e"}, "`connectionId`"),
    ({"connectionId": "", "event": "e"}, "`connectionId`"),
    ({**GOOD, "type": 1}, "`type`"),
    ({**GOOD, "type": ""}, "`type`"),
    ({**GOOD, "key": 1}, "`key`"),
    ({**GOOD, "priority": True}, "`priority`"),
    ({**GOOD, "priority": 1.5}, "`priority`"),
    ({**GOOD, "priority": []}, "`priority`"),
    ({**GOOD, "exclude": "x"}, "`exclude`"),
    ({**GOOD, "exclude": [1]}, "`exclude`"),
    ({**GOOD, "exclude": ["x"] * 1001}, "`exclude`"),
    ({**GOOD, "message_id": 1}, "`message_id`"),
    ({"messages": []}, "`messages`"),
    ({"messages": {}}, "`messages`"),
    ({"messages": "x"}, "`messages`"),
    ({"messages": [GOOD] * 1001}, "`messages`"),
    ({"messages": [1]}, "`messages[0]`"),
    ({"messages": [GOOD, {**GOOD, "channel": 1}]}, "`messages[1].channel`"),
    ({"messages": [GOOD, {**GOOD, "priority": []}]}, "`messages[1].priority`"),
    ({"messages": [{"connectionId": "a", "channel": "b", "event": "e"}]}, "`messages[0].channel`"),
]


async def test_a_bad_body_is_refused_with_400_naming_the_field(serve: Serve, ask: Ask) -> None:
    server = await serve()
    for body, words in BAD:
        status, code, message = (await ask(server, "POST", "/broadcast", body)).error
        assert (status, code) == (400, "bad_request"), body
        assert words in message, body
    assert server.counters.publications == {}


async def test_data_that_cannot_be_encoded_for_a_subscriber_is_refused_with_400(
    serve: Serve, join: Join, ask: Ask
) -> None:
    server = await serve()
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "a"})
    deep = b'{"channel":"a","event":"e","data":' + b"[" * 500 + b"]" * 500 + b"}"
    status, code, _ = (await ask(server, "POST", "/broadcast", deep)).error
    assert (status, code) == (400, "bad_request")
    await client.hears_nothing()


@pytest.mark.parametrize("key", [None, "", "wrong", KEY + "x", KEY[:-1], "ключ"])
async def test_without_a_good_key_it_is_401(serve: Serve, ask: Ask, key: str | None) -> None:
    server = await serve()
    for method, path in [("POST", "/broadcast"), ("GET", "/connections"), ("POST", "/revocations")]:
        answer = await ask(server, method, path, GOOD if method == "POST" else None, key=key)
        assert answer.error[:2] == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_keys_are_rotated_by_having_two(serve: Serve, ask: Ask) -> None:
    server = await serve(broadcast_key=("new key", "old key"))
    for key, status in (("new key", 200), ("old key", 200), (KEY, 401)):
        assert (await ask(server, "POST", "/broadcast", GOOD, key=key)).status == status


async def test_without_a_configured_key_all_requests_are_refused(serve: Serve, ask: Ask) -> None:
    server = await serve(broadcast_key=())
    for key in ("", "x"):
        assert (await ask(server, "POST", "/broadcast", GOOD, key=key)).status == 401


async def test_a_body_over_the_limit_is_413(serve: Serve, ask: Ask) -> None:
    server = await serve(max_message_bytes=1000)
    answer = await ask(server, "POST", "/broadcast", {**GOOD, "data": "x" * 10_000})
    assert answer.error[:2] == (413, "too_large")


async def test_over_the_broadcast_rate_is_429_with_retry_after(serve: Serve, ask: Ask) -> None:
    server = await serve(broadcast_rate=2.0)
    for _ in range(2):
        assert (await ask(server, "POST", "/broadcast", GOOD)).status == 200
    answer = await ask(server, "POST", "/broadcast", GOOD)
    assert answer.error[:2] == (429, "rate_limited")
    assert int(answer.headers["Retry-After"]) >= 1
    assert server.counters.publications == {"http": 2}
    assert server.counters.rate_limited == {"broadcast": 1}


async def test_each_of_many_messages_counts_for_the_rate(serve: Serve, ask: Ask) -> None:
    server = await serve(broadcast_rate=2.0)
    assert (await ask(server, "POST", "/broadcast", GOOD)).status == 200
    assert (await ask(server, "POST", "/broadcast", {"messages": [GOOD] * 2})).status == 429
    assert (await ask(server, "POST", "/broadcast", GOOD)).status == 200


async def test_a_list_longer_than_the_rate_passes_and_is_paid_back_afterwards(serve: Serve, ask: Ask) -> None:
    server = await serve(broadcast_rate=2.0)
    assert (await ask(server, "POST", "/broadcast", {"messages": [GOOD] * 200})).status == 200
    answer = await ask(server, "POST", "/broadcast", GOOD)
    assert answer.status == 429
    assert 90 <= int(answer.headers["Retry-After"]) <= 100
    assert server.counters.publications == {"http": 200}


async def test_the_same_message_id_is_published_once(serve: Serve, join: Join, ask: Ask) -> None:
    server = await serve()
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "a"})
    first = await ask(server, "POST", "/broadcast", {**GOOD, "message_id": "m1"})
    assert first.json == {"sent": 1, "failed": 0, "stale": 0}
    again = await ask(server, "POST", "/broadcast", {**GOOD, "message_id": "m1"})
    assert again.json == first.json
    await client.hear()
    await client.hears_nothing()


async def test_what_an_interval_holds_back_is_answered_when_it_is_written(serve: Serve, join: Join, ask: Ask) -> None:
    server = await serve(flush_interval=("slow:*=20",))
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "slow:1"})
    answer = await ask(server, "POST", "/broadcast", {**GOOD, "channel": "slow:1"})
    assert answer.json == {"sent": 1, "failed": 0, "stale": 0}
    assert (await client.hear())["event"] == "e"


async def test_its_errors_never_repeat_what_was_sent(serve: Serve, ask: Ask) -> None:
    server = await serve()
    secret: Any = "SECRET-IN-BODY"
    for body in ({"channel": secret}, {"event": secret * 100}, secret.encode()):
        assert secret.encode() not in (await ask(server, "POST", "/broadcast", body)).body
