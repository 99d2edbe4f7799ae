import itertools

import orjson
import pytest

from fastws.backend.batches import MAX_BYTES, MAX_MESSAGES, Batch, batches
from fastws.backend.message import Message
from fastws.errors import BadRequest, BrokerUnavailable, FastWSError


def numbered(count, size=0):
    return [Message(channel="c", event="e", data=[number, "x" * size]) for number in range(count)]


def numbers(found):
    bodies = [orjson.loads(batch.body()) for batch in found]
    return [[message["data"][0] for message in body.get("messages", [body])] for body in bodies]


def outcome(sent):
    return {"sent": sent, "failed": 0, "stale": 0}


def test_few_messages_are_one_body_in_order():
    assert numbers(batches(numbered(3))) == [[0, 1, 2]]
    assert list(batches([])) == []


def test_a_single_message_is_the_body_itself():
    (batch,) = batches(numbered(1))
    assert "messages" not in orjson.loads(batch.body())


def test_many_messages_are_split_by_number():
    parts = numbers(batches(numbered(2 * MAX_MESSAGES + 1)))
    assert [len(part) for part in parts] == [MAX_MESSAGES, MAX_MESSAGES, 1]
    assert list(itertools.chain(*parts)) == list(range(2 * MAX_MESSAGES + 1))


def test_large_messages_are_split_by_bytes_and_a_huge_one_gets_its_own_batch():
    found = list(batches(numbered(5, size=MAX_BYTES // 2 - 200)))
    assert numbers(found) == [[0, 1], [2, 3], [4]]
    assert all(len(batch.body()) <= MAX_BYTES + 100 for batch in found)
    assert numbers(batches(numbered(2, size=MAX_BYTES))) == [[0], [1]]


def test_a_message_that_cannot_be_encoded_stops_all_before_the_first_body():
    messages = [*numbered(MAX_MESSAGES), Message(channel="c", event="e", data={1})]
    with pytest.raises(BadRequest):
        next(batches(messages))


def test_a_retry_carries_only_what_failed_and_outcomes_keep_their_places():
    batch = Batch([b"0", b"1", b"2"])
    with pytest.raises(BrokerUnavailable):
        batch.record([outcome(7), BrokerUnavailable("away"), outcome(9)])
    assert not batch.is_done
    assert orjson.loads(batch.body()) == {"messages": [1]}
    batch.record([outcome(8)])
    assert batch.is_done
    assert [each["sent"] for each in batch.outcomes] == [7, 8, 9]


def test_too_few_results_are_an_error():
    with pytest.raises(FastWSError, match="1 results for 2 messages"):
        Batch([b"0", b"1"]).record([outcome(1)])
