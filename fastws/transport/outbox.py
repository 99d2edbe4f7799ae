"""The outbox: the bounded queue of one client. Created when its socket blocks, removed when it is empty again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from fastws.hub.channel import Chunk
from fastws.hub.ports import ENQUEUED, Enqueued

if TYPE_CHECKING:
    from fastws.transport.backpressure import PublisherPause

# Bytes handed to the transport at a time. The rest stays here, where slow policies can still drop it.
BATCH_BYTES: Final = 65_536
# A client whose socket has been blocked for less than this is assumed to be reading.
BURST_SECONDS: Final = 0.1
DROPPABLE: Final = frozenset({"drop_oldest", "conflate"})


@dataclass(slots=True, frozen=True)
class Bounds:
    """Limits of what may wait for one client: max_queue_messages and max_queue_bytes."""

    messages: int
    bytes: int


class Waiting(NamedTuple):
    """One entry of the queue: a frame, or `messages` frames joined.

    Entries with `messages` 0 belong to the control lane and are never dropped. An empty `channel` marks a direct
    message to this client. An entry with `past` stands for frames of the past, which are made when they are taken and
    do not count towards the bounds.
    """

    data: bytes
    messages: int
    channel: str
    policy: str
    key: str
    past: Iterator[bytes] | None = None


class Outbox:
    """A queue of references to shared chunks. `lost` counts dropped messages by channel, for the next lag notice."""

    __slots__ = (
        "_bounds",
        "_bytes",
        "_entries",
        "_messages",
        "_past_taken",
        "_since",
        "control_bytes",
        "has_overflowed",
        "has_paused_publishers",
        "is_blocked",
        "lost",
        "publisher_pauses",
        "taken",
    )

    # Whether everything but the opening waits (see PriorityOutbox).
    is_held = False

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._entries: deque[Waiting] = deque()
        self._messages = 0
        self._since = time.monotonic()
        self._bytes = 0
        # Bytes of the past in the last batch: the transport's buffer may consist of them, and they count nowhere.
        self._past_taken = 0
        self.control_bytes = 0
        self.is_blocked = True
        # Publishers that are paused until this outbox is empty; they are paused at most once.
        self.publisher_pauses: list[PublisherPause] = []
        self.has_paused_publishers = False
        # Whether a message was refused or dropped for lack of room since this outbox was created.
        self.has_overflowed = False
        self.lost: dict[str, int] | None = None
        # Total bytes handed to the transport.
        self.taken = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def messages(self) -> int:
        """Number of queued messages, without the control lane."""
        return self._messages

    @property
    def size(self) -> int:
        """Number of queued bytes, with the control lane."""
        return self._bytes

    def enqueue(self, chunk: Chunk, transport_bytes: int) -> tuple[Enqueued, int]:
        """Queue `chunk` within the bounds. Returns the result and the number of messages dropped for it.

        `transport_bytes` is the size of the transport's own buffer, which counts towards the bound on bytes. A message
        that was queued and is dropped later for a newer one does not count as refused, even within one chunk. A single
        message that is larger than the whole queue is skipped with a lag notice under every policy: disconnecting
        would only make the client reconnect and be cut off again.
        """
        transport_bytes = max(transport_bytes - self._past_taken, 0)
        if chunk.policy == "conflate":
            return self._conflate(chunk, transport_bytes)
        if self._fits(len(chunk.frames), len(chunk.data), transport_bytes) or self._is_burst(chunk, transport_bytes):
            self._append_run(chunk)
            return ENQUEUED, 0
        if chunk.policy == "drop_oldest":
            return self._make_room(chunk, transport_bytes, range(len(chunk.frames)))
        if chunk.policy == "drop_newest" or not self._is_too_much(chunk, transport_bytes):
            return self._append_what_fits(chunk, transport_bytes)
        self.has_overflowed = True
        return Enqueued(range(len(chunk.frames)), is_slow=True), 0

    def _is_burst(self, chunk: Chunk, transport_bytes: int) -> bool:
        """Whether this may be a burst to a client that reads, because nothing has been waiting for long.

        For a burst, only the bound on bytes applies, not the one on messages (spec 6). For the first BURST_SECONDS the
        transport's buffer does not count: it was filled while the socket still took everything.
        """
        if chunk.policy != "disconnect":
            return False
        size = self._bytes + len(chunk.data)
        if time.monotonic() - self._since < BURST_SECONDS:
            return size <= self._bounds.bytes
        return not self._messages and size + transport_bytes <= self._bounds.bytes

    def _is_too_much(self, chunk: Chunk, transport_bytes: int) -> bool:
        """Whether the client must be cut off. Not for a single message or run that is larger than an empty queue."""
        if len(chunk.frames) == 1:
            return len(chunk.data) <= self._bounds.bytes
        return bool(self._messages) or not self._fits(1, len(chunk.frames[0]), transport_bytes)

    def control(self, data: bytes, channel: str = "") -> None:
        """Queue a reply, error, pong or close frame. It keeps its place in the order and is never dropped.

        `channel` is what a notice is about; it only matters with priorities (see PriorityOutbox).
        """
        self._entries.append(Waiting(data, 0, channel, "", ""))
        self._bytes += len(data)
        self.control_bytes += len(data)

    def replay(self, frames: Iterator[bytes], channel: str) -> None:
        """Queue `frames` of the past of `channel`: before anything newer, outside the bounds."""
        self._entries.append(Waiting(b"", 0, channel, "", "", frames))

    def take(self) -> list[bytes]:
        """Remove and return the next batch for the transport, oldest first; [] if the queue is empty."""
        taken: list[bytes] = []
        self._past_taken = 0
        self._take_from(self._entries, taken, BATCH_BYTES)
        return taken

    def _take_from(self, entries: deque[Waiting], taken: list[bytes], wanted: int) -> int:
        """Move about `wanted` bytes, oldest first, from `entries` to `taken`. Returns the bytes moved."""
        size = past_size = 0
        while entries and size + past_size < wanted:
            entry = entries.popleft()
            if entry.past is not None:
                past_size += self._take_past(entries, entry, entry.past, taken, wanted - size - past_size)
                continue
            taken.append(entry.data)
            size += len(entry.data)
            self._messages -= entry.messages
            if not entry.messages:
                self.control_bytes -= len(entry.data)
        self._bytes -= size
        self._past_taken += past_size
        self.taken += size + past_size
        return size + past_size

    @staticmethod
    def _take_past(
        entries: deque[Waiting], entry: Waiting, frames: Iterator[bytes], taken: list[bytes], wanted: int
    ) -> int:
        """Move about `wanted` bytes of the past to `taken`. The rest stays in its place. Returns the bytes moved."""
        size = 0
        for frame in frames:
            taken.append(frame)
            size += len(frame)
            if size >= wanted:
                entries.appendleft(entry)
                break
        return size

    def clear(self) -> int:
        """Empty the queue. Returns the number of messages dropped."""
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

    def _entries_of(self, channel: str) -> deque[Waiting]:
        """The queue in which the entries of `channel` wait."""
        return self._entries

    def _append_run(self, chunk: Chunk) -> None:
        """Queue a whole chunk: frame by frame if one of them may be dropped later."""
        if chunk.policy in DROPPABLE:
            self._append_frames(chunk)
        else:
            self._append(Waiting(chunk.data, len(chunk.frames), chunk.channel, chunk.policy, ""))

    def _append_frames(self, chunk: Chunk) -> None:
        for frame, key in zip(chunk.frames, chunk.keys, strict=True):
            self._append(Waiting(frame, 1, chunk.channel, chunk.policy, key))

    def _lose(self, channel: str, count: int) -> None:
        if not channel:
            return  # a direct message: its sender gets the result, so the client needs no notice
        if self.lost is None:
            self.lost = {}
        self.lost[channel] = self.lost.get(channel, 0) + count

    def _refuse(self, chunk: Chunk, position: int) -> None:
        """Count a frame that does not fit. A frame larger than the whole queue does not count as an overflow."""
        self._lose(chunk.channel, 1)
        if len(chunk.frames[position]) <= self._bounds.bytes:
            self.has_overflowed = True

    def _append_what_fits(self, chunk: Chunk, transport_bytes: int) -> tuple[Enqueued, int]:
        refused = []
        for position, (frame, key) in enumerate(zip(chunk.frames, chunk.keys, strict=True)):
            if self._fits(1, len(frame), transport_bytes):
                self._append(Waiting(frame, 1, chunk.channel, chunk.policy, key))
            else:
                self._refuse(chunk, position)
                refused.append(position)
        return Enqueued(refused) if refused else ENQUEUED, len(refused)

    def _make_room(self, chunk: Chunk, transport_bytes: int, positions: Iterable[int]) -> tuple[Enqueued, int]:
        """Drop the oldest messages until the new ones fit. Returns the result and the number of dropped messages."""
        dropped = 0
        refused = []
        for position in positions:
            frame = chunk.frames[position]
            # Nothing is dropped for a frame that would not fit into an empty queue either.
            while len(frame) + transport_bytes <= self._bounds.bytes and not self._fits(1, len(frame), transport_bytes):
                self.has_overflowed = True
                if not self._drop_for(chunk):
                    break
                dropped += 1
            if self._fits(1, len(frame), transport_bytes):
                self._append(Waiting(frame, 1, chunk.channel, chunk.policy, chunk.keys[position]))
            else:
                self._refuse(chunk, position)
                refused.append(position)
        return Enqueued(refused) if refused else ENQUEUED, dropped + len(refused)

    def _drop_for(self, chunk: Chunk) -> bool:
        """Drop one message to make room for `chunk`. Returns False if there is none that may be dropped."""
        return self._drop_oldest(self._entries)

    def _drop_oldest(self, entries: deque[Waiting]) -> bool:
        """Drop the oldest message of `entries` whose policy allows it. Returns False if there is none."""
        for position, entry in enumerate(entries):
            if entry.policy in DROPPABLE:
                self._drop(entries, position, entry)
                return True
        return False

    def _drop(self, entries: deque[Waiting], position: int, entry: Waiting) -> None:
        del entries[position]
        self._messages -= entry.messages
        self._bytes -= len(entry.data)
        self._lose(entry.channel, entry.messages)

    def _conflate(self, chunk: Chunk, transport_bytes: int) -> tuple[Enqueued, int]:
        """Queue only the latest message of each (channel, key), in the order of publication."""
        latest = {key: position for position, key in enumerate(chunk.keys)}
        conflated = len(chunk.frames) - len(latest)
        entries = self._entries_of(chunk.channel)
        stale = [e for e in entries if e.channel == chunk.channel and e.key in latest and e.policy == "conflate"]
        for entry in stale:
            entries.remove(entry)
            self._messages -= 1
            self._bytes -= len(entry.data)
        result, dropped = self._make_room(chunk, transport_bytes, sorted(latest.values()))
        return result, conflated + len(stale) + dropped
