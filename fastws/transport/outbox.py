"""The outbox: what one client has not read yet, bounded. Made when its socket stops taking, gone when it is empty."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from fastws.hub.channel import Chunk
from fastws.hub.ports import ENQUEUED, Enqueued

if TYPE_CHECKING:
    from fastws.transport.backpressure import PublisherPause

# Bytes handed to the transport at a time, so that most of what waits stays here, where policies reach it.
BATCH_BYTES: Final = 65_536
# How long a client's socket may have been full for its reading to be taken for granted.
BURST_SECONDS: Final = 0.1
DROPPABLE: Final = frozenset({"drop_oldest", "conflate"})


@dataclass(slots=True, frozen=True)
class Bounds:
    """What may wait for one client."""

    messages: int
    bytes: int


class Waiting(NamedTuple):
    """One frame (or chunk of `messages` frames) that waits.

    `messages` 0 is the control lane, never dropped; `channel` "" a message for this client alone.
    """

    data: bytes
    messages: int
    channel: str
    policy: str
    key: str


class Outbox:
    """References to shared chunks, in order. `lost` counts what was dropped by channel, until the client is told."""

    __slots__ = (
        "_bounds",
        "_bytes",
        "_entries",
        "_messages",
        "_since",
        "control_bytes",
        "has_overflowed",
        "has_paused_publishers",
        "is_blocked",
        "lost",
        "publisher_pauses",
        "taken",
    )

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._entries: deque[Waiting] = deque()
        self._messages = 0
        self._since = time.monotonic()
        self._bytes = 0
        self.control_bytes = 0
        self.is_blocked = True
        # Publishers that wait for this to be empty; they are made to once.
        self.publisher_pauses: list[PublisherPause] = []
        self.has_paused_publishers = False
        # Whether something was refused or has given way because there was no room, since the client last read all.
        self.has_overflowed = False
        self.lost: dict[str, int] | None = None
        # Bytes handed to the transport so far.
        self.taken = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def messages(self) -> int:
        return self._messages

    @property
    def size(self) -> int:
        """Bytes."""
        return self._bytes

    def enqueue(self, chunk: Chunk, transport_bytes: int) -> tuple[Enqueued, int]:
        """Keep `chunk` within the bounds. Returns what was refused, and how many messages were dropped for it.

        `transport_bytes` is what the transport holds before all this. What gives way to something newer later, be it
        of the same chunk, was taken. One message larger than the whole queue is skipped with a notice whatever the
        policy: a client would only come back to be cut off again.
        """
        if chunk.policy == "conflate":
            return self._hold_latest(chunk, transport_bytes)
        if self._fits(len(chunk.frames), len(chunk.data), transport_bytes) or self._is_burst(chunk, transport_bytes):
            if chunk.policy in DROPPABLE:
                self._append_frames(chunk)
            else:
                self._append(Waiting(chunk.data, len(chunk.frames), chunk.channel, chunk.policy, ""))
            return ENQUEUED, 0
        if chunk.policy == "drop_oldest":
            return self._make_room(chunk, transport_bytes, range(len(chunk.frames)))
        if chunk.policy == "drop_newest" or not self._is_too_much(chunk, transport_bytes):
            return self._hold_what_fits(chunk, transport_bytes)
        self.has_overflowed = True
        return Enqueued(range(len(chunk.frames)), is_slow=True), 0

    def _is_burst(self, chunk: Chunk, transport_bytes: int) -> bool:
        """Whether this is, or may still be, a burst to a client that reads: nothing has been waiting for long.

        Then the bound on messages does not speak yet (spec 6), the one on bytes does; at first without what the
        transport holds, all of which it was given while it took everything.
        """
        if chunk.policy != "disconnect":
            return False
        size = self._bytes + len(chunk.data)
        if time.monotonic() - self._since < BURST_SECONDS:
            return size <= self._bounds.bytes
        return not self._messages and size + transport_bytes <= self._bounds.bytes

    def _is_too_much(self, chunk: Chunk, transport_bytes: int) -> bool:
        """Whether the client is to be cut off: not for what alone is larger than its queue, one message or one run."""
        if len(chunk.frames) == 1:
            return len(chunk.data) <= self._bounds.bytes
        return bool(self._messages) or not self._fits(1, len(chunk.frames[0]), transport_bytes)

    def control(self, data: bytes) -> None:
        """A reply, error, pong or close: waits in its turn, is never dropped."""
        self._entries.append(Waiting(data, 0, "", "", ""))
        self._bytes += len(data)
        self.control_bytes += len(data)

    def take(self) -> list[bytes]:
        """The next batch for the transport, oldest first; at least one entry while there is any."""
        taken: list[bytes] = []
        size = 0
        entries = self._entries
        while entries and size < BATCH_BYTES:
            entry = entries.popleft()
            taken.append(entry.data)
            size += len(entry.data)
            self._messages -= entry.messages
            if not entry.messages:
                self.control_bytes -= len(entry.data)
        self._bytes -= size
        self.taken += size
        return taken

    def clear(self) -> int:
        """Forget everything. Returns the messages that were waiting."""
        messages = self._messages
        self._entries.clear()
        self._messages = self._bytes = self.control_bytes = 0
        return messages

    def _fits(self, count: int, size: int, transport_bytes: int) -> bool:
        bounds = self._bounds
        return self._messages + count <= bounds.messages and self._bytes + transport_bytes + size <= bounds.bytes

    def _append(self, entry: Waiting) -> None:
        self._entries.append(entry)
        self._messages += entry.messages
        self._bytes += len(entry.data)

    def _append_frames(self, chunk: Chunk) -> None:
        for frame, key in zip(chunk.frames, chunk.keys, strict=True):
            self._append(Waiting(frame, 1, chunk.channel, chunk.policy, key))

    def _lose(self, channel: str, count: int) -> None:
        if not channel:
            return  # it was for this client alone: the sender is told
        if self.lost is None:
            self.lost = {}
        self.lost[channel] = self.lost.get(channel, 0) + count

    def _refuse(self, chunk: Chunk, position: int) -> None:
        """One frame does not fit. If it never could, however empty the queue is, that is no overflow."""
        self._lose(chunk.channel, 1)
        if len(chunk.frames[position]) <= self._bounds.bytes:
            self.has_overflowed = True

    def _hold_what_fits(self, chunk: Chunk, transport_bytes: int) -> tuple[Enqueued, int]:
        refused = []
        for position, (frame, key) in enumerate(zip(chunk.frames, chunk.keys, strict=True)):
            if self._fits(1, len(frame), transport_bytes):
                self._append(Waiting(frame, 1, chunk.channel, chunk.policy, key))
            else:
                self._refuse(chunk, position)
                refused.append(position)
        return Enqueued(refused) if refused else ENQUEUED, len(refused)

    def _make_room(self, chunk: Chunk, transport_bytes: int, positions: Iterable[int]) -> tuple[Enqueued, int]:
        """Drop the oldest until the newest fit. Returns what could not be taken, and how many were dropped in all."""
        dropped = 0
        refused = []
        for position in positions:
            frame = chunk.frames[position]
            # For what cannot fit however much is dropped nothing is.
            while len(frame) + transport_bytes <= self._bounds.bytes and not self._fits(1, len(frame), transport_bytes):
                self.has_overflowed = True
                if not self._drop_oldest():
                    break
                dropped += 1
            if self._fits(1, len(frame), transport_bytes):
                self._append(Waiting(frame, 1, chunk.channel, chunk.policy, chunk.keys[position]))
            else:
                self._refuse(chunk, position)
                refused.append(position)
        return Enqueued(refused) if refused else ENQUEUED, dropped + len(refused)

    def _drop_oldest(self) -> bool:
        """Drop the oldest message that a policy lets go; False if there is none."""
        for position, entry in enumerate(self._entries):
            if entry.policy in DROPPABLE:
                del self._entries[position]
                self._messages -= entry.messages
                self._bytes -= len(entry.data)
                self._lose(entry.channel, entry.messages)
                return True
        return False

    def _hold_latest(self, chunk: Chunk, transport_bytes: int) -> tuple[Enqueued, int]:
        """Conflate: of each (channel, key) only the latest waits, in the order in which they were published."""
        latest = {key: position for position, key in enumerate(chunk.keys)}
        conflated = len(chunk.frames) - len(latest)
        stale = [e for e in self._entries if e.channel == chunk.channel and e.key in latest and e.policy == "conflate"]
        for entry in stale:
            self._entries.remove(entry)
            self._messages -= 1
            self._bytes -= len(entry.data)
        held, dropped = self._make_room(chunk, transport_bytes, sorted(latest.values()))
        return held, conflated + len(stale) + dropped
