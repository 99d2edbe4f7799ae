"""The channels dialect: commands, errors, replies and deliveries (spec 3.1)."""

from __future__ import annotations

import json

import pytest

from fastws.codec.json_text import JSON
from fastws.dialects.channels import CHANNELS
from fastws.dialects.dialect import StartingChannels
from fastws.errors import BadRequest, UnknownAction
from fastws.vocabulary.commands import Command, Ping, Refresh, Send, SendDirect, Subscribe, Unsubscribe
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Connected, Failure, FilterChanged, Gap, Lag, Left, Refreshed, Reply, Sent

STARTING = StartingChannels()


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ({"action": "subscribe", "channel": "news"}, Subscribe("news")),
        ({"action": "unsubscribe", "channel": "news"}, Unsubscribe("news")),
        ({"action": "ping"}, Ping()),
        ({"type": "ping"}, Ping()),
        ({"action": "subscribe", "type": "ping", "channel": "a"}, Subscribe("a")),
        ({"action": "refresh", "token": "x.y.z"}, Refresh("x.y.z")),
        ({"action": "send", "channel": "c", "event": "e"}, Send("c", "e")),
        (
            {"action": "send", "channel": "c", "event": "e", "data": [1], "exclude_self": True, "key": "k"},
            Send("c", "e", [1], exclude_self=True, key="k"),
        ),
        ({"action": "send", "connectionId": "x", "event": "e", "data": 1}, SendDirect("x", "e", 1)),
    ],
)
def test_a_message_is_a_command(message: object, command: Command) -> None:
    assert CHANNELS.parse(message) == command


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ([], "a message is an object"),
        ({"action": "subscribe"}, "`channel` is missing: it must be a channel name"),
        ({"action": "refresh", "token": 1}, "`token` must be a string"),
        ({"action": "send", "channel": "c"}, "`event` must be a string of 1 to 255 characters"),
        ({"action": "send", "channel": "c", "event": "e" * 256}, "`event` must be a string of 1 to 255 characters"),
        ({"action": "send", "event": "e"}, "`channel` is missing"),
        ({"action": "send", "channel": "c", "event": "e", "exclude_self": 1}, "`exclude_self` must be true or false"),
        ({"action": "send", "channel": "c", "event": "e", "key": "k" * 256}, "`key` must be a string of at most 255"),
        ({"action": "send", "channel": "c", "event": "e", "connectionId": "x"}, "not to both"),
        ({"action": "send", "event": "e", "connectionId": ""}, "`connectionId` must be a string: the connection_id of"),
    ],
)
def test_an_invalid_message_names_the_fault(message: object, text: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        CHANNELS.parse(message)
    assert text in str(refusal.value)
    assert not isinstance(refusal.value, UnknownAction)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({}, "`action` is missing: one of history, ping, presence, refresh, send, subscribe, unsubscribe"),
        ({"action": 1}, "`action` must be a string: one of history, ping"),
        ({"action": "x" * 100}, f"unknown action '{'x' * 64}': one of history, ping"),
    ],
)
def test_an_unknown_action_lists_the_known_ones_and_may_be_the_applications(message: object, text: str) -> None:
    with pytest.raises(UnknownAction) as refusal:
        CHANNELS.parse(message)
    assert str(refusal.value).startswith(text)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Connected("c1", "w1"), {"type": "connection_id", "connection_id": "c1"}),
        (Sent("news", None, 2, 1), {"type": "send_success", "channel": "news", "sent": 2, "failed": 1}),
        (Sent(None, "c2", 1, 0), {"type": "send_success", "connectionId": "c2", "sent": 1, "failed": 0}),
        (Failure("forbidden", "no"), {"type": "error", "code": "forbidden", "message": "no"}),
        (Failure("forbidden", "no", "a"), {"type": "error", "code": "forbidden", "message": "no", "channel": "a"}),
        (Gap("a"), {"type": "gap", "channel": "a"}),
        (Lag("a", 3), {"type": "lag", "channel": "a", "dropped": 3}),
        (Refreshed(1762689600.9), {"type": "refreshed", "expires": 1762689600}),
        (Left("a"), {"type": "unsubscribe_succeeded", "channel": "a", "reason": "forbidden"}),
        (FilterChanged(None), None),
    ],
)
def test_a_reply_is_a_message_or_none(reply: Reply, message: dict[str, object] | None) -> None:
    assert CHANNELS.reply(reply, STARTING) == message


def test_a_delivery_names_the_sender_if_there_is_one_and_the_channel_unless_it_is_direct() -> None:
    assert CHANNELS.delivery(Publication("a", "e", 1)) == {"channel": "a", "event": "e", "data": 1}
    assert CHANNELS.delivery(Publication("", "e", None, sender="c1")) == {"event": "e", "data": None, "from": "c1"}


def test_a_request_keeps_its_id_also_if_it_is_invalid() -> None:
    [valid] = CHANNELS.requests(1, json.dumps({"id": 7, "action": "ping"}).encode(), JSON)
    [invalid] = CHANNELS.requests(1, json.dumps({"id": "a", "action": "subscribe"}).encode(), JSON)
    assert valid == (7, Ping())
    assert invalid[0] == "a"
    assert isinstance(invalid[1], BadRequest)
    assert CHANNELS.with_id({"type": "pong"}, 7) == {"type": "pong", "id": 7}
