"""The channels dialect on a real server: subscribe, send, direct, errors; JSON and msgpack."""

from __future__ import annotations

import time

import jwt
import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode

from fastws.settings import load
from tests.serving import SECRET, Join, Message, OpenRaw, Serve

FORMATS = ("json", "msgpack")


@pytest.mark.parametrize("codec", FORMATS)
async def test_all_subscribers_of_a_channel_get_messages_the_sender_too(serve: Serve, join: Join, codec: str) -> None:
    server = await serve()
    sender, other = await join(server, format=codec), await join(server, "/production")
    for client in (sender, other):
        assert await client.ask({"action": "subscribe", "channel": "admin"}) == {
            "type": "subscription_succeeded",
            "channel": "admin",
        }
    await sender.say({"action": "send", "channel": "admin", "event": "e", "data": {"a": [1, None]}})
    delivery = {"channel": "admin", "event": "e", "data": {"a": [1, None]}, "from": sender.id}
    assert await sender.hear() == delivery
    assert await sender.hear() == {"type": "send_success", "channel": "admin", "sent": 2, "failed": 0}
    assert await other.hear() == delivery


async def test_exclude_self_leaves_the_sender_out_of_both_figures(serve: Serve, join: Join) -> None:
    server = await serve()
    sender, other = await join(server), await join(server)
    for client in (sender, other):
        await client.ask({"action": "subscribe", "channel": "admin"})
    sent = {"action": "send", "channel": "admin", "event": "e", "data": 1, "exclude_self": True}
    assert await sender.ask(sent) == {"type": "send_success", "channel": "admin", "sent": 1, "failed": 0}
    assert (await other.hear())["data"] == 1
    await sender.hears_nothing()


async def test_a_direct_message_reaches_one_client_alone_subscribed_or_not(serve: Serve, join: Join) -> None:
    server = await serve()
    sender, target, other = await join(server), await join(server, format="msgpack"), await join(server)
    sent = {"action": "send", "connectionId": target.id, "event": "private", "data": {"m": "hi"}}
    assert await sender.ask(sent) == {"type": "send_success", "connectionId": target.id, "sent": 1, "failed": 0}
    assert await target.hear() == {"event": "private", "data": {"m": "hi"}, "from": sender.id}
    await other.hears_nothing()
    to_self = {"action": "send", "connectionId": sender.id, "event": "private", "data": 1}
    assert await sender.ask(to_self) == {"event": "private", "data": 1, "from": sender.id}
    assert (await sender.hear())["sent"] == 1


async def test_a_connection_that_is_gone_counts_as_failed(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server)
    sent = {"action": "send", "connectionId": "nobody", "event": "e", "id": 9}
    assert await client.ask(sent) == {
        "type": "send_success",
        "connectionId": "nobody",
        "sent": 0,
        "failed": 1,
        "id": 9,
    }


async def test_unsubscribed_means_no_more_deliveries(serve: Serve, join: Join) -> None:
    server = await serve()
    client, sender = await join(server), await join(server)
    await client.ask({"action": "subscribe", "channel": "admin"})
    assert await client.ask({"action": "unsubscribe", "channel": "admin"}) == {
        "type": "unsubscribe_succeeded",
        "channel": "admin",
    }
    sent = {"action": "send", "channel": "admin", "event": "e"}
    assert (await sender.ask(sent))["sent"] == 0
    await client.hears_nothing()
    assert (await client.ask({"action": "unsubscribe", "channel": "admin"}))["type"] == "unsubscribe_succeeded"


async def test_subscribing_twice_succeeds_twice_and_delivers_once(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server)
    for _ in range(2):
        assert (await client.ask({"action": "subscribe", "channel": "admin"}))["type"] == "subscription_succeeded"
    await client.say({"action": "send", "channel": "admin", "event": "e"})
    assert (await client.hear())["event"] == "e"
    assert (await client.hear())["sent"] == 1


async def test_the_greeting_the_acknowledgement_and_the_publication_come_in_this_order(
    serve: Serve, join: Join
) -> None:
    server = await serve(flush_interval=("slow:*=30",))
    for channel in ("quick", "slow:1"):
        client = await join(server)
        messages = [
            {"action": "subscribe", "channel": channel, "id": "s"},
            {"action": "send", "channel": channel, "event": "e", "id": "p"},
            {"action": "unsubscribe", "channel": channel, "id": "u"},
        ]
        for message in messages:
            await client.say(message)
        heard = [await client.hear() for _ in range(4)]
        order = [message.get("event") or message["id"] for message in heard]
        assert order.index("s") < order.index("e") < order.index("u")
        assert sorted(order) == ["e", "p", "s", "u"]


@pytest.mark.parametrize("ping", [{"action": "ping"}, {"type": "ping"}])
async def test_ping_is_answered_with_the_time(serve: Serve, join: Join, ping: Message) -> None:
    server = await serve()
    client = await join(server)
    pong = await client.ask(ping)
    assert set(pong) == {"type", "timestamp"}
    assert pong["timestamp"].endswith("Z")


REQUESTS: dict[str, Message] = {
    "subscription_succeeded": {"action": "subscribe", "channel": "a"},
    "unsubscribe_succeeded": {"action": "unsubscribe", "channel": "a"},
    "send_success": {"action": "send", "channel": "b", "event": "e"},
    "pong": {"action": "ping"},
    "error": {"action": "nonsense"},
}


@pytest.mark.parametrize("codec", FORMATS)
@pytest.mark.parametrize("request_id", [0, -3, 2**63, "", "a1", "ü" * 255])
async def test_every_reply_carries_the_id_of_its_request(
    serve: Serve, join: Join, codec: str, request_id: object
) -> None:
    server = await serve()
    client = await join(server, format=codec)
    for kind, request in REQUESTS.items():
        reply = await client.ask({**request, "id": request_id})
        assert (reply["type"], reply["id"]) == (kind, request_id)
        assert "id" not in await client.ask(request)


@pytest.mark.parametrize("request_id", [True, 1.5, [1], {}, "x" * 256])
async def test_an_id_of_another_kind_is_an_error(serve: Serve, join: Join, request_id: object) -> None:
    server = await serve()
    client = await join(server)
    reply = await client.ask({"action": "ping", "id": request_id})
    assert (reply["type"], reply["code"]) == ("error", "bad_request")
    assert "`id`" in reply["message"]
    assert "id" not in reply


BAD_MESSAGES: list[tuple[object, str]] = [
    ({}, "`action` is missing"),
    ({"action": None}, "`action` is missing"),
    ({"action": 1}, "`action` must be a string"),
    ({"action": "dance"}, "unknown action 'dance'"),
    ([], "a message is an object"),
    ("ping", "a message is an object"),
    (1, "a message is an object"),
    (None, "a message is an object"),
    ({"action": "subscribe"}, "`channel` is missing"),
    ({"action": "subscribe", "channel": 1}, "`channel` must be a string"),
    ({"action": "subscribe", "channel": ""}, "`channel` is empty"),
    ({"action": "subscribe", "channel": " a"}, "white space"),
    ({"action": "subscribe", "channel": "a\n"}, "white space"),
    ({"action": "subscribe", "channel": "a\x00b"}, "control character"),
    ({"action": "subscribe", "channel": "a" * 256}, "256 characters"),
    ({"action": "unsubscribe"}, "`channel` is missing"),
    ({"action": "send", "channel": "a"}, "`event`"),
    ({"action": "send", "event": "e"}, "`channel` is missing"),
    ({"action": "send", "channel": "a", "event": ""}, "`event`"),
    ({"action": "send", "channel": "a", "event": 7}, "`event`"),
    ({"action": "send", "channel": "a", "event": "e", "exclude_self": 1}, "`exclude_self`"),
    ({"action": "send", "channel": "a", "connectionId": "b", "event": "e"}, "not to both"),
    ({"action": "send", "connectionId": 1, "event": "e"}, "`connectionId`"),
    ({"action": "send", "connectionId": "", "event": "e"}, "`connectionId`"),
    ({"action": "send", "channel": "a", "event": "e", "key": 1}, "`key`"),
    ({"action": "refresh"}, "`token`"),
]


@pytest.mark.parametrize("codec", FORMATS)
async def test_every_malformed_message_gets_the_reason_and_the_connection_stays(
    serve: Serve, join: Join, codec: str
) -> None:
    server = await serve()
    client = await join(server, format=codec)
    for message, words in BAD_MESSAGES:
        reply = await client.ask(message)
        assert (reply["type"], reply["code"]) == ("error", "bad_request"), message
        assert words in reply["message"], message
    assert (await client.ask({"action": "ping"}))["type"] == "pong"


NOT_JSON = ["", " ", "{", "nul", '{"action":"ping"}}', "{'action':'ping'}", "[" * 2000, "NaN", '"\\ud800"', "\ufeff"]
NOT_MSGPACK = [b"", b"\xc1", b"\x81\xa1a", b"\x81\x01\x02", b"\xc0\xc0", b"\xdb\xff\xff\xff\xff", b"\x81\xa1\xff\x01"]


@pytest.mark.parametrize("text", NOT_JSON)
async def test_text_that_is_not_json_gets_an_error_and_the_connection_stays(
    serve: Serve, join: Join, text: str
) -> None:
    server = await serve()
    client = await join(server)
    await client.socket.send(text)
    reply = await client.hear()
    assert (reply["type"], reply["code"]) == ("error", "bad_request")
    assert (await client.ask({"action": "ping"}))["type"] == "pong"


@pytest.mark.parametrize("data", NOT_MSGPACK)
async def test_bytes_that_are_not_msgpack_get_an_error_and_the_connection_stays(
    serve: Serve, join: Join, data: bytes
) -> None:
    server = await serve()
    client = await join(server, format="msgpack")
    await client.socket.send(data)
    reply = await client.hear()
    assert (reply["type"], reply["code"]) == ("error", "bad_request")
    assert (await client.ask({"action": "ping"}))["type"] == "pong"


async def test_an_integer_beyond_64_bits_is_refused_not_rounded(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server)
    await client.socket.send('{"action":"send","channel":"a","event":"e","data":18446744073709551616}')
    assert "64 bits" in (await client.hear())["message"]


async def test_a_message_that_a_codec_cannot_encode_is_an_error_only_for_the_sender(serve: Serve, join: Join) -> None:
    server = await serve()
    sender, other = await join(server), await join(server)
    await other.ask({"action": "subscribe", "channel": "deep"})
    deep = "[" * 500 + "]" * 500  # loads to 1024 levels, dumps to 254
    await sender.socket.send('{"action":"send","channel":"deep","event":"e","id":1,"data":' + deep + "}")
    reply = await sender.hear()
    assert (reply["type"], reply["code"], reply["channel"], reply["id"]) == ("error", "bad_request", "deep", 1)
    assert (await sender.ask({"action": "send", "channel": "deep", "event": "e", "data": 2}))["sent"] == 1
    assert (await other.hear())["data"] == 2


async def test_json_is_also_taken_in_a_binary_frame(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server)
    await client.socket.send(b'{"action":"subscribe","channel":"a"}')
    assert (await client.hear())["type"] == "subscription_succeeded"


async def test_channels_are_limited_per_connection_and_come_free_again(serve: Serve, join: Join) -> None:
    server = await serve(max_channels_per_connection=2)
    client = await join(server)
    for name in ("a", "b", "a"):
        assert (await client.ask({"action": "subscribe", "channel": name}))["type"] == "subscription_succeeded"
    refused = await client.ask({"action": "subscribe", "channel": "c"})
    assert (refused["type"], refused["code"], refused["channel"]) == ("error", "too_many_channels", "c")
    await client.ask({"action": "unsubscribe", "channel": "a"})
    assert (await client.ask({"action": "subscribe", "channel": "c"}))["type"] == "subscription_succeeded"


async def test_protected_channels_are_closed_to_the_anonymous_both_ways(serve: Serve, join: Join) -> None:
    server = await serve()
    client = await join(server)
    for name in ("user:1", "workspace:1:x", "execution:1", "workflow:1", "botrix:jobs:updates"):
        sent = await client.ask({"action": "send", "channel": name, "event": "e"})
        assert (sent["type"], sent["code"], sent["channel"]) == ("error", "forbidden", name)
    for name in ("user:1", "workspace:1:x", "execution:1", "workflow:1"):
        refused = await client.ask({"action": "subscribe", "channel": name})
        assert (refused["type"], refused["code"], refused["channel"]) == ("error", "forbidden", name)


LOOKS_LIKE = {
    "no": (
        "USER:u2",
        "user:u2\u200b",
        "user\uff1au2",
        "us\u0435r:u2",
        "user%3Au2",
        "user:*",
        "user:**",
        "*",
        "**",
        "../user:u2",
    ),
    "never": ("user:u2 ", "\tuser:u2", "user:u2\x00", "user:u2\n", "user:u2\x85", "", "x" * 256, "x" * 10_240),
}


@pytest.mark.parametrize("path", ["/", "/api/v1/ws"])
async def test_a_name_that_only_resembles_a_users_channel_opens_nothing(serve: Serve, join: Join, path: str) -> None:
    server = await serve()
    owner = await join(server, "/api/v1/ws", token=server.tokens.sign("u2"))
    field, verb = ("channel", "action") if path == "/" else ("room_id", "type")
    spy = await join(server, path, token=server.tokens.sign("u1"))

    async def refusal(name: str) -> Message:
        answer = await spy.ask({verb: "subscribe", field: name})
        return {key: value for key, value in answer.items() if value != name}

    # A channel that exists and one that does not are refused with the same text.
    assert await refusal("user:u2") == await refusal("user:nobody")
    for name in LOOKS_LIKE["no"]:  # a separate channel, which is open to all clients or to none
        await spy.ask({verb: "subscribe", field: name})
    for name in LOOKS_LIKE["never"]:
        assert (await spy.ask({verb: "subscribe", field: name}))["type"] == "error"
    for channel in ("user:u2", "workspace:w", "execution:1"):
        await server.broadcaster.publish(channel, "secret")
    assert (await owner.hear())["event"] == "secret"
    await spy.hears_nothing()


async def test_a_token_says_which_channels(serve: Serve, join: Join) -> None:
    server = await serve()
    token = server.tokens.sign("u1", channels=["logs:*"], publish=["chat:{sub}"])
    client = await join(server, token=token)
    for name, kind in (("logs:1", "subscription_succeeded"), ("logs:1:2", "error"), ("news", "error")):
        assert (await client.ask({"action": "subscribe", "channel": name}))["type"] == kind
    for name, kind in (("chat:u1", "send_success"), ("chat:u2", "error"), ("user:u1", "send_success")):
        assert (await client.ask({"action": "send", "channel": name, "event": "e"}))["type"] == kind


async def test_a_protected_feed_is_closed_to_the_anonymous_in_its_own_dialect_too(serve: Serve, join: Join) -> None:
    server = await serve(protected_channels=("botrix:**",), mounts=("/jobs=jobs",))

    def token(**claims: object) -> str:
        return jwt.encode({"sub": "u1", "exp": time.time() + 600, **claims}, SECRET)

    for path, given, status in (("/ws", {}, 401), ("/jobs", {}, 401), ("/jobs", {"token": token()}, 403)):
        with pytest.raises(InvalidStatus) as refusal:
            await join(server, path, greets=False, **given)
        assert refusal.value.response.status_code == status
    listener = await join(server, "/jobs", greets=False, token=token(channels=["botrix:jobs:*"]))
    await server.broadcaster.publish("botrix:jobs:updates", "job_update", {"job_id": "1", "status": "done"})
    assert (await listener.hear())["job_id"] == "1"


async def test_no_client_can_send_the_servers_own_events_to_a_workspace(serve: Serve, join: Join) -> None:
    server = await serve()
    token = server.tokens.sign("u1", workspaces=["w1"])
    sender, member = await join(server, token=token), await join(server, "/ws", token=token)
    said = set()
    for message in ({"type": "ping"}, {"type": "nonsense"}, {"type": "request_metrics"}, {"type": "refresh"}):
        said.add((await member.ask(message))["event"])
    for kind in ("subscribe", "unsubscribe"):
        said.add((await member.ask({"type": kind, "event_types": ["*"]}))["event"])
    said.add((await member.ask({"type": "refresh", "token": token}))["event"])
    assert len(said) == 6
    for event in sorted(said | {"connected", "gap", "lag"}):
        refused = await sender.ask({"action": "send", "channel": "workspace:w1", "event": event})
        assert (refused["type"], refused["code"], refused["channel"]) == ("error", "forbidden", "workspace:w1")
        assert (await sender.ask({"action": "send", "channel": "open", "event": event}))["type"] == "send_success"
    await member.hears_nothing()


async def test_a_message_rate_refuses_and_then_closes(serve: Serve, join: Join) -> None:
    server = await serve(message_rate=0.001, message_burst=5)
    client = await join(server)
    for _ in range(5):
        assert (await client.ask({"action": "ping"}))["type"] == "pong"
    refused = await client.ask({"action": "ping"})
    assert (refused["type"], refused["code"]) == ("error", "rate_limited")
    for _ in range(200):
        await client.say({"action": "ping"})
    code, reason = await client.end()
    assert (code, reason) == (1008, "too many messages")
    assert server.counters.rate_limited["message"] >= 100


async def test_a_message_rate_holds_after_the_first_burst(serve: Serve, join: Join) -> None:
    server = await serve(message_rate=50.0, message_burst=10)
    begun = time.monotonic()
    client = await join(server)
    replies = [await client.ask({"action": "ping"}) for _ in range(60)]
    done = sum(reply["type"] == "pong" for reply in replies)
    assert 10 <= done <= 10 + 50.0 * (time.monotonic() - begun)
    assert server.counters.rate_limited.get("message", 0) == 60 - done
    assert server.counters.received["channels"] == 60


async def test_pings_and_a_close_behind_messages_over_the_rate_are_answered(serve: Serve, open_raw: OpenRaw) -> None:
    server = await serve(message_rate=0.001, message_burst=2)
    raw = await open_raw(server)
    await raw.receive()
    frames = [(Opcode.TEXT, b'{"action":"ping"}')] * 4
    frames += [(Opcode.PING, b"still?"), (Opcode.TEXT, b"{}"), (Opcode.CLOSE, b"\x03\xe8"), (Opcode.PING, b"late")]
    await raw.send_bytes(b"".join(Frame(opcode, payload).serialize(mask=True) for opcode, payload in frames))
    heard = [await raw.receive() for _ in range(5)]
    assert [opcode for opcode, _ in heard] == [Opcode.TEXT, Opcode.TEXT, Opcode.TEXT, Opcode.PONG, Opcode.CLOSE]
    assert b"3 were not processed" in heard[2][1]
    assert heard[3][1] == b"still?"
    assert await raw.receive_end() == b""
    assert server.counters.rate_limited["message"] == 3


def test_the_default_rate_lets_a_burst_of_a_thousand_pass() -> None:
    config = load({})
    assert config.message_burst >= 1000
    assert config.message_rate >= 1000


async def test_integer_keys_of_msgpack_reach_readers_of_both_codecs(serve: Serve, join: Join) -> None:
    server = await serve()
    packed, plain = await join(server, format="msgpack"), await join(server)
    for client in (packed, plain):
        await client.ask({"action": "subscribe", "channel": "c"})
    send = {"action": "send", "channel": "c", "event": "e"}
    # Both in one read: the second must not suffer from the first, nor lose its id.
    for number, data in enumerate([{1: {2: "x"}}, {"n": 1}]):
        await packed.say({**send, "data": data, "id": number})
    heard = [await packed.hear() for _ in range(4)]
    assert [message["id"] for message in heard if "id" in message] == [0, 1]
    assert [message["data"] for message in heard if "data" in message] == [{1: {2: "x"}}, {"n": 1}]
    assert [(await plain.hear())["data"] for _ in range(2)] == [{"1": {"2": "x"}}, {"n": 1}]
