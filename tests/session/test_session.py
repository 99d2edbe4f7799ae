"""Sessions that wait for the broker, an authorizer or both, and the messages that arrive meanwhile."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from websockets.frames import Frame, Opcode

from fastws.codec.codec import Codec
from fastws.dialects.channels import Channels
from fastws.dialects.mount import Mount
from fastws.errors import BrokerUnavailable
from fastws.vocabulary.commands import Request
from tests.serving import Join, OpenRaw, Talker
from tests.session.late_broker import ServeLate, until


async def heard_in_order(client: Talker, count: int) -> list[object]:
    """The ids of the next replies."""
    return [(await client.hear()).get("id") for _ in range(count)]


async def test_a_subscription_is_confirmed_when_the_broker_receives_the_channel_and_nothing_overtakes_it(
    serve_late: ServeLate, join: Join
) -> None:
    server = await serve_late()
    client, other = await join(server), await join(server)
    await client.say({"action": "subscribe", "channel": "a", "id": 1})
    for number in range(2, 2000):
        await client.say({"action": "ping", "id": number})
    await until(lambda: server.late_broker.waiting)
    await other.hears_nothing()
    server.late_broker.confirm("a")
    assert await heard_in_order(client, 1999) == list(range(1, 2000))


class Lines(Channels):
    """A dialect with several requests per frame, one per line."""

    name = "lines"

    def requests(self, opcode: int, payload: bytes, codec: Codec) -> tuple[Request, ...]:
        return tuple(
            request for line in payload.splitlines() for request in super(Lines, self).requests(opcode, line, codec)
        )


async def test_the_requests_of_one_frame_are_done_in_order_though_one_has_to_wait(
    serve_late: ServeLate, join: Join
) -> None:
    server = await serve_late()
    server.mounts.table["/lines"] = Mount("lines", Lines(), Lines())
    client, other = await join(server, "/lines"), await join(server)
    requests = [{"action": "subscribe", "channel": "a"}, {"action": "ping"}, {"action": "nonsense"}, {"action": "ping"}]
    lines = [orjson.dumps({**request, "id": number}) for number, request in enumerate(requests)]
    await client.socket.send(b"\n".join(lines).decode())
    await client.say({"action": "ping", "id": 4})
    await until(lambda: server.late_broker.waiting)
    await other.hears_nothing()
    server.late_broker.confirm("a")
    heard = [await client.hear() for _ in range(5)]
    assert [message.get("id") for message in heard] == [0, 1, 2, 3, 4]
    assert [message["type"] for message in heard] == ["subscription_succeeded", "pong", "error", "pong", "pong"]


async def test_two_clients_that_wait_for_the_same_channel_both_receive_it(serve_late: ServeLate, join: Join) -> None:
    server = await serve_late()
    clients = [await join(server) for _ in range(2)]
    for client in clients:
        await client.say({"action": "subscribe", "channel": "a"})
    await until(lambda: len(server.late_broker.waiting.get("a", ())) == 2)
    server.late_broker.confirm("a")
    for client in clients:
        assert (await client.hear())["type"] == "subscription_succeeded"
    assert (await clients[0].ask({"action": "send", "channel": "a", "event": "e"}))["event"] == "e"
    assert (await clients[1].hear())["event"] == "e"


async def test_a_client_that_leaves_while_it_waits_is_not_subscribed_and_the_broker_unlistens(
    serve_late: ServeLate, join: Join
) -> None:
    server = await serve_late()
    client = await join(server)
    await client.say({"action": "subscribe", "channel": "a"})
    await until(lambda: server.late_broker.waiting)
    server.roster.clients[client.id].end(1000, "", label="test")
    assert (await client.end())[0] == 1000
    server.late_broker.confirm("a")
    assert server.late_broker.unlistened == ["a"]
    assert server.hub.channels == {}


async def test_a_waiting_client_can_be_closed_at_once(serve_late: ServeLate, join: Join) -> None:
    """Reading is paused, but the answer to our close is read, so the close needs no deadline."""
    server = await serve_late()
    client = await join(server)
    await client.say({"action": "subscribe", "channel": "a"})
    await until(lambda: server.late_broker.waiting)
    server.roster.clients[client.id].end(1012, "restart", label="test")
    assert await client.end() == (1012, "restart")
    async with asyncio.timeout(1):
        await server.gate.until_empty()


async def test_a_rooms_client_is_greeted_once_the_broker_receives_its_own_room(
    serve_late: ServeLate, join: Join
) -> None:
    server = await serve_late()
    client = await join(server, "/api/v1/ws", token=server.tokens.sign("u1"), greets=False)
    await client.say({"type": "ping", "id": "early"})
    await until(lambda: server.late_broker.waiting)
    server.late_broker.confirm("user:u1")
    assert (await client.hear())["event"] == "connected"
    assert (await client.hear())["id"] == "early"


async def test_a_publication_that_the_broker_does_not_take_is_an_error_with_its_id(
    serve_late: ServeLate, join: Join
) -> None:
    server = await serve_late()
    client = await join(server)
    server.late_broker.is_away = True
    assert await client.ask({"action": "send", "channel": "a", "event": "e", "id": "x"}) == {
        "type": "error",
        "code": "broker_unavailable",
        "message": "Redis is away",
        "channel": "a",
        "id": "x",
    }


class Application:
    """An authorizer that answers when the test sets `may_answer`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str, str]] = []
        self.answers: dict[str, bool] = {}
        self.may_answer = asyncio.Event()

    async def decide(self, user: str | None, action: str, channel: str, claims: object) -> bool:
        self.asked.append((user, action, channel))
        await self.may_answer.wait()
        return self.answers.get(channel, True)


@pytest.fixture
def application() -> Iterator[Application]:
    module = types.ModuleType("an_application_that_decides")
    decider = Application()
    module.decide = decider.decide  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    yield decider
    del sys.modules[module.__name__]


AUTHORIZER = "an_application_that_decides:decide"


async def test_while_an_authorizer_is_asked_only_that_client_waits(
    serve_late: ServeLate, join: Join, application: Application
) -> None:
    server = await serve_late(authorizer=AUTHORIZER)
    client, other = await join(server), await join(server)
    application.answers["closed"] = False
    await client.say({"action": "send", "channel": "open", "event": "e", "id": 1})
    await client.say({"action": "send", "channel": "closed", "event": "e", "id": 2})
    await client.say({"action": "ping", "id": 3})
    await until(lambda: application.asked)
    await other.hears_nothing()
    assert application.asked == [(None, "publish", "open")]
    application.may_answer.set()
    replies = [await client.hear() for _ in range(3)]
    assert [reply["id"] for reply in replies] == [1, 2, 3]
    assert replies[0]["type"] == "send_success"
    assert (replies[1]["type"], replies[1]["code"], replies[1]["channel"]) == ("error", "forbidden", "closed")
    assert replies[2]["type"] == "pong"


async def test_an_authorizer_is_asked_about_direct_sends_too(
    serve_late: ServeLate, join: Join, application: Application
) -> None:
    server = await serve_late(authorizer=AUTHORIZER)
    sender, target = await join(server), await join(server)
    application.may_answer.set()
    application.answers[f"connection:{target.id}"] = False
    for client, kind in ((target, "error"), (sender, "send_success")):
        reply = await sender.ask({"action": "send", "connectionId": client.id, "event": "e", "id": 1})
        if kind == "send_success":
            reply, message = await sender.hear(), reply
            assert message["from"] == sender.id
        assert (reply["type"], reply["id"]) == (kind, 1)
    assert application.asked == [(None, "publish", f"connection:{client.id}") for client in (target, sender)]
    await target.hears_nothing()


async def test_a_wait_for_the_authorizer_and_then_for_the_broker_is_one_wait(
    serve_late: ServeLate, join: Join, application: Application
) -> None:
    server = await serve_late(authorizer=AUTHORIZER)
    client = await join(server)
    for number in range(1, 4):
        await client.say(
            {"action": "ping", "id": number} if number > 1 else {"action": "subscribe", "channel": "a", "id": 1}
        )
    await until(lambda: application.asked)
    application.may_answer.set()
    await until(lambda: server.late_broker.waiting)
    await client.say({"action": "ping", "id": 4})
    server.late_broker.confirm("a")
    assert await heard_in_order(client, 4) == [1, 2, 3, 4]


async def test_an_answer_is_asked_once_for_a_while(serve_late: ServeLate, join: Join, application: Application) -> None:
    server = await serve_late(authorizer=AUTHORIZER)
    application.may_answer.set()
    client = await join(server)
    for _ in range(3):
        assert (await client.ask({"action": "send", "channel": "a", "event": "e"}))["type"] == "send_success"
    assert application.asked == [(None, "publish", "a")]


async def test_a_client_that_leaves_while_an_authorizer_is_asked_leaves_nothing_behind(
    serve_late: ServeLate, join: Join, application: Application
) -> None:
    server = await serve_late(authorizer=AUTHORIZER)
    client = await join(server)
    await client.say({"action": "subscribe", "channel": "a"})
    await until(lambda: application.asked)
    server.roster.clients[client.id].end(1000, "", label="test")
    await client.end()
    application.may_answer.set()
    await server.assembly.tasks.until_done()
    assert server.late_broker.waiting == {}
    assert server.hub.channels == {}


async def test_only_backends_may_send_to_the_jobs_feed_whatever_an_authorizer_answers(
    serve_late: ServeLate, join: Join, application: Application
) -> None:
    server = await serve_late(authorizer=AUTHORIZER)
    client = await join(server)
    reply = await client.ask({"action": "send", "channel": "botrix:jobs:updates", "event": "e"})
    assert (reply["type"], reply["code"]) == ("error", "forbidden")
    assert application.asked == []


async def test_messages_that_wait_are_counted_and_charged_once_when_they_are_read(
    serve_late: ServeLate, open_raw: OpenRaw
) -> None:
    server = await serve_late(message_rate=0.001, message_burst=100)
    raw = await open_raw(server)
    await raw.receive()
    names = [f"c{number}" for number in range(100)]
    await raw.send_bytes(b"".join(text_frame({"action": "subscribe", "channel": name}) for name in names))
    for name in names:
        await until(lambda name=name: name in server.late_broker.waiting)
        server.late_broker.confirm(name)
        assert orjson.loads((await raw.receive())[1]) == {"type": "subscription_succeeded", "channel": name}
    assert server.counters.received == {"channels": 100}
    assert server.counters.rate_limited == {}
    await raw.send_bytes(text_frame({"action": "ping"}))
    assert orjson.loads((await raw.receive())[1])["code"] == "rate_limited"


async def test_control_frames_are_neither_counted_nor_charged(serve_late: ServeLate, open_raw: OpenRaw) -> None:
    server = await serve_late(message_rate=0.001, message_burst=2)
    raw = await open_raw(server)
    await raw.receive()
    ping = Frame(Opcode.PING, b"p").serialize(mask=True)
    await raw.send_bytes(ping * 50 + text_frame({"action": "ping"}) + ping * 50 + text_frame({"action": "ping"}))
    opcodes = [(await raw.receive())[0] for _ in range(102)]
    assert opcodes == [Opcode.PONG] * 50 + [Opcode.TEXT] + [Opcode.PONG] * 50 + [Opcode.TEXT]
    assert server.counters.received == {"channels": 2}
    assert server.counters.rate_limited == {}


async def test_messages_over_the_rate_are_refused_when_they_are_read_and_a_ping_among_them_keeps_its_turn(
    serve_late: ServeLate, open_raw: OpenRaw
) -> None:
    server = await serve_late(message_rate=0.001, message_burst=3)
    raw = await open_raw(server)
    await raw.receive()
    ask = {"action": "ping"}
    written = [{"action": "subscribe", "channel": "a"}, {**ask, "id": 2}, {**ask, "id": 3}, {**ask, "id": 4}]
    ping = Frame(Opcode.PING, b"p").serialize(mask=True)
    await raw.send_bytes(b"".join(map(text_frame, written)) + ping + text_frame({**ask, "id": 5}))
    assert "2 were not processed" in orjson.loads((await raw.receive())[1])["message"]
    await until(lambda: server.late_broker.waiting)
    server.late_broker.confirm("a")
    heard = [await raw.receive() for _ in range(4)]
    assert orjson.loads(heard[0][1])["type"] == "subscription_succeeded"
    assert [orjson.loads(payload)["id"] for _, payload in heard[1:3]] == [2, 3]
    assert heard[3] == (Opcode.PONG, b"p")
    assert server.counters.received == {"channels": 5}
    assert server.counters.rate_limited == {"message": 2}


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def passed(client: Talker, count: int) -> int:
    """How many of `count` messages, one after the other, were done."""
    replies = [await client.ask({"action": "ping"}) for _ in range(count)]
    assert {reply["type"] for reply in replies} <= {"pong", "error"}
    return sum(reply["type"] == "pong" for reply in replies)


async def test_the_rate_applies_after_the_first_burst(serve_late: ServeLate, join: Join) -> None:
    server = await serve_late(message_rate=8.0, message_burst=4)
    server.services.clock = clock = Clock()
    client = await join(server)
    assert await passed(client, 5) == 4
    for seconds, messages in ((0.0, 0), (0.125, 1), (0.0625, 0), (0.0625, 1), (0.25, 2), (0.5, 4), (3600.0, 4)):
        clock.now += seconds
        assert await passed(client, 6) == messages, seconds
    # A pause that fills the burst only in part leaves no more than was filled.
    clock.now += 0.25
    assert await passed(client, 1) == 1
    clock.now += 0.25
    assert await passed(client, 6) == 3


async def test_refusals_are_forgotten_when_the_whole_burst_is_there_again(serve_late: ServeLate, join: Join) -> None:
    server = await serve_late(message_rate=8.0, message_burst=4)
    server.services.clock = clock = Clock()
    client = await join(server)
    assert await passed(client, 104) == 4
    clock.now += 0.5
    assert await passed(client, 104) == 4
    clock.now += 0.375  # all but one
    assert await passed(client, 3) == 3
    await client.say({"action": "ping"})
    assert await client.end() == (1008, "too many messages")


async def test_a_client_that_reads_nothing_is_charged_once_for_what_waits_for_it(
    serve_late: ServeLate, open_raw: OpenRaw, tmp_path: Path
) -> None:
    """Its messages wait until it has read, and are not charged again when they are processed."""
    count = 5000
    path = str(tmp_path / "socket")
    server = await serve_late(message_rate=0.001, message_burst=count, unix_socket=path, allow_anonymous=True)
    raw = await open_raw(server, limit=1024)
    await raw.receive()
    padding = "x" * 250
    for number in range(count):
        raw.writer.write(text_frame({"action": "subscribe", "channel": "", "id": f"{number}{padding}"}))
    (connection,) = server.roster.clients.values()
    await until(lambda: connection.session.is_held)
    for number in range(count):
        reply = orjson.loads((await raw.receive())[1])
        assert (reply["code"], reply["id"]) == ("bad_request", f"{number}{padding}")
    assert server.counters.received == {"channels": count}
    assert server.counters.rate_limited == {}


def text_frame(message: object) -> bytes:
    return Frame(Opcode.TEXT, orjson.dumps(message)).serialize(mask=True)


async def test_channels_that_the_broker_has_not_confirmed_count_for_the_maximum(
    serve_late: ServeLate, join: Join
) -> None:
    server = await serve_late(max_channels=2)
    clients = [await join(server) for _ in range(4)]
    for client, channel in zip(clients, "aab", strict=False):
        await client.say({"action": "subscribe", "channel": channel})
    await until(lambda: set(server.broker.waiting) == {"a", "b"} and len(server.broker.waiting["a"]) == 2)
    reply = await clients[3].ask({"action": "subscribe", "channel": "c"})
    assert (reply["code"], reply["channel"]) == ("too_many_channels", "c")
    server.broker.refuse("b", BrokerUnavailable("away"))
    assert (await clients[2].hear())["code"] == "broker_unavailable"
    server.broker.confirm("a")
    for client in clients[:2]:
        assert (await client.hear())["type"] == "subscription_succeeded"
    assert server.services.pending_channels == {}
    await clients[3].say({"action": "subscribe", "channel": "c"})
    await until(lambda: "c" in server.broker.waiting)
    await clients[3].socket.close()
    server.broker.confirm("c")
    await until(lambda: server.services.pending_channels == {})
