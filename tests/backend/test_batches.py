import itertools

import orjson
import pytest

from fastws.backend.batches import MOST_BYTES, MOST_MESSAGES, batch_bodies
from fastws.backend.message import Message
from fastws.errors import BadRequest


def numbered(count, size=0):
    return [Message(channel="c", event="e", data=[number, "x" * size]) for number in range(count)]


def numbers(bodies):
    return [[message["data"][0] for message in orjson.loads(body)["messages"]] for body in bodies]


def test_few_messages_are_one_body_in_order():
    assert numbers(batch_bodies(numbered(3))) == [[0, 1, 2]]
    assert list(batch_bodies([])) == []


def test_many_messages_are_split_by_number():
    parts = numbers(batch_bodies(numbered(2 * MOST_MESSAGES + 1)))
    assert [len(part) for part in parts] == [MOST_MESSAGES, MOST_MESSAGES, 1]
    assert list(itertools.chain(*parts)) == list(range(2 * MOST_MESSAGES + 1))


def test_large_messages_are_split_by_bytes_and_a_huge_one_travels_alone():
    bodies = list(batch_bodies(numbered(5, size=MOST_BYTES // 2 - 200)))
    assert numbers(bodies) == [[0, 1], [2, 3], [4]]
    assert all(len(body) <= MOST_BYTES + 100 for body in bodies)
    assert numbers(batch_bodies(numbered(2, size=MOST_BYTES))) == [[0], [1]]


def test_one_that_cannot_be_said_stops_all_before_the_first_body():
    messages = [*numbered(MOST_MESSAGES), Message(channel="c", event="e", data={1})]
    with pytest.raises(BadRequest):
        next(batch_bodies(messages))
