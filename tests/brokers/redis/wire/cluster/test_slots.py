"""Slots: the same as those of redis-py, and what the replies of nodes say about them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot as known_key_slot

from fastws.brokers.redis.wire.cluster.slots import (
    SLOTS,
    Node,
    Redirection,
    SlotMap,
    key_of,
    key_slot,
    parse_slots,
    redirection,
)
from fastws.brokers.redis.wire.resp import pack

ASKED = Node("10.0.0.1", 7000)
A, B = Node("10.0.0.2", 7001), Node("10.0.0.3", 7002)


@given(st.one_of(st.binary(max_size=30), st.text("{}ab", max_size=12).map(str.encode)))
def test_slot_of_a_key_is_that_of_redis(key: bytes) -> None:
    assert key_slot(key) == known_key_slot(key)


@given(st.binary(max_size=40), st.binary(max_size=200))
def test_first_key_of_a_command_is_found_whatever_its_bytes(key: bytes, value: bytes) -> None:
    assert key_of(pack(b"SET", key, value, b"EX", 10)) == key
    assert key_of(pack(b"GET", key)) == key
    assert key_of(pack(b"EVALSHA", b"a" * 40, 2, key, value, b"x")) == key
    assert key_of(pack(b"ROLE")) == b""


def test_map_has_the_owner_of_each_slot_and_the_replicas() -> None:
    reply = [
        [0, 99, [b"10.0.0.2", 7001, b"id", []], [b"10.0.0.9", 7009, b"id", []]],
        [101, SLOTS - 1, [b"10.0.0.3", 7002, b"id", []]],
    ]
    slots = parse_slots(reply, ASKED)
    assert [slots.owner(slot) for slot in (0, 99, 100, 101, SLOTS - 1)] == [A, A, None, B, B]
    assert slots.primaries() == [A, B]
    assert slots.replicas == (Node("10.0.0.9", 7009),)


@pytest.mark.parametrize(
    ("host", "owner"), [(None, Node("10.0.0.1", 1)), (b"", Node("10.0.0.1", 1)), (b"?", None), (b"h", Node("h", 1))]
)
def test_node_without_a_host_is_where_the_asked_one_is(host: bytes | None, owner: Node | None) -> None:
    assert parse_slots([[0, SLOTS - 1, [host, 1, b"id", []]]], ASKED).owner(5) == owner


@pytest.mark.parametrize("reply", [b"OK", None, [[0, SLOTS, [b"h", 1]]]])
def test_reply_that_is_no_map_is_refused(reply: object) -> None:
    with pytest.raises(ValueError, match="CLUSTER SLOTS"):
        parse_slots(reply, ASKED)


def test_changes_are_the_slots_with_another_owner() -> None:
    before, after = SlotMap([A] * SLOTS), SlotMap([A] * SLOTS)
    after.moved(7, B)
    assert list(before.changes(after)) == [7]
    assert after.primaries() == [A, B]


@pytest.mark.parametrize(
    ("error", "found"),
    [
        ("MOVED 3999 10.0.0.2:7001", Redirection(3999, A, is_asking=False)),
        ("ASK 3999 10.0.0.2:7001", Redirection(3999, A, is_asking=True)),
        ("MOVED 3999 :7001", Redirection(3999, Node("10.0.0.1", 7001), is_asking=False)),
        ("MOVED 3999 ::1:7001", Redirection(3999, Node("::1", 7001), is_asking=False)),
        ("MOVED 3999 ?:7001", None),
        ("MOVED 3999", None),
        ("CROSSSLOT Keys in request don't hash to the same slot", None),
        ("ERR MOVED 1 a:1", None),
    ],
)
def test_redirection_is_read_from_the_error(error: str, found: Redirection | None) -> None:
    assert redirection(error, ASKED) == found


@pytest.mark.parametrize(("node", "text"), [(A, "10.0.0.2:7001"), (Node("::1", 1), "[::1]:1")])
def test_node_is_shown_as_an_address(node: Node, text: str) -> None:
    assert str(node) == text
