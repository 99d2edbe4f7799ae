"""An outbox with priorities: what waits of high channels is sent first, of low channels last."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from fastws.hub.channel import Chunk
from fastws.hub.ports import Enqueued
from fastws.session.prioritized_session import ChannelReply, OpeningFrame
from fastws.transport.outbox import BATCH_BYTES, DROPPABLE, Bounds, Outbox, Waiting
from fastws.vocabulary.channel_table import ChannelTable
from fastws.wire.opcodes import CLOSE

# The lanes, in the order in which they are sent.
OPENING, HIGH, USUAL, LOW, CLOSING = range(5)
NO_PRIORITIES: Final = ChannelTable[str](())
_LANES: Final = {"high": HIGH, "low": LOW, None: USUAL}
# The first byte of a close frame (RFC 6455 section 5.2).
_CLOSE_BYTE: Final = 0x80 | CLOSE


class PriorityOutbox(Outbox):
    """Three lanes of publications, by the `priorities` of their channels. Within a channel, the order never changes.

    Replies and notices about a channel wait in its lane. Room for a message is made by dropping messages of lower
    priority first, and never messages of a higher one.
    """

    __slots__ = ("_lanes", "_priorities", "is_held")

    def __init__(self, bounds: Bounds, priorities: ChannelTable[str], *, is_held: bool = False) -> None:
        super().__init__(bounds)
        # Whether only the opening lane is sent, because the greeting is not there yet.
        self.is_held = is_held
        # The inherited methods work on the lane in `_entries`.
        self._lanes: tuple[deque[Waiting], ...] = tuple(deque() for _ in range(5))
        self._priorities = priorities

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    def control(self, data: bytes, channel: str = "") -> None:
        """Queue a reply, error or pong; a close frame comes after everything else."""
        if isinstance(data, ChannelReply):
            channel = data.channel
        if isinstance(data, OpeningFrame):
            self._entries = self._lanes[OPENING]
        elif data[0] == _CLOSE_BYTE:
            self._entries = self._lanes[CLOSING]
        else:
            self._entries = self._entries_of(channel)
        super().control(data, channel)

    def replay(self, frames: Iterator[bytes], channel: str) -> None:
        """Queue `frames` of the past of `channel`, before anything newer of this channel."""
        self._entries = self._entries_of(channel)
        super().replay(frames, channel)

    def take(self) -> list[bytes]:
        """Remove and return the next batch for the transport, highest priority first; [] if the queue is empty."""
        taken: list[bytes] = []
        self._past_taken = 0
        wanted = BATCH_BYTES
        for lane in self._lanes[: HIGH if self.is_held else None]:
            wanted -= self._take_from(lane, taken, wanted)
            if wanted <= 0:
                break
        return taken

    def clear(self) -> int:
        """Empty the queue. Returns the number of messages dropped."""
        for lane in self._lanes:
            lane.clear()
        return super().clear()

    def drop_publications(self) -> int:
        """Drop everything but replies and closes. Returns the number of messages dropped."""
        messages, self._messages = self._messages, 0
        for lane in self._lanes:
            kept = [entry for entry in lane if not entry.messages and entry.past is None]
            lane.clear()
            lane.extend(kept)
        self._bytes = self.control_bytes
        return messages

    def _lane_of(self, channel: str) -> int:
        return _LANES[self._priorities(channel)] if channel else USUAL

    def _entries_of(self, channel: str) -> deque[Waiting]:
        return self._lanes[self._lane_of(channel)]

    def _append(self, entry: Waiting) -> None:
        self._entries = self._entries_of(entry.channel)
        super()._append(entry)

    def _append_run(self, chunk: Chunk) -> None:
        if chunk.policy == "disconnect":
            super()._append_run(chunk)
        else:
            self._append_frames(chunk)  # any of them may be dropped later

    def _append_what_fits(self, chunk: Chunk, transport_bytes: int) -> tuple[Enqueued, int]:
        if chunk.policy == "drop_newest":
            return self._make_room(chunk, transport_bytes, range(len(chunk.frames)))
        return super()._append_what_fits(chunk, transport_bytes)

    def _drop_for(self, chunk: Chunk) -> bool:
        """Drop a message of lower priority than `chunk`, or else of the same if its policy drops old ones."""
        own = self._lane_of(chunk.channel)
        for lane in range(LOW, own, -1):
            entries = self._lanes[lane]
            if self._drop_oldest(entries) or self._drop_newest(entries):
                return True
        return chunk.policy in DROPPABLE and self._drop_oldest(self._lanes[own])

    def _drop_newest(self, entries: deque[Waiting]) -> bool:
        """Drop the newest message of `entries` with policy drop_newest. Returns False if there is none.

        Messages to this client only are not dropped, because their senders know that they were taken.
        """
        for back, entry in enumerate(reversed(entries), start=1):
            if entry.policy == "drop_newest" and entry.channel:
                self._drop(entries, len(entries) - back, entry)
                return True
        return False
