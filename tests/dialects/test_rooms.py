"""The rooms dialect."""

from __future__ import annotations

import pytest

from fastws.dialects.dialect import StartingChannels
from fastws.dialects.rooms import ROOMS
from fastws.errors import BadRequest, Unauthorized
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Encoded, Publication
from fastws.vocabulary.replies import Failure, FilterChanged, Gap, Lag, Left, Reply, Sent, Unsubscribed


def test_a_user_is_in_its_own_room_from_the_start() -> None:
    assert ROOMS.needs_token
    assert ROOMS.admit(Identity("u1"), {}) == StartingChannels(channels=("user:u1",))


def test_clients_without_an_identity_are_not_admitted() -> None:
    with pytest.raises(Unauthorized):
        ROOMS.admit(None, {})


@pytest.mark.parametrize(
    ("room", "type_"),
    [
        ("execution:1", "execution_update"),
        ("workflow:1", "workflow_update"),
        ("user:1", "notification"),
        ("execution:", "execution_update"),
        ("execution", "message"),
        ("executions:1", "message"),
        ("workspace:1", "message"),
        ("admin", "message"),
        ("", "message"),
    ],
)
def test_the_type_follows_from_the_kind_of_room_where_the_publisher_gave_none(room: str, type_: str) -> None:
    assert ROOMS.delivery(Publication(room, "e", 1, timestamp="t")) == {
        "type": type_,
        "event": "e",
        "data": 1,
        "timestamp": "t",
    }
    assert ROOMS.delivery(Publication(room, "e", type="node_update"))["type"] == "node_update"


def test_a_body_that_was_not_decoded_is_passed_on_as_it_is() -> None:
    body = Encoded("json", b'{"a":1}')
    assert ROOMS.delivery(Publication("execution:1", "e", body))["data"] is body


def test_a_delivery_shows_neither_sender_nor_priority() -> None:
    said = ROOMS.delivery(Publication("execution:1", "e", sender="c1", priority="high", seq=4))
    assert set(said) == {"type", "event", "data", "timestamp"}


@pytest.mark.parametrize("word", ["subscribe", "unsubscribe"])
@pytest.mark.parametrize("room", [None, 5, "", " x", "x ", "a\x00b", "x" * 256, ["execution:1"], {"id": 1}])
def test_what_is_no_room_is_refused_naming_the_field(word: str, room: object) -> None:
    with pytest.raises(BadRequest, match="`room_id`"):
        ROOMS.parse({"type": word, "room_id": room})


@pytest.mark.parametrize("message", [{"type": "send", "room_id": "a", "data": 1}, {"type": "publish"}])
def test_a_rooms_client_may_not_send(message: dict[str, object]) -> None:
    with pytest.raises(BadRequest, match="unknown type"):
        ROOMS.parse(message)


@pytest.mark.parametrize("code", ["forbidden", "unauthorized"])
def test_a_refused_subscription_has_the_text_of_the_seed(code: str) -> None:
    assert ROOMS.reply(Failure(code, "any reason", "execution:1"), StartingChannels()) == {
        "type": "error",
        "message": "Access denied to room",
        "room_id": "execution:1",
    }


def test_other_failures_keep_their_own_text() -> None:
    assert ROOMS.reply(Failure("too_many_channels", "at most 128", "execution:1"), StartingChannels()) == {
        "type": "error",
        "message": "at most 128",
        "room_id": "execution:1",
    }


NOTICES: list[tuple[Reply, dict[str, object]]] = [
    (Gap("execution:1"), {"type": "gap", "room_id": "execution:1"}),
    (Lag("execution:1", 7), {"type": "lag", "room_id": "execution:1", "dropped": 7}),
]


@pytest.mark.parametrize(("notice", "expected"), NOTICES)
def test_gaps_and_lags_name_the_room(notice: Reply, expected: dict[str, object]) -> None:
    assert ROOMS.reply(notice, StartingChannels()) == expected


def test_leaving_is_confirmed_and_being_removed_has_a_reason() -> None:
    left = ROOMS.reply(Unsubscribed("execution:1"), StartingChannels())
    put_out = ROOMS.reply(Left("execution:1"), StartingChannels())
    assert left is not None
    assert put_out is not None
    assert {**left, "timestamp": ""} == {
        "type": "subscription",
        "event": "unsubscribed",
        "room_id": "execution:1",
        "timestamp": "",
    }
    assert {**put_out, "timestamp": ""} == {**left, "timestamp": "", "reason": "Access denied to room"}


@pytest.mark.parametrize("reply", [Sent("c", None, 1, 0), FilterChanged(None)])
def test_replies_that_a_rooms_client_cannot_request_are_left_out(reply: Reply) -> None:
    assert ROOMS.reply(reply, StartingChannels()) is None
