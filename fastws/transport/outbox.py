"""The outbox: what one client has not read yet, bounded. Made when its socket stops taking, gone when it is empty."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from fastws.hub.channel import Chunk
from fastws.hub.ports import Verdict

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
        "has_paused_publishers",
        "is_blocked",
        "lost",
        "publisher_pauses",
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
        self.lost: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def messages(self) -> int:
        return self._messages

    @property
    def size(self) -> int:
        """Bytes."""
        return self._bytes

    def enqueue(self, chunk: Chunk, transport_bytes: int) -> tuple[Verdict, int]:
        """Keep `chunk` within the bounds. Returns the verdict, and how many messages were dropped for it.

        `transport_bytes` is what the transport holds before all this. One message larger than the whole queue is
        skipped with a notice whatever the policy: a client would only come back to be cut off again.
        """
        if chunk.policy == "conflate":
            return self._hold_latest(chunk, transport_bytes)
        count, size = len(chunk.frames), len(chunk.data)
        if self._fits(count, size, transport_bytes) or (
            self._is_burst(chunk) and self._bytes + transport_bytes + size <= self._bounds.bytes
        ):
            if chunk.policy in DROPPABLE:
                self._append_frames(chunk)
            else:
                self._append(Waiting(chunk.data, count, chunk.channel, chunk.policy, ""))
            return Verdict.HELD, 0
        if count == 1 and size > self._bounds.bytes:
            self._lose(chunk.channel, 1)
            return Verdict.REFUSED, 1
        if chunk.policy == "disconnect":
            return Verdict.SLOW, 0
        if chunk.policy == "drop_newest":
            return self._hold_what_fits(chunk, transport_bytes)
        return Verdict.HELD, self._make_room(chunk, transport_bytes)

    def _is_burst(self, chunk: Chunk) -> bool:
        """Whether this may still be a burst to a client that reads: many messages, none of them waiting for long.

        Then the bound on messages does not speak yet (spec 6), the one on bytes does.
        """
        return chunk.policy == "disconnect" and time.monotonic() - self._since < BURST_SECONDS

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

    def _hold_what_fits(self, chunk: Chunk, transport_bytes: int) -> tuple[Verdict, int]:
        dropped = 0
        for frame, key in zip(chunk.frames, chunk.keys, strict=True):
            if dropped == 0 and self._fits(1, len(frame), transport_bytes):
                self._append(Waiting(frame, 1, chunk.channel, chunk.policy, key))
            else:
                dropped += 1
        if dropped:
            self._lose(chunk.channel, dropped)
        return (Verdict.REFUSED if dropped else Verdict.HELD), dropped

    def _make_room(self, chunk: Chunk, transport_bytes: int) -> int:
        """Drop the oldest until the newest fit. Returns how many were dropped, of the chunk itself too."""
        dropped = 0
        for frame, key in zip(chunk.frames, chunk.keys, strict=True):
            # For what cannot fit however much is dropped nothing is.
            while len(frame) + transport_bytes <= self._bounds.bytes and not self._fits(1, len(frame), transport_bytes):
                if not self._drop_oldest():
                    break
                dropped += 1
            if self._fits(1, len(frame), transport_bytes):
                self._append(Waiting(frame, 1, chunk.channel, chunk.policy, key))
            else:
                self._lose(chunk.channel, 1)
                dropped += 1
        return dropped

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

    def _hold_latest(self, chunk: Chunk, transport_bytes: int) -> tuple[Verdict, int]:
        """Conflate: of each (channel, key) only the latest waits."""
        latest = dict(zip(chunk.keys, chunk.frames, strict=True))
        conflated = len(chunk.frames) - len(latest)
        stale = [e for e in self._entries if e.channel == chunk.channel and e.key in latest and e.policy == "conflate"]
        for entry in stale:
            self._entries.remove(entry)
            self._messages -= 1
            self._bytes -= len(entry.data)
        conflated += len(stale)
        frames, keys = list(latest.values()), list(latest)
        newest = Chunk(chunk.channel, chunk.policy, frames, b"", keys)
        return Verdict.HELD, conflated + self._make_room(newest, transport_bytes)
