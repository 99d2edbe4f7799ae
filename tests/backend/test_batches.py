import itertools

import orjson
import pytest

from fastws.backend.batches import MOST_BYTES, MOST_MESSAGES, Parcel, parcels
from fastws.backend.message import Message
from fastws.errors import BadRequest, BrokerUnavailable, FastWSError


def numbered(count, size=0):
    return [Message(channel="c", event="e", data=[number, "x" * size]) for number in range(count)]


def numbers(found):
    bodies = [orjson.loads(parcel.body()) for parcel in found]
    return [[message["data"][0] for message in body.get("messages", [body])] for body in bodies]


def outcome(sent):
    return {"sent": sent, "failed": 0, "stale": 0}


def test_few_messages_are_one_body_in_order():
    assert numbers(parcels(numbered(3))) == [[0, 1, 2]]
    assert list(parcels([])) == []


def test_a_single_message_is_the_body_itself():
    (parcel,) = parcels(numbered(1))
    assert "messages" not in orjson.loads(parcel.body())


def test_many_messages_are_split_by_number():
    parts = numbers(parcels(numbered(2 * MOST_MESSAGES + 1)))
    assert [len(part) for part in parts] == [MOST_MESSAGES, MOST_MESSAGES, 1]
    assert list(itertools.chain(*parts)) == list(range(2 * MOST_MESSAGES + 1))


def test_large_messages_are_split_by_bytes_and_a_huge_one_travels_alone():
    found = list(parcels(numbered(5, size=MOST_BYTES // 2 - 200)))
    assert numbers(found) == [[0, 1], [2, 3], [4]]
    assert all(len(parcel.body()) <= MOST_BYTES + 100 for parcel in found)
    assert numbers(parcels(numbered(2, size=MOST_BYTES))) == [[0], [1]]


def test_one_that_cannot_be_said_stops_all_before_the_first_body():
    messages = [*numbered(MOST_MESSAGES), Message(channel="c", event="e", data={1})]
    with pytest.raises(BadRequest):
        next(parcels(messages))


def test_a_retry_carries_only_what_failed_and_outcomes_keep_their_places():
    parcel = Parcel([b"0", b"1", b"2"])
    with pytest.raises(BrokerUnavailable):
        parcel.take([outcome(7), BrokerUnavailable("away"), outcome(9)])
    assert not parcel.is_done
    assert orjson.loads(parcel.body()) == {"messages": [1]}
    parcel.take([outcome(8)])
    assert parcel.is_done
    assert [each["sent"] for each in parcel.outcomes] == [7, 8, 9]


def test_too_few_outcomes_are_not_taken_for_an_answer():
    with pytest.raises(FastWSError, match="2 messages were answered with 1"):
        Parcel([b"0", b"1"]).take([outcome(1)])
