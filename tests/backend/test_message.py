import datetime as dt
import uuid

import orjson
import pytest

from fastws.backend.message import Message, encode, from_body, to_channel
from fastws.errors import BadRequest


def test_body_has_the_fields_that_were_given_and_a_message_id_of_its_own():
    message = to_channel("admin", "e", {"a": 1}, {"type": "t", "priority": 0, "key": "k", "exclude": {"x"}})
    body = message.body()
    assert body.pop("message_id") == message.message_id
    assert body == {
        "channel": "admin",
        "event": "e",
        "data": {"a": 1},
        "type": "t",
        "priority": 0,
        "key": "k",
        "exclude": ["x"],
    }
    assert to_channel("admin", "e", None, {}).message_id != message.message_id


def test_body_of_a_message_to_one_connection_names_it_as_the_server_reads_it():
    message = Message(connection_id="abc", event="e", data=[1], message_id="m1")
    assert message.body() == {"connectionId": "abc", "event": "e", "data": [1], "message_id": "m1"}


@pytest.mark.parametrize(
    ("channel", "event", "more", "named"),
    [
        ("", "e", {}, "channel"),
        (" admin", "e", {}, "channel"),
        ("a" * 256, "e", {}, "channel"),
        (None, "e", {}, "channel"),
        ("admin", "", {}, "event"),
        ("admin", None, {}, "event"),
        ("admin", "e", {"colour": "red"}, "colour"),
        ("admin", "e", {"exclude": "abc"}, "exclude"),
    ],
)
def test_a_wrong_field_is_named_before_anything_is_sent(channel, event, more, named):
    with pytest.raises(BadRequest, match=f"`{named}`"):
        to_channel(channel, event, None, more)


@pytest.mark.parametrize(
    "body",
    [
        {"channel": "c", "event": "e", "data": 1, "type": "t", "message_id": "m"},
        {"connectionId": "c", "event": "e", "data": None, "message_id": "m"},
        {
            "channel": "c",
            "event": "e",
            "data": {},
            "priority": "high",
            "exclude": ["a", "b"],
            "message_id": "m",
        },
    ],
)
def test_an_item_of_a_batch_is_sent_as_it_was_written(body):
    assert from_body(body).body() == body


def test_an_item_with_an_unknown_field_is_refused_naming_it():
    with pytest.raises(BadRequest, match="`chanel`"):
        from_body({"chanel": "c", "event": "e"})


def test_json_says_what_backends_have_at_hand():
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    identifier = uuid.UUID(int=7)
    said = orjson.loads(encode({"at": moment, "id": identifier, 1: "one"}))
    assert said == {"at": "2026-01-02T03:04:05+00:00", "id": str(identifier), "1": "one"}


def test_data_that_json_cannot_say_is_refused_with_what_it_can():
    with pytest.raises(BadRequest, match=r"set.*dicts, lists"):
        encode({"data": {1, 2}})
