"""The outbox with priorities compared with a naive model: what is sent in which order, and what is dropped for what."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.hub.channel import Chunk
from fastws.hub.ports import ENQUEUED, Enqueued
from fastws.session.prioritized_session import ChannelReply, OpeningFrame
from fastws.transport import priority_outbox as module
from fastws.transport.outbox import Bounds
from fastws.transport.priority_outbox import PriorityOutbox
from fastws.vocabulary.channel_table import ChannelTable
from fastws.wire.frames import close_frame

MESSAGES, BYTES = 6, 60
PRIORITIES = ["high", "usual", "low"]
POLICIES = {"d": "disconnect", "o": "drop_oldest", "n": "drop_newest", "c": "conflate"}
CHANNELS = [f"{priority}:{policy}" for priority in PRIORITIES for policy in POLICIES]
TABLE = ChannelTable[str]([("high:*", "high"), ("low:*", "low"), ("**", None)])
OPENING, CLOSING = -1, 3


def policy_of(channel: str) -> str:
    return POLICIES[channel[-1]] if channel else "drop_newest"


def lane_of(channel: str) -> int:
    return PRIORITIES.index(channel.partition(":")[0] or "usual")


@dataclass(eq=False)
class Frame:
    """A publication; a reply if it has no `policy`, and of the past if it `is_past`."""

    data: bytes
    channel: str
    lane: int
    policy: str = ""
    key: str = ""
    is_past: bool = False


class NaiveOutbox:
    """One list in the order of arrival; what is sent next is looked for by priority each time."""

    def __init__(self) -> None:
        self.waiting: list[Frame] = []
        self.lost: Counter[str] = Counter()

    def size(self) -> int:
        return sum(len(frame.data) for frame in self.waiting if not frame.is_past)

    def messages(self) -> int:
        return sum(bool(frame.policy) for frame in self.waiting)

    def fits(self, frame: Frame) -> bool:
        return self.messages() < MESSAGES and self.size() + len(frame.data) <= BYTES

    def in_order(self) -> list[Frame]:
        return sorted(self.waiting, key=lambda frame: frame.lane)

    def lose(self, frame: Frame) -> None:
        if frame.channel:
            self.lost[frame.channel] += 1

    def enqueue(self, frame: Frame) -> Enqueued:
        if frame.policy == "conflate":
            same = (frame.channel, frame.key)
            self.waiting = [w for w in self.waiting if w.policy != "conflate" or (w.channel, w.key) != same]
        while not self.fits(frame) and len(frame.data) <= BYTES and (victim := self.victim(frame)) is not None:
            self.waiting.remove(victim)
            self.lose(victim)
        if self.fits(frame):
            self.waiting.append(frame)
            return ENQUEUED
        is_slow = frame.policy == "disconnect" and len(frame.data) <= BYTES
        if not is_slow:
            self.lose(frame)
        return Enqueued([0], is_slow=is_slow)

    def victim(self, newcomer: Frame) -> Frame | None:
        """Of the lowest priority the oldest, or the newest where the policy keeps the oldest."""
        if newcomer.policy == "disconnect":
            return None
        for lane in range(2, newcomer.lane - 1, -1):
            old = [f for f in self.waiting if f.lane == lane and f.policy in ("drop_oldest", "conflate")]
            new = [f for f in self.waiting if f.lane == lane and f.policy == "drop_newest" and f.channel]
            if lane == newcomer.lane:
                return old[0] if old and newcomer.policy != "drop_newest" else None
            if old or new:
                return old[0] if old else new[-1]
        return None


sizes = st.one_of(st.integers(4, 12), st.integers(4, 12), st.integers(55, 80))


def steps_on(channels: list[str]) -> st.SearchStrategy[list[tuple[str, str, int, object]]]:
    """Steps on a few channels, so that those fill the queue."""
    names = st.sampled_from(channels)
    publications = st.tuples(st.just("publish"), names, sizes, st.sampled_from("ab"))
    replies = st.tuples(st.just("reply"), names, st.integers(4, 10), st.booleans())
    pasts = st.tuples(st.just("past"), names, st.integers(1, 5), st.none())
    takes = st.tuples(st.just("take"), st.just(""), st.integers(1, 60), st.none())
    return st.lists(st.one_of(publications, publications, publications, replies, pasts, takes), max_size=40)


steps = st.lists(st.sampled_from([*CHANNELS, ""]), min_size=1, max_size=4).flatmap(steps_on)


@given(steps=steps)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_it_does_what_the_naive_model_does(steps: list[tuple[str, str, int, object]]) -> None:
    real, model = slow_outbox(), NaiveOutbox()
    for number, (what, channel, amount, more) in enumerate(steps):
        data = f"{number:03}".encode().ljust(amount, b".")
        if what == "publish":
            publish(real, model, Frame(data, channel, lane_of(channel), policy_of(channel), str(more)))
        elif what == "reply":
            model.waiting.append(Frame(data, channel, lane_of(channel)))
            reply(real, data, channel, is_notice=bool(more))
        elif what == "past":
            past = [
                Frame(data + bytes([48 + place]), channel, lane_of(channel), is_past=True) for place in range(amount)
            ]
            model.waiting += past
            real.replay(iter([frame.data for frame in past]), channel)
        else:
            take(real, model, amount)
        assert (real.messages, real.size, real.lost or {}) == (model.messages(), model.size(), model.lost)
        assert real.control_bytes == sum(len(f.data) for f in model.waiting if not f.policy and not f.is_past)
    real.control(close_frame(1000))
    assert drain(real) == b"".join([*(frame.data for frame in model.in_order()), close_frame(1000)])
    assert real.messages == real.size == real.control_bytes == len(real) == 0


def publish(real: PriorityOutbox, model: NaiveOutbox, frame: Frame) -> None:
    before = model.messages() + 1
    expected = model.enqueue(frame)
    result, dropped = real.enqueue(Chunk(frame.channel, frame.policy, [frame.data], frame.data, [frame.key]), 0)
    assert (list(result.refused), result.is_slow) == (list(expected.refused), expected.is_slow)
    assert dropped == (0 if result.is_slow else before - model.messages())


def reply(real: PriorityOutbox, data: bytes, channel: str, *, is_notice: bool) -> None:
    """A notice comes with its channel, the reply of a session is marked with it."""
    if channel and not is_notice:
        marked = ChannelReply(data)
        marked.channel = channel
        real.control(marked)
    else:
        real.control(data, channel)


def take(real: PriorityOutbox, model: NaiveOutbox, batch_bytes: int) -> None:
    with patch.object(module, "BATCH_BYTES", batch_bytes):
        taken = b"".join(real.take())
    expected = model.in_order()
    assert bool(taken) == bool(expected)
    assert len(taken) >= min(batch_bytes, sum(len(frame.data) for frame in expected))
    for frame in expected:
        if not taken:
            break
        assert taken.startswith(frame.data)
        taken = taken.removeprefix(frame.data)
        model.waiting.remove(frame)
    assert not taken


def slow_outbox() -> PriorityOutbox:
    """One whose client has not read for a second."""
    outbox = PriorityOutbox(Bounds(MESSAGES, BYTES), TABLE)
    outbox._since -= 1.0
    return outbox


def drain(outbox: PriorityOutbox) -> bytes:
    taken = b""
    while batch := outbox.take():
        taken += b"".join(batch)
    return taken


def chunk(channel: str, *texts: str) -> Chunk:
    frames = [text.encode() for text in texts]
    return Chunk(channel, policy_of(channel), frames, b"".join(frames), [text[0] for text in texts])


def test_high_channels_come_first_and_low_ones_last_within_a_channel_in_order() -> None:
    outbox = slow_outbox()
    for channel, text in [("low:d", "l1"), ("usual:d", "u1"), ("high:d", "h1"), ("low:d", "l2"), ("high:o", "h2")]:
        outbox.enqueue(chunk(channel, text), 0)
    assert drain(outbox) == b"h1h2u1l1l2"


def test_the_response_and_the_greeting_come_before_everything_and_the_close_after_everything() -> None:
    outbox = slow_outbox()
    outbox.control(close_frame(1001))
    outbox.enqueue(chunk("high:d", "h"), 0)
    outbox.enqueue(chunk("low:d", "l"), 0)
    outbox.control(OpeningFrame(b"101"))
    assert drain(outbox) == b"101hl" + close_frame(1001)


def test_a_message_to_this_client_only_is_not_dropped_for_a_higher_priority() -> None:
    outbox = slow_outbox()
    outbox.enqueue(chunk("", *map(str, range(MESSAGES))), 0)
    assert outbox.enqueue(chunk("high:n", "h"), 0) == (Enqueued([0]), 1)
    assert drain(outbox) == b"012345"


def test_of_a_channel_that_keeps_the_oldest_the_newest_is_dropped() -> None:
    outbox = slow_outbox()
    outbox.enqueue(chunk("low:n", *map(str, range(MESSAGES))), 0)
    assert outbox.enqueue(chunk("high:n", "h"), 0) == (ENQUEUED, 1)
    assert outbox.enqueue(chunk("low:n", "6"), 0) == (Enqueued([0]), 1)
    assert outbox.lost == {"low:n": 2}
    assert drain(outbox) == b"h01234"


def test_nothing_of_a_higher_priority_is_dropped() -> None:
    outbox = slow_outbox()
    outbox.enqueue(chunk("high:o", *map(str, range(MESSAGES))), 0)
    assert outbox.enqueue(chunk("low:o", "l"), 0) == (Enqueued([0]), 1)
    assert outbox.enqueue(chunk("usual:c", "u"), 0) == (Enqueued([0]), 1)
    assert outbox.enqueue(chunk("high:o", "6"), 0) == (ENQUEUED, 1)
    assert drain(outbox) == b"123456"


def test_clearing_empties_all_lanes() -> None:
    outbox = slow_outbox()
    for channel in ("high:d", "usual:d", "low:d"):
        outbox.enqueue(chunk(channel, "x"), 0)
        outbox.control(b"reply", channel)
    assert outbox.clear() == 3
    assert outbox.messages == outbox.size == outbox.control_bytes == len(outbox) == 0
    assert outbox.take() == []
