"""The dialect of Pusher clients without a server: parsing, deciding, and the table of data in all directions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.access.pusher_signatures import is_signed, sign
from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.dialects.channels import CHANNELS
from fastws.dialects.pusher import Pusher, PusherDialects, StartingPusher
from fastws.dialects.pusher_messages import as_published
from fastws.errors import BadRequest, FastWSError, InvalidText, ReservedEvent
from fastws.vocabulary.commands import Answer, Command, Decide, Ping, Relay, SignIn, Subscribe, Unsubscribe
from fastws.vocabulary.publication import Encoded, Publication
from fastws.vocabulary.pusher_apps import PusherApp
from fastws.vocabulary.replies import Failure, Gap, Lag
from fastws.vocabulary.socket_ids import SocketIds

APP = PusherApp(id="1", secrets={"key": "secret"}, client_events=True, client_event_rate=2.0)
IDS = SocketIds(b"x")


def dialect(app: PusherApp = APP) -> Pusher:
    return Pusher(app, is_signed, IDS, lambda name: name.startswith("user:"))


class Client:
    """A connection as the dialect sees it; the test moves its clock."""

    id = "12.34"

    def __init__(self, of: Pusher) -> None:
        self.state = of.admit(None, {})
        self.now = 1000.0
        self.channels: set[str] = set()

    def is_subscribed(self, channel: str) -> bool:
        return channel in self.channels


def ask(of: Pusher, client: Client, message: object) -> Any:
    """What the dialect decides about a message."""
    ((_, command),) = of.requests(1, json.dumps(message).encode(), JSON)
    return command.decide(client) if isinstance(command, Decide) else command


@given(
    st.binary() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_whatever_comes_is_a_request_or_an_error(payload: bytes) -> None:
    try:
        found = dialect().requests(1, payload, JSON)
    except InvalidText:
        return
    assert all(isinstance(command, Command | FastWSError) for _, command in found)


VALUES = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
EVENTS = st.sampled_from(["pusher:subscribe", "pusher:unsubscribe", "pusher:signin", "pusher:x", "client-a", "a", ""])
NAMES = st.sampled_from(
    ["a", "private-a", "presence-a", "#server-to-user-a", "#server-to-user-", "", "x" * 201, "user:a"]
)


@given(
    EVENTS,
    st.fixed_dictionaries(
        {}, optional={"channel": NAMES | VALUES, "auth": VALUES, "channel_data": VALUES, "user_data": VALUES}
    )
    | VALUES,
    NAMES | VALUES,
)
def test_no_message_without_a_signature_opens_anything(event: str, data: object, channel: object) -> None:
    of = dialect()
    client = Client(of)
    try:
        decided = ask(of, client, {"event": event, "data": data, "channel": channel})
    except FastWSError:
        return
    if isinstance(decided, Subscribe):
        assert not decided.channel.removeprefix("pusher:1:").startswith(("private-", "presence-", "#"))
    else:
        assert decided is None or isinstance(decided, Answer | Unsubscribe | BadRequest)


def test_unsubscribe_and_ping() -> None:
    of = dialect()
    assert ask(of, Client(of), {"event": "pusher:unsubscribe", "data": {"channel": "a"}}) == Unsubscribe("pusher:1:a")
    assert ask(of, Client(of), {"event": "pusher:ping"}) == Ping()
    assert of.requests(1, b'{"event":"pusher:pong"}', JSON) == ()


def test_a_signed_in_user_is_that_of_the_application() -> None:
    of = dialect()
    client = Client(of)
    text = '{"id":7}'
    auth = f"key:{sign('secret', f'12.34::user::{text}')}"
    decided = ask(of, client, {"event": "pusher:signin", "data": {"auth": auth, "user_data": text}})
    assert isinstance(decided, SignIn)
    assert (decided.realm, decided.user) == ("1", "7")
    assert isinstance(client.state, StartingPusher)
    assert client.state.user == "7"
    assert client.state.is_proven


def test_a_burst_of_client_events_passes_and_then_the_rate() -> None:
    of = dialect()
    client = Client(of)
    client.channels.add("pusher:1:private-a")
    event = {"event": "client-x", "channel": "private-a", "data": 1}
    assert [isinstance(ask(of, client, event), Relay) for _ in range(3)] == [True, True, False]
    # One error a second.
    assert ask(of, client, event) is None
    client.now += 0.5
    assert isinstance(ask(of, client, event), Relay)
    assert ask(of, client, event) is None
    client.now += 0.5
    assert isinstance(ask(of, client, event), Relay)
    assert isinstance(ask(of, client, event), Answer)


@pytest.mark.parametrize(
    ("text", "others"),
    [('{"n": 1}', {"n": 1}), ("hi", "hi"), ('"hi"', "hi"), ("", ""), ("[1,", "[1,"), ("12", 12), ("ü", "ü")],
)
def test_data_of_the_http_api_and_of_client_events(text: str, others: object) -> None:
    body, form = as_published(text)
    publication = Publication("pusher:1:c", "e", body, attributes={"data": form})
    assert json.loads(JSON.dumps(dialect().delivery(publication)))["data"] == text
    assert json.loads(JSON.dumps(CHANNELS.delivery(publication)))["data"] == others
    # The same after Redis.
    arrived = Publication("pusher:1:c", "e", Encoded("json", JSON.dumps(body)), attributes={"data": form})
    assert json.loads(JSON.dumps(dialect().delivery(arrived)))["data"] == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("hi", '"hi"'),
        (None, "null"),
        ({"a": [1]}, '{"a":[1]}'),
        (Encoded("json", b'{"a": 1}'), '{"a": 1}'),
        (Encoded("msgpack", MSGPACK.dumps({"a": "ü"})), '{"a":"ü"}'),
    ],
)
def test_data_of_any_other_source_is_its_json_text(data: object, text: str) -> None:
    publication = Publication("pusher:1:c", "e", data, "type", "sender", 1, "high", 7)
    assert dialect().delivery(publication) == {"event": "e", "channel": "c", "data": text}


def test_reserved_events_are_not_delivered() -> None:
    for event in ("pusher:error", "pusher_internal:x"):
        with pytest.raises(ReservedEvent):
            dialect().delivery(Publication("pusher:1:c", event))
    assert dialect().delivery(Publication("", "pusher-x"))["event"] == "pusher-x"


def test_notices_and_failures() -> None:
    of, starting = dialect(), dialect().admit(None, {})
    assert of.reply(Gap("pusher:1:c"), starting) == {"event": "fastws:gap", "channel": "c", "data": "{}"}
    assert of.reply(Lag("pusher:1:c", 3), starting) == {"event": "fastws:lag", "data": '{"dropped":3}'}
    failed = of.reply(Failure("too_many_channels", "m", "pusher:1:c"), starting)
    assert failed == {
        "event": "pusher:subscription_error",
        "channel": "c",
        "data": {"type": "LimitReached", "error": "m", "status": 4100},
    }


@pytest.mark.parametrize(
    ("label", "code", "is_told"),
    [("drain", 4100, True), ("slow_consumer", 4100, False), ("idle", 4201, True), ("operator", 1000, False)],
)
def test_how_a_connection_ends(label: str, code: int, is_told: bool) -> None:
    parting = dialect().parting(1000, "r", label)
    assert (parting.code, parting.message is not None) == (code, is_told)


def test_the_dialects_of_all_keys() -> None:
    shared = PusherApp(id="2", secrets={"b": "t", "c": "u"}, is_shared=True)
    dialects = PusherDialects({"key": APP, "b": shared, "c": shared}, is_signed, IDS, lambda _: False)
    assert dialects.of_key("b") is dialects.of_key("c")
    assert dialects.of_key("key").admit(None, {}).dismissal is None
    refused = dialects.of_key("x").admit(None, {}).dismissal
    assert refused is not None
    assert refused.dismissal_code == 4001
    assert dialects.has_members("pusher:1:presence-x")
    assert dialects.has_members("presence-x")
    assert not dialects.has_members("pusher:2:presence-x")
    assert not dialects.has_members("pusher:1:private-x")


def test_presence_channels_that_were_left_are_forgotten() -> None:
    pusher = Pusher(APP, lambda *_: True, IDS, lambda _: False)
    client = Client(pusher)
    for number in range(1000):
        data = {"channel": f"presence-{number}", "auth": "key:x", "channel_data": '{"user_id":"u"}'}
        found = ask(pusher, client, {"event": "pusher:subscribe", "data": data})
        if number == 0:
            client.channels = {found.channel}
    assert "pusher:1:presence-0" in client.state.client.member_of
    assert len(client.state.client.member_of) <= 64
