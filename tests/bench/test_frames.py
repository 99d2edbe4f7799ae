"""Parsing a server's frames, made by wsproto and split anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, Ping, TextMessage

from fastws.bench.frames import BINARY, PING, TEXT, Template, client_frame, read_frames
from fastws.bench.timestamp import payload, timestamp


def _server_frames(numbers: list[int], size: int) -> bytes:
    server = Connection(ConnectionType.SERVER)
    return b"".join(
        server.send(TextMessage('{"data":"' + payload(size).replace("~T" + "0" * 24, timestamp(7, n).decode()) + '"}'))
        for n in numbers
    )


@given(st.lists(st.integers(0, 99), max_size=8), st.sampled_from([26, 60, 125, 300, 70_000]), st.data())
def test_frames_split_anywhere_give_the_numbers_in_order(numbers: list[int], size: int, data: st.DataObject) -> None:
    stream = _server_frames(numbers, size)
    cut = data.draw(st.integers(0, len(stream)))
    first = read_frames(stream[:cut])
    second = read_frames(first.tail + stream[cut:])
    assert [*first.numbers, *second.numbers] == numbers
    assert second.tail == b""


@pytest.mark.parametrize(
    ("numbers", "in_sequence"),
    [([], True), ([5], True), ([5, 6, 7], True), ([5, 7], False), ([6, 5], False), ([5, 5], False)],
)
def test_sequence_is_seen_without_comparing_every_number(numbers: list[int], in_sequence: bool) -> None:
    assert read_frames(_server_frames(numbers, 60)).in_sequence is in_sequence


def test_only_every_nth_number_is_timed() -> None:
    assert len(read_frames(_server_frames(list(range(10)), 60), 4).dues) == 3


def test_control_frames_and_words_without_a_stamp_are_kept_apart() -> None:
    server = Connection(ConnectionType.SERVER)
    stream = server.send(Ping(b"x")) + _server_frames([1], 60) + server.send(TextMessage('{"type":"lag"}'))
    parsed = read_frames(stream)
    assert list(parsed.others) == [(PING, b"x"), (TEXT, b'{"type":"lag"}')]
    assert list(parsed.numbers) == [1]


@pytest.mark.parametrize("size", [26, 125, 126, 65_535, 65_536])
def test_own_frames_are_what_a_server_reads(size: int) -> None:
    server = Connection(ConnectionType.SERVER)
    text = payload(size)
    template = Template(TEXT, text.encode())
    server.receive_data(template.head + timestamp(9, 3) + template.tail + client_frame(BINARY, b"\x01\x02"))
    heard = list(server.events())
    said = "".join(event.data for event in heard if isinstance(event, TextMessage))
    assert said == timestamp(9, 3).decode() + text[26:]
    assert bytes(heard[-1].data) == b"\x01\x02"
    assert isinstance(heard[-1], BytesMessage)
