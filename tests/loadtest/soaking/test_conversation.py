"""The bytes of a client: the same messages are parsed however the server's bytes are split."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from soaking.conversation import CLOSE, PING, PONG, TEXT, Conversation, Refused, client_frame, text_frame
from websockets.frames import Frame, Opcode

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def _server_frame(opcode: int, payload: bytes) -> bytes:
    return Frame(Opcode(opcode), payload).serialize(mask=False)


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(st.sampled_from([0, 100, 125, 126, 70_000]), max_size=4), st.lists(st.integers(0, 1 << 20), max_size=8))
def test_messages_are_the_same_however_the_bytes_are_split(sizes: list[int], places: list[int]) -> None:
    messages = [{"padding": "x" * size} for size in sizes]
    data = HEAD + b"".join(_server_frame(TEXT, orjson.dumps(message)) for message in messages)
    heard: list[dict[str, Any]] = []
    conversation = Conversation(heard.append)
    assert b"".join(map(conversation.feed, _cut(data, places))) == b""
    assert heard == messages


def test_other_status_than_101_is_a_refusal() -> None:
    with pytest.raises(Refused) as caught:
        Conversation(print).feed(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
    assert caught.value.status == 503


def test_ping_is_answered_with_its_payload() -> None:
    assert Conversation(print).feed(HEAD + _server_frame(PING, b"abc")) == client_frame(PONG, b"abc")


@pytest.mark.parametrize(("payload", "code"), [((1012).to_bytes(2, "big") + b"restart", 1012), (b"", 1005)])
def test_close_is_answered_and_its_code_kept(payload: bytes, code: int) -> None:
    conversation = Conversation(print)
    assert conversation.close_code is None
    assert conversation.feed(HEAD + _server_frame(CLOSE, payload)) == client_frame(CLOSE, payload[:2])
    assert conversation.close_code == code


@pytest.mark.parametrize("size", [0, 96, 97, 5000])
def test_message_of_any_size_is_one_final_masked_frame(size: int) -> None:
    frame = text_frame(padding="x" * size)
    payload = orjson.dumps({"padding": "x" * size})
    assert frame[0] == 0x81
    assert frame[1] & 0x80
    assert frame.endswith(b"\0\0\0\0" + payload)
