"""Clients that keep their compression window although they agreed not to: understood, within bounds."""

from __future__ import annotations

import json
import os
import random
import zlib
from collections.abc import Callable

import pytest

from fastws.wire.client_windows import WINDOW_BYTES, ClientWindows
from fastws.wire.deflate import Inflater, deflate
from fastws.wire.frame_parser import FrameParser
from fastws.wire.opcodes import BINARY, CONTINUATION, PING, TEXT

Masked = Callable[..., bytes]
LIMIT = 1 << 20
RSV1 = 4


class KeepingClient:
    """Compresses all its messages in one stream, as Tornado 6 does."""

    def __init__(self, level: int = 6, window_bits: int = 15) -> None:
        self._compressor = zlib.compressobj(level, zlib.DEFLATED, -window_bits)

    def compressed(self, payload: bytes) -> bytes:
        return (self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def read(windows: ClientWindows, data: bytes, client: str = "a") -> list[bytes]:
    """The payloads that a parser made for this read finds in `data`."""
    parser = FrameParser(LIMIT, 1000, Inflater(LIMIT, windows, client))
    events = parser.feed(data, 1 << 30)
    assert parser.failure is None, parser.failure
    return [payload for opcode, payload in events if opcode <= BINARY]


def conversation(count: int) -> list[bytes]:
    dice = random.Random(5)
    words = [f"word{number * number % 977}" for number in range(300)]
    messages = []
    for number in range(count):
        text = " ".join(dice.choices(words, k=dice.choice((0, 3, 30, 300))))
        noise = os.urandom(dice.choice((0, 0, 0, 20, 3000))).hex()
        message = {"action": "send", "id": number, "data": text, "noise": noise}
        messages.append(json.dumps(message).encode() if dice.random() < 0.9 else noise.encode())
    return messages


@pytest.mark.parametrize("level", [1, 6, 9])
@pytest.mark.parametrize("window_bits", [9, 12, 15])
def test_two_thousand_messages_of_one_stream_are_all_read(masked: Masked, level: int, window_bits: int) -> None:
    windows, client = ClientWindows(), KeepingClient(level, window_bits)
    for message in conversation(2000 if window_bits == 15 else 200):
        assert read(windows, masked(TEXT, client.compressed(message), rsv=RSV1)) == [message]


def test_fragments_pings_plain_messages_and_cuts_do_not_disturb_the_window(masked: Masked) -> None:
    windows, client = ClientWindows(), KeepingClient()
    parser = FrameParser(LIMIT, 1000, Inflater(LIMIT, windows, "a"))
    for message in conversation(100):
        data = client.compressed(message)
        third = len(data) // 3
        stream = masked(TEXT, data[:third], final=False, rsv=RSV1) + masked(PING, b"p")
        stream += masked(CONTINUATION, data[third:]) + masked(TEXT, b"not part of the window")
        events = []
        for position in range(0, len(stream), 7):
            events += parser.feed(stream[position : position + 7], 1 << 30)
        assert [payload for opcode, payload in events if opcode == TEXT] == [message, b"not part of the window"]


def test_an_empty_first_fragment_is_read_as_any_other(masked: Masked) -> None:
    windows, client = ClientWindows(), KeepingClient()
    for _ in range(3):
        data = client.compressed(b"a text of more than 16 bytes")
        stream = masked(TEXT, b"", final=False, rsv=RSV1) + masked(CONTINUATION, data)
        assert read(windows, stream) == [b"a text of more than 16 bytes"]


def test_the_window_has_at_most_32_kb(masked: Masked) -> None:
    windows, client = ClientWindows(), KeepingClient()
    for message in (os.urandom(20_000), os.urandom(20_000), os.urandom(100_000)):
        assert read(windows, masked(BINARY, client.compressed(message), rsv=RSV1)) == [message]
        assert len(windows.find("a") or b"") <= WINDOW_BYTES
    assert windows.find("a") == message[-WINDOW_BYTES:]


def test_a_client_that_repeats_a_text_instead_of_referring_to_it_has_no_window(masked: Masked) -> None:
    windows = ClientWindows()
    messages = [b'{"action":"ping","id":%d}' % number for number in range(3)]
    for message in messages:
        assert read(windows, masked(TEXT, deflate(message, 6), rsv=RSV1)) == [message]
    assert windows.find("a") is None
    keeping = KeepingClient()
    parser = FrameParser(LIMIT, 1000, Inflater(LIMIT, windows, "a"))
    for message in messages[:2]:
        parser.feed(masked(TEXT, keeping.compressed(message), rsv=RSV1), 100)
    assert parser.failure is not None
    assert parser.failure.violation_code == 1007


def test_a_stored_block_does_not_say_that_the_client_has_no_window(masked: Masked) -> None:
    """A compressor with context also stores what it cannot compress."""
    windows, client = ClientWindows(), KeepingClient(0)
    for _ in range(3):
        assert read(windows, masked(TEXT, client.compressed(b"a text of more than 16 bytes"), rsv=RSV1))
    assert windows.find("a") is not None


def test_windows_are_separate_and_can_be_dropped(masked: Masked) -> None:
    windows, one, other = ClientWindows(), KeepingClient(), KeepingClient()
    for message in (b"the text of the first client", b"the text of the first client again"):
        assert read(windows, masked(TEXT, one.compressed(message), rsv=RSV1), "one") == [message]
    assert read(windows, masked(TEXT, other.compressed(b"another text"), rsv=RSV1), "other") == [b"another text"]
    assert windows.find("other") == b"another text"
    windows.forget("one")
    windows.forget("one")
    assert windows.find("one") == b""
    assert windows.find("other") == b"another text"


def test_all_windows_together_are_bounded_and_those_of_silent_clients_go_first() -> None:
    windows = ClientWindows(max_bytes=10 * (WINDOW_BYTES + 160))
    window = os.urandom(WINDOW_BYTES)
    for number in range(10):
        windows.update(str(number), b"", window[:16], window)
    windows.update("0", b"", b"speaks again", window)
    windows.update("10", b"", window[:16], window)
    assert [str(number) for number in range(11) if windows.find(str(number)) != window] == ["1"]
    for number in range(11):
        windows.forget(str(number))
    assert windows._bytes == 0


def test_a_window_does_not_let_a_message_grow_over_the_limit(masked: Masked) -> None:
    windows, client = ClientWindows(), KeepingClient()
    assert read(windows, masked(BINARY, client.compressed(b"x" * 30_000), rsv=RSV1))
    parser = FrameParser(50_000, 1000, Inflater(50_000, windows, "a"))
    assert parser.feed(masked(BINARY, client.compressed(b"x" * 50_001), rsv=RSV1), 100) == []
    assert parser.failure is not None
    assert parser.failure.violation_code == 1009
