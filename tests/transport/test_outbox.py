"""The outbox against a naive model: bounds hold, control frames are never dropped, what was lost is counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.hub.channel import Chunk
from fastws.hub.ports import Verdict
from fastws.transport import outbox as outbox_module
from fastws.transport.outbox import Bounds, Outbox

MESSAGES, BYTES = 6, 60
POLICIES = {
    "d": "disconnect",
    "o": "drop_oldest",
    "n": "drop_newest",
    "c": "conflate",
    "c2": "conflate",
    "": "drop_newest",
}
CONTROL = "control"


@dataclass
class Frame:
    data: bytes
    channel: str
    key: str

    @property
    def policy(self) -> str:
        return CONTROL if self.channel == CONTROL else POLICIES[self.channel]


def chunk(channel: str, frames: list[Frame]) -> Chunk:
    data = b"".join(frame.data for frame in frames)
    return Chunk(channel, POLICIES[channel], [f.data for f in frames], data, [f.key for f in frames])


class NaiveOutbox:
    """The same in lists: one entry a frame, everything looked for from the start each time."""

    def __init__(self) -> None:
        self.waiting: list[Frame] = []
        self.lost: Counter[str] = Counter()
        self.transport_bytes = 0

    def fits(self, *frames: Frame) -> bool:
        messages = sum(frame.policy != CONTROL for frame in self.waiting)
        size = sum(len(frame.data) for frame in [*self.waiting, *frames])
        return messages + len(frames) <= MESSAGES and size + self.transport_bytes <= BYTES

    def lose(self, frame: Frame) -> None:
        if frame.channel:  # of what was sent to it alone the sender is told, not the client
            self.lost[frame.channel] += 1

    def enqueue(self, frames: list[Frame]) -> Verdict:
        policy = frames[0].policy
        if policy == "conflate":
            latest = {frame.key: frame for frame in frames}
            self.waiting = [w for w in self.waiting if w.channel != frames[0].channel or w.key not in latest]
            frames = list(latest.values())
        if self.fits(*frames):
            self.waiting += frames
            return Verdict.HELD
        if len(frames) == 1 and len(frames[0].data) > BYTES and policy != "conflate":
            self.lose(frames[0])
            return Verdict.REFUSED
        if policy == "disconnect":
            return Verdict.SLOW
        if policy == "drop_newest":
            while frames and self.fits(frames[0]):
                self.waiting.append(frames.pop(0))
            for frame in frames:
                self.lose(frame)
            return Verdict.REFUSED
        for frame in frames:
            self._make_room(frame)
        return Verdict.HELD

    def _make_room(self, frame: Frame) -> None:
        while not self.fits(frame):
            droppable = [w for w in self.waiting if w.policy in ("drop_oldest", "conflate")]
            if not droppable or len(frame.data) + self.transport_bytes > BYTES:
                self.lose(frame)
                return
            self.waiting.remove(droppable[0])
            self.lose(droppable[0])
        self.waiting.append(frame)


sizes = st.one_of(st.integers(3, 12), st.integers(3, 12), st.integers(55, 80))
holds = st.tuples(
    st.sampled_from(sorted(POLICIES)), st.lists(st.tuples(sizes, st.sampled_from("ab")), min_size=1, max_size=8)
)
controls = st.tuples(st.just(CONTROL), st.integers(3, 10))
takes = st.tuples(st.just("take"), st.none())
transports = st.tuples(st.just("transport"), st.integers(0, 30))
steps = st.lists(st.one_of(holds, holds, holds, controls, takes, transports), max_size=40)


@given(steps=steps)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_it_does_what_the_naive_model_does(steps: list[tuple[str, object]]) -> None:
    real, model = Outbox(Bounds(MESSAGES, BYTES)), NaiveOutbox()
    for number, (what, more) in enumerate(steps):
        step(real, model, number, what, more)
        assert real.messages == sum(frame.policy != CONTROL for frame in model.waiting)
        assert real.size == sum(len(frame.data) for frame in model.waiting)
        assert real.control_bytes == sum(len(frame.data) for frame in model.waiting if frame.policy == CONTROL)
        assert (real.lost or {}) == model.lost
        assert real.messages <= MESSAGES
    assert drain(real) == b"".join(frame.data for frame in model.waiting)
    assert real.messages == real.size == real.control_bytes == len(real) == 0


def step(real: Outbox, model: NaiveOutbox, number: int, what: str, more: object) -> None:
    if what == "take":
        taken = b"".join(real.take())
        expected = b"".join(frame.data for frame in model.waiting)
        assert expected.startswith(taken)
        assert bool(taken) == bool(expected)
        while taken:
            taken = taken.removeprefix(model.waiting.pop(0).data)
    elif what == "transport":
        assert isinstance(more, int)
        model.transport_bytes = more
    elif what == CONTROL:
        assert isinstance(more, int)
        data = f"{number:03}".encode().ljust(more, b"!")
        model.waiting.append(Frame(data, CONTROL, ""))
        real.control(data)
    else:
        assert isinstance(more, list)
        frames = [
            Frame(f"{number:02}{place}".encode().ljust(size, b"."), what, key) for place, (size, key) in enumerate(more)
        ]
        before = len(frames) + len([w for w in model.waiting if w.policy != CONTROL])
        verdict, dropped = real.enqueue(chunk(what, frames), model.transport_bytes)
        assert verdict is model.enqueue(frames[:])
        after = len([w for w in model.waiting if w.policy != CONTROL])
        assert dropped == (0 if verdict is Verdict.SLOW else before - after)
        if verdict is Verdict.HELD and POLICIES[what] in ("disconnect", "drop_newest"):
            assert real.size + model.transport_bytes <= BYTES


def drain(outbox: Outbox) -> bytes:
    taken = b""
    while batch := outbox.take():
        taken += b"".join(batch)
    return taken


def frames_of(channel: str, *texts: str) -> Chunk:
    return chunk(channel, [Frame(text.encode(), channel, text[0]) for text in texts])


def test_a_slow_client_costs_references_to_shared_bytes_and_no_copies() -> None:
    outbox = Outbox(Bounds(MESSAGES, BYTES))
    shared = frames_of("d", "one", "two")
    outbox.enqueue(shared, 0)
    assert outbox.take()[0] is shared.data


def test_what_is_taken_at_a_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "BATCH_BYTES", 8)
    outbox = Outbox(Bounds(MESSAGES, BYTES))
    for text in ("12345", "67890", "abcde"):
        outbox.enqueue(frames_of("d", text), 0)
    assert outbox.take() == [b"12345", b"67890"]
    assert outbox.take() == [b"abcde"]
    assert outbox.take() == []


def test_conflate_keeps_the_latest_of_each_key_in_each_channel() -> None:
    outbox = Outbox(Bounds(MESSAGES, BYTES))
    for channel in ("c", "c2"):
        outbox.enqueue(frames_of(channel, "a1", "b1"), 0)
        assert outbox.enqueue(frames_of(channel, "a2", "a3"), 0) == (Verdict.HELD, 2)
    assert drain(outbox) == b"b1a3b1a3"
    assert outbox.lost is None


def test_bytes_in_the_transport_count_as_waiting() -> None:
    outbox = Outbox(Bounds(MESSAGES, BYTES))
    assert outbox.enqueue(frames_of("d", "x" * 10), BYTES - 9) == (Verdict.SLOW, 0)
    assert outbox.enqueue(frames_of("d", "x" * 10), BYTES - 10) == (Verdict.HELD, 0)


@pytest.mark.parametrize("channel", ["d", "o", "n"])
def test_a_message_larger_than_the_whole_queue_is_skipped_with_a_notice_and_nobody_is_cut_off(channel: str) -> None:
    outbox = Outbox(Bounds(MESSAGES, BYTES))
    outbox.enqueue(frames_of(channel, "small"), 0)
    assert outbox.enqueue(frames_of(channel, "x" * (BYTES + 1)), 0) == (Verdict.REFUSED, 1)
    assert outbox.lost == {channel: 1}
    assert drain(outbox) == b"small"


def test_clearing_forgets_everything_and_says_how_many_messages_waited() -> None:
    outbox = Outbox(Bounds(MESSAGES, BYTES))
    outbox.enqueue(frames_of("d", "one", "two"), 0)
    outbox.control(b"pong")
    assert outbox.clear() == 2
    assert outbox.messages == outbox.size == outbox.control_bytes == len(outbox) == 0
