"""The outbox compared with a naive model: bounds are kept, control frames never dropped, and losses counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.hub.channel import Chunk
from fastws.hub.ports import ENQUEUED, Enqueued
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
        self.has_overflowed = False

    def fits(self, *frames: Frame) -> bool:
        messages = sum(frame.policy != CONTROL for frame in self.waiting)
        size = sum(len(frame.data) for frame in [*self.waiting, *frames])
        return messages + len(frames) <= MESSAGES and size + self.transport_bytes <= BYTES

    def lose(self, frame: Frame) -> None:
        if frame.channel:  # of what was sent to it alone the sender is told, not the client
            self.lost[frame.channel] += 1

    def enqueue(self, frames: list[Frame]) -> Enqueued:
        policy = frames[0].policy
        if policy == "disconnect":
            return self._hold_all_or_nothing(frames)
        refused = [
            position for position, frame in enumerate(frames) if not self._take(frame, policy, frames[position:])
        ]
        return Enqueued(refused)

    def _hold_all_or_nothing(self, frames: list[Frame]) -> Enqueued:
        everything = range(len(frames))
        if self.fits(*frames):
            self.waiting += frames
            return Enqueued()
        if len(frames) == 1 and len(frames[0].data) > BYTES:
            self.lose(frames[0])
            return Enqueued(everything)
        alone = not any(waiting.policy != CONTROL for waiting in self.waiting)
        if alone and len(frames) > 1:  # one run that is larger than the queue, in messages or in bytes
            if sum(len(f.data) for f in [*self.waiting, *frames]) + self.transport_bytes <= BYTES:
                self.waiting += frames
                return Enqueued()
            if self.fits(frames[0]):
                return Enqueued(
                    [at for at, frame in enumerate(frames) if not self._take(frame, "drop_newest", frames[at:])]
                )
        self.has_overflowed = True
        return Enqueued(everything, is_slow=True)

    def _take(self, frame: Frame, policy: str, rest: list[Frame]) -> bool:
        """Whether one frame is taken, as if it had come alone; `rest` are it and what comes with it after it."""
        if policy == "conflate":
            keys = {later.key for later in rest}
            self.waiting = [w for w in self.waiting if w.channel != frame.channel or w.key not in keys]
            if any(later.key == frame.key for later in rest[1:]):
                return True
        if policy != "drop_newest":
            self._make_room(frame)
        if self.fits(frame):
            self.waiting.append(frame)
            return True
        self.lose(frame)
        self.has_overflowed = self.has_overflowed or len(frame.data) <= BYTES
        return False

    def _make_room(self, frame: Frame) -> None:
        while not self.fits(frame) and len(frame.data) + self.transport_bytes <= BYTES:
            self.has_overflowed = True
            droppable = [w for w in self.waiting if w.policy in ("drop_oldest", "conflate")]
            if not droppable:
                return
            self.waiting.remove(droppable[0])
            self.lose(droppable[0])


sizes = st.one_of(st.integers(3, 12), st.integers(3, 12), st.integers(55, 80))
holds = st.tuples(
    st.sampled_from(sorted(POLICIES)), st.lists(st.tuples(sizes, st.sampled_from("ab")), min_size=1, max_size=8)
)
controls = st.tuples(st.just(CONTROL), st.integers(3, 10))
takes = st.tuples(st.just("take"), st.none())
transports = st.tuples(st.just("transport"), st.integers(0, 30))
steps = st.lists(st.one_of(holds, holds, holds, controls, takes, transports), max_size=40)


def old_outbox() -> Outbox:
    """One whose client has not read for a second."""
    outbox = Outbox(Bounds(MESSAGES, BYTES))
    outbox._since -= 1.0
    return outbox


@given(steps=steps)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_it_does_what_the_naive_model_does(steps: list[tuple[str, object]]) -> None:
    real, model = old_outbox(), NaiveOutbox()
    for number, (what, more) in enumerate(steps):
        step(real, model, number, what, more)
        assert real.messages == sum(frame.policy != CONTROL for frame in model.waiting)
        assert real.size == sum(len(frame.data) for frame in model.waiting)
        assert real.control_bytes == sum(len(frame.data) for frame in model.waiting if frame.policy == CONTROL)
        assert (real.lost or {}) == model.lost
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
        held, dropped = real.enqueue(chunk(what, frames), model.transport_bytes)
        expected = model.enqueue(frames)
        assert (list(held.refused), held.is_slow) == (list(expected.refused), expected.is_slow)
        after = len([w for w in model.waiting if w.policy != CONTROL])
        assert dropped == (0 if held.is_slow else before - after)
        assert real.has_overflowed is model.has_overflowed
        if not held.refused and POLICIES[what] in ("disconnect", "drop_newest"):
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
        assert outbox.enqueue(frames_of(channel, "a2", "a3"), 0) == (ENQUEUED, 2)
    assert drain(outbox) == b"b1a3b1a3"
    assert outbox.lost is None


def test_bytes_in_the_transport_count_as_waiting() -> None:
    outbox = old_outbox()
    assert outbox.enqueue(frames_of("d", "x" * 10), BYTES - 9) == (Enqueued(range(1), is_slow=True), 0)
    assert outbox.enqueue(frames_of("d", "x" * 10), BYTES - 10) == (ENQUEUED, 0)


@pytest.mark.parametrize("channel", ["d", "o", "n"])
def test_a_message_larger_than_the_whole_queue_is_skipped_with_a_notice_and_closes_no_client(channel: str) -> None:
    outbox = Outbox(Bounds(MESSAGES, BYTES))
    outbox.enqueue(frames_of(channel, "small"), 0)
    assert outbox.enqueue(frames_of(channel, "x" * (BYTES + 1)), 0) == (Enqueued([0]), 1)
    assert not outbox.has_overflowed
    assert outbox.lost == {channel: 1}
    assert drain(outbox) == b"small"


def test_clearing_returns_the_number_of_messages_that_waited() -> None:
    outbox = Outbox(Bounds(MESSAGES, BYTES))
    outbox.enqueue(frames_of("d", "one", "two"), 0)
    outbox.control(b"pong")
    assert outbox.clear() == 2
    assert outbox.messages == outbox.size == outbox.control_bytes == len(outbox) == 0


def test_of_a_chunk_what_conflate_keeps_stays_in_the_order_of_publication() -> None:
    outbox = Outbox(Bounds(MESSAGES, BYTES))
    assert outbox.enqueue(frames_of("c", "a1", "b1", "a2"), 0) == (ENQUEUED, 1)
    assert drain(outbox) == b"b1a2"


def test_what_does_not_fit_is_refused_and_what_comes_after_it_is_taken() -> None:
    huge = "x" * (BYTES + 1)
    for channel in ("o", "n", "c"):
        outbox = Outbox(Bounds(MESSAGES, BYTES))
        assert outbox.enqueue(frames_of(channel, "1", huge, "2"), 0) == (Enqueued([1]), 1)
        assert outbox.lost == {channel: 1}
        assert not outbox.has_overflowed
        assert drain(outbox) == b"12"


def test_many_messages_at_once_are_no_slowness_before_a_tenth_of_a_second_is_over() -> None:
    burst = [str(number) for number in range(MESSAGES)]
    outbox = Outbox(Bounds(MESSAGES, BYTES))
    for _ in range(3):
        assert outbox.enqueue(frames_of("d", *burst), 0) == (ENQUEUED, 0)
    outbox._since -= outbox_module.BURST_SECONDS
    assert outbox.enqueue(frames_of("d", "x"), 0)[0].is_slow
    for channel in ("o", "n", "c"):
        outbox = Outbox(Bounds(MESSAGES, BYTES))
        outbox.enqueue(frames_of(channel, *burst), 0)
        assert outbox.enqueue(frames_of(channel, "x"), 0)[1] == 1


def test_data_given_to_a_writable_transport_does_not_count_as_slow_at_first() -> None:
    outbox = Outbox(Bounds(MESSAGES, BYTES))
    assert outbox.enqueue(frames_of("d", "x" * (BYTES - 1)), 100 * BYTES) == (ENQUEUED, 0)
    assert outbox.enqueue(frames_of("d", "xx"), 100 * BYTES)[0].is_slow


def test_one_run_larger_than_an_empty_queue_closes_no_client() -> None:
    many = frames_of("d", *map(str, range(MESSAGES + 2)))
    outbox = old_outbox()
    outbox.control(b"pong")
    assert outbox.enqueue(many, 0) == (ENQUEUED, 0)
    assert outbox.enqueue(frames_of("d", "x"), 0)[0].is_slow

    large = frames_of("d", "x" * (BYTES - 9), "x" * 10, "y" * 9)
    outbox = old_outbox()
    assert outbox.enqueue(large, 0) == (Enqueued([1]), 1)
    assert outbox.lost == {"d": 1}
    assert outbox.has_overflowed
    assert old_outbox().enqueue(large, 10)[0].is_slow  # the transport is as full as a queue may be


def test_a_replay_keeps_its_place_and_counts_nowhere() -> None:
    outbox = Outbox(Bounds(MESSAGES, BYTES))
    outbox.control(b"before")
    outbox.replay(iter([b"p" * BYTES] * 5), "n")
    assert (outbox.messages, outbox.size) == (0, len(b"before"))
    frames = [Frame(b"n%d" % number, "n", "k") for number in range(MESSAGES)]
    assert outbox.enqueue(chunk("n", frames), 0) == (ENQUEUED, 0)
    taken: list[bytes] = []
    while batch := outbox.take():
        taken += batch
    assert b"".join(taken) == b"before" + b"p" * BYTES * 5 + b"".join(frame.data for frame in frames)
    assert not len(outbox)


def test_a_replay_is_made_as_the_client_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "BATCH_BYTES", 4)
    made: list[int] = []

    def past() -> Iterator[bytes]:
        for number in range(6):
            made.append(number)
            yield b"%d." % number

    outbox = Outbox(Bounds(MESSAGES, BYTES))
    outbox.replay(past(), "n")
    assert made == []
    assert b"".join(outbox.take()) == b"0.1."
    assert made == [0, 1]
    outbox.control(b"after")
    assert b"".join(b"".join(outbox.take()) for _ in range(4)) == b"2.3.4.5.after"
