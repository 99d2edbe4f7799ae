"""Positions, replay and history in all dialects, on a real server."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import jwt
import pytest
from websockets.exceptions import InvalidStatus

from fastws.server.server import Server
from tests.redis_server import RedisServer
from tests.serving import KEY, SECRET, Join, Message, OpenRaw, Serve, Talker

Broker = dict[str, str]
HISTORY = {"history": ("plain=off", "**=10/60")}
FORMATS = ("json", "msgpack")


@pytest.fixture(params=["memory", "redis"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """The settings of each broker."""
    if request.param == "memory":
        return {}
    redis: RedisServer = request.getfixturevalue("own_redis_server")
    return {"redis_url": redis.url}


def token(**claims: object) -> str:
    """A token of the user u1 and the workspace w1."""
    given = {"sub": "u1", "exp": time.time() + 600, "workspace_id": "w1", **claims}
    return jwt.encode(given, SECRET, "HS256")


async def publish(server: Server, count: int = 1, channel: str = "c", first: int = 1, **fields: Any) -> list[Message]:
    bodies = [{"channel": channel, "event": "e", "data": {"n": n}, **fields} for n in range(first, first + count)]
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, trust_env=False) as client:
        answers = [await client.post(f"http://127.0.0.1:{server.port}/broadcast", json=body) for body in bodies]
    return [answer.json() for answer in answers]


async def hear_numbers(client: Talker, count: int) -> list[tuple[int, int]]:
    """(offset, number) of the next deliveries."""
    return [(message["offset"], message["data"]["n"]) for message in [await client.hear() for _ in range(count)]]


@pytest.mark.parametrize("codec", FORMATS)
async def test_a_client_that_returns_hears_what_it_missed_and_then_what_is_new(
    serve: Serve, broker: Broker, join: Join, codec: str
) -> None:
    server = await serve(**HISTORY, **broker)
    client = await join(server, format=codec)
    reply = await client.ask({"action": "subscribe", "channel": "c", "id": 1})
    epoch = reply["epoch"]
    assert reply == {"type": "subscription_succeeded", "channel": "c", "offset": 0, "epoch": epoch, "id": 1}
    assert [answer["offset"] for answer in await publish(server, 2)] == [1, 2]
    assert await client.hear() == {"channel": "c", "event": "e", "data": {"n": 1}, "offset": 1}
    await client.socket.close()
    await publish(server, 3, first=3)
    returned = await join(server, format=codec)
    asked = {"action": "subscribe", "channel": "c", "offset": 2, "epoch": epoch}
    assert await returned.ask(asked) == {
        "type": "subscription_succeeded",
        "channel": "c",
        "offset": 5,
        "epoch": epoch,
        "recovered": True,
        "replayed": 3,
    }
    await publish(server, 1, first=6)
    assert await hear_numbers(returned, 4) == [(3, 3), (4, 4), (5, 5), (6, 6)]
    await returned.hears_nothing()


@pytest.mark.parametrize(("offset", "epoch"), [(2, None), (99, None), (12, "another")])
async def test_a_client_that_cannot_recover_is_told_and_gets_nothing_of_the_past(
    serve: Serve, broker: Broker, join: Join, offset: int, epoch: str | None
) -> None:
    server = await serve(**HISTORY, **broker)
    await publish(server, 13)
    client = await join(server)
    right = (await client.ask({"action": "history", "channel": "c", "limit": 1}))["epoch"]
    reply = await client.ask({"action": "subscribe", "channel": "c", "offset": offset, "epoch": epoch or right})
    assert (reply["recovered"], reply["replayed"], reply["offset"]) == (False, 0, 13)
    await publish(server, 1, first=14)
    assert await hear_numbers(client, 1) == [(14, 14)]


async def test_the_last_publications_are_replayed_on_request(serve: Serve, broker: Broker, join: Join) -> None:
    server = await serve(**HISTORY, **broker)
    await publish(server, 5)
    client = await join(server)
    reply = await client.ask({"action": "subscribe", "channel": "c", "replay": 2})
    assert reply["replayed"] == 2
    assert "recovered" not in reply
    assert await hear_numbers(client, 2) == [(4, 4), (5, 5)]


async def test_a_position_on_a_channel_that_is_heard_already_is_ignored(
    serve: Serve, broker: Broker, join: Join
) -> None:
    server = await serve(**HISTORY, **broker)
    client = await join(server)
    epoch = (await client.ask({"action": "subscribe", "channel": "c"}))["epoch"]
    await publish(server, 1)
    await hear_numbers(client, 1)
    reply = await client.ask({"action": "subscribe", "channel": "c", "offset": 0, "epoch": epoch})
    assert reply == {"type": "subscription_succeeded", "channel": "c", "offset": 1, "epoch": epoch}
    await client.hears_nothing()


async def test_without_history_nothing_changes(serve: Serve, broker: Broker, join: Join) -> None:
    server = await serve(**HISTORY, **broker)
    client = await join(server)
    asked = {"action": "subscribe", "channel": "plain", "offset": 1, "epoch": "x"}
    assert await client.ask(asked) == {"type": "subscription_succeeded", "channel": "plain"}
    assert "offset" not in (await publish(server, 1, "plain"))[0]
    assert await client.hear() == {"channel": "plain", "event": "e", "data": {"n": 1}}
    assert (await client.ask({"action": "history", "channel": "plain"}))["code"] == "bad_request"


async def test_an_ephemeral_message_is_heard_and_not_kept(serve: Serve, broker: Broker, join: Join) -> None:
    server = await serve(**HISTORY, **broker)
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "c"})
    sent = {"action": "send", "channel": "c", "event": "typing", "data": 1}
    await client.say({**sent, "ephemeral": True})
    assert await client.hear() == {"channel": "c", "event": "typing", "data": 1, "from": client.id}
    assert await client.hear() == {"type": "send_success", "channel": "c", "sent": 1, "failed": 0}
    await client.say(sent)
    assert (await client.hear())["offset"] == 1
    assert await client.hear() == {"type": "send_success", "channel": "c", "sent": 1, "failed": 0, "offset": 1}
    assert "offset" not in (await publish(server, 1, ephemeral=True))[0]
    assert "offset" not in await client.hear()


async def test_who_was_excluded_before_gets_it_on_a_later_connection(serve: Serve, broker: Broker, join: Join) -> None:
    server = await serve(**HISTORY, **broker)
    client = await join(server)
    epoch = (await client.ask({"action": "subscribe", "channel": "c"}))["epoch"]
    await client.ask({"action": "send", "channel": "c", "event": "e", "data": {"n": 1}, "exclude_self": True})
    await client.ask({"action": "unsubscribe", "channel": "c"})
    again = {"action": "subscribe", "channel": "c", "offset": 0, "epoch": epoch}
    assert (await client.ask(again))["replayed"] == 0
    later = await join(server)
    assert (await later.ask(again))["replayed"] == 1
    assert await hear_numbers(later, 1) == [(1, 1)]


@pytest.mark.parametrize(
    "keys",
    [
        {"offset": 1},
        {"epoch": "x"},
        {"offset": "1", "epoch": "x"},
        {"offset": True, "epoch": "x"},
        {"offset": -1, "epoch": "x"},
        {"offset": 1.5, "epoch": "x"},
        {"offset": 1, "epoch": 2},
        {"replay": "2"},
        {"replay": -1},
        {"replay": 1, "offset": 1, "epoch": "x"},
    ],
)
async def test_a_position_that_is_none_is_refused_with_what_is_expected(
    serve: Serve, broker: Broker, join: Join, keys: dict[str, object]
) -> None:
    server = await serve(**HISTORY, **broker)
    client = await join(server)
    reply = await client.ask({"action": "subscribe", "channel": "c", **keys})
    assert reply["code"] == "bad_request"
    assert "offset" in reply["message"] or "replay" in reply["message"]


async def test_a_page_leaves_out_what_cannot_be_represented(serve: Serve, broker: Broker, join: Join) -> None:
    server = await serve(**HISTORY, **broker)
    client = await join(server)
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    await publish(server)
    await publish(server, data=deep)
    await publish(server, first=2)
    page = await client.ask({"action": "history", "channel": "c"})
    assert [message["data"] for message in page["messages"]] == [{"n": 1}, {"n": 2}]
    assert (await client.ask({"action": "ping"}))["type"] == "pong"


async def test_history_is_read_in_pages(serve: Serve, broker: Broker, join: Join) -> None:
    server = await serve(**HISTORY, **broker)
    await publish(server, 4)
    client = await join(server)
    page = await client.ask({"action": "history", "channel": "c", "limit": 2, "id": 5})
    assert (page["type"], page["channel"], page["offset"], page["id"]) == ("history", "c", 4, 5)
    assert [(message["offset"], message["data"]) for message in page["messages"]] == [(1, {"n": 1}), (2, {"n": 2})]
    assert all(isinstance(message["timestamp"], str) for message in page["messages"])
    asked = {"action": "history", "channel": "c", "offset": 2, "epoch": page["epoch"]}
    assert [m["offset"] for m in (await client.ask(asked))["messages"]] == [3, 4]
    assert [m["offset"] for m in (await client.ask({**asked, "reverse": True}))["messages"]] == [1]
    assert (await client.ask({**asked, "epoch": "other"}))["code"] == "unrecoverable"
    assert (await client.ask({**asked, "limit": 0}))["code"] == "bad_request"
    assert (await client.ask({"action": "history", "channel": "user:1"}))["code"] == "forbidden"


async def test_rooms_carry_positions_too(serve: Serve, broker: Broker, join: Join) -> None:
    server = await serve(**HISTORY, **broker)
    await publish(server, 2, "execution:1")
    await publish(server, 2, "user:u1")
    client = await join(server, "/api/v1/ws", token=token(channels=["execution:*"]), greets=False, replay="1")
    greeting = await client.hear()
    assert (greeting["event"], greeting["offset"], greeting["replayed"]) == ("connected", 2, 1)
    delivery = await client.hear()
    assert (delivery["room_id"], delivery["offset"], delivery["data"]) == ("user:u1", 2, {"n": 2})
    reply = await client.ask({"type": "subscribe", "room_id": "execution:1", "replay": 1})
    assert (reply["event"], reply["room_id"], reply["offset"], reply["replayed"]) == ("subscribed", "execution:1", 2, 1)
    assert (await client.hear())["offset"] == 2
    page = await client.ask({"type": "history", "room_id": "execution:1"})
    assert [message["offset"] for message in page["messages"]] == [1, 2]
    assert page["room_id"] == "execution:1"


async def test_a_workspace_is_recovered_by_the_query_and_filtered_from_the_start(
    serve: Serve, broker: Broker, join: Join
) -> None:
    server = await serve(**HISTORY, **broker)
    await publish(server, 1, "workspace:w1")
    first = await join(server, "/ws", token=token(), workspace_id="w1", greets=False, offset="1", epoch="gone")
    greeting = await first.hear()
    assert (greeting["event"], greeting["offset"], greeting["recovered"]) == ("connected", 1, False)
    for number, event in ((2, "alert"), (3, "e"), (4, "alert")):
        await publish(server, 1, "workspace:w1", first=number, event=event)
    asked = {"offset": "1", "epoch": greeting["epoch"], "event_types": "alert,other"}
    client = await join(server, "/ws", token=token(), workspace_id="w1", greets=False, **asked)
    greeting = await client.hear()
    assert (greeting["recovered"], greeting["replayed"], greeting["offset"]) == (True, 2, 4)
    assert await hear_numbers(client, 2) == [(2, 2), (4, 4)]
    await publish(server, 1, "workspace:w1", first=5)
    assert (await client.ask({"type": "ping"}))["offset"] == 5
    page = await client.ask({"type": "history"})
    assert (page["event"], [message["offset"] for message in page["messages"]]) == ("history", [1, 2, 3, 4, 5])


async def test_the_feed_of_jobs_is_recovered_and_its_seq_is_the_offset(
    serve: Serve, broker: Broker, join: Join
) -> None:
    server = await serve(**HISTORY, **broker)

    async def update(number: int, status: str) -> None:
        data = {"job_id": f"j{number}", "status": status, "n": number}
        await publish(server, 1, "botrix:jobs:updates", event="job_update", data=data)

    await update(1, "failed")
    quiet = await join(server, "/ws/", greets=False)
    subscribed = await quiet.ask({"type": "subscribe"})
    epoch = subscribed["epoch"]
    assert (subscribed["type"], subscribed["offset"]) == ("subscribed", 1)
    await update(2, "done")
    await update(3, "failed")
    asked = {"offset": "1", "epoch": epoch, "statuses": "failed"}
    client = await join(server, "/ws/", greets=False, **asked)
    greeting = await client.hear()
    assert (greeting["statuses"], greeting["offset"], greeting["recovered"], greeting["replayed"]) == (
        *(["failed"], 3, True),
        1,
    )
    delivery = await client.hear()
    assert (delivery["job_id"], delivery["seq"], delivery["offset"]) == ("j3", 3, 3)
    assert (await client.ask({"type": "ping"}))["offset"] == 3


@pytest.mark.parametrize("path", ["/api/v1/ws", "/ws"])
async def test_a_wrong_position_in_the_query_refuses_the_upgrade(
    serve: Serve, broker: Broker, join: Join, path: str
) -> None:
    server = await serve(**HISTORY, **broker)
    with pytest.raises(InvalidStatus) as refused:
        await join(server, path, token=token(), workspace_id="w1", offset="x", epoch="y")
    assert refused.value.response.status_code == 400


async def test_a_replay_waits_for_a_slow_reader_outside_the_bounds_and_live_messages_wait_behind_it(
    serve: Serve, broker: Broker, join: Join, open_raw: OpenRaw
) -> None:
    server = await serve(history=("**=200/60",), max_queue_messages=2, max_queue_bytes=40_000)
    await publish(server, 200, data={"text": "x" * 30_000})
    slow = await open_raw(server, buffer_bytes=4096)
    await slow.receive()
    await slow.send(1, b'{"action":"subscribe","channel":"c","replay":200}')
    await slow.receive()
    await publish(server, 1, data={"n": 201})
    offsets = [b'"offset":%d' % number for number in range(1, 202)]
    for expected in offsets:
        _, payload = await asyncio.wait_for(slow.receive(), 30)
        assert expected in payload


async def test_channels_are_listed_read_and_cleared_over_http(serve: Serve, broker: Broker, join: Join) -> None:
    server = await serve(**HISTORY, **broker)
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "plain"})
    await client.ask({"action": "subscribe", "channel": "a/b c"})
    await publish(server, 3, "old")
    await publish(server, 1, "a/b c")
    await client.hear()
    url, headers = f"http://127.0.0.1:{server.port}", {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
        assert (await http.get("/channels")).json() == {
            "channels": [
                {"channel": "a/b c", "subscribers": 1, "offset": 1},
                {"channel": "old", "subscribers": 0, "offset": 3},
                {"channel": "plain", "subscribers": 1},
            ],
            "cursor": None,
        }
        page = (await http.get("/channels?limit=1")).json()
        assert page["cursor"] == "a/b c"
        rest = (await http.get("/channels", params={"cursor": page["cursor"], "prefix": "o"})).json()
        assert [entry["channel"] for entry in rest["channels"]] == ["old"]
        read = (await http.get("/channels/old/history?limit=2&reverse=true")).json()
        assert (read["channel"], read["offset"], [m["offset"] for m in read["messages"]]) == ("old", 3, [3, 2])
        after = {"offset": 2, "epoch": read["epoch"]}
        assert [m["offset"] for m in (await http.get("/channels/old/history", params=after)).json()["messages"]] == [3]
        gone = await http.get("/channels/old/history", params={"offset": 9, "epoch": read["epoch"]})
        assert (gone.status_code, gone.json()["error"]["code"]) == (409, "unrecoverable")
        assert (await http.get("/channels/plain/history")).status_code == 400
        assert (await http.get("/channels/old/history?limit=0")).status_code == 400
        assert (await http.get("/channels/old/history?offset=1")).status_code == 400
        assert (await http.get("/channels/old/history?reverse=1")).status_code == 400
        assert (await http.delete("/channels/a%2Fb%20c/history")).status_code == 204
        notice = await client.hear()
        assert (notice["type"], notice["channel"], notice["offset"]) == ("gap", "a/b c", 0)
        assert (await http.get("/channels/a%2Fb%20c/history")).json()["messages"] == []
        assert (await http.get("/channels", headers={"Authorization": "Bearer no"})).status_code == 401
