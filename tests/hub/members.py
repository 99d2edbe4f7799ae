"""A loop turned by hand, and members of the hub that keep what they were handed."""

from __future__ import annotations

from collections.abc import Callable, Collection

from fastws.errors import FastWSError, Unencodable
from fastws.hub.channel import Audience, Chunk
from fastws.hub.ports import Enqueued
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Reply


class Wheel:
    """What the hub wants to have called, until the test calls it."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.now = 0.0

    def schedule(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def schedule_later(self, seconds: float, callback: Callable[[], None]) -> None:
        self.timers.append((self.now + seconds, callback))

    def turn(self) -> None:
        """One iteration: what is there now, not what it schedules."""
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()

    def advance(self, seconds: float) -> None:
        """Let time pass and call the timers that are due."""
        self.now += seconds
        due = sorted((at for at in self.timers if at[0] <= self.now), key=lambda at: at[0])
        self.timers = [at for at in self.timers if at[0] > self.now]
        for _, callback in due:
            callback()

    def run_out(self) -> None:
        """Turn until nothing is left to do."""
        while self.soon or self.timers:
            self.turn()
            if self.timers:
                self.advance(max(at for at, _ in self.timers) - self.now)


class LineForm:
    """A wire form whose frame is one line: channel, event and data. It cannot encode events that begin with "un"."""

    def __init__(self, name: str, *, says_everything: bool = True) -> None:
        self.name = name
        self.says_everything = says_everything
        self.framed = 0

    def says(self, event: str) -> bool:
        return self.says_everything or not event.startswith("un")

    def frame(self, publication: Publication) -> bytes:
        self.framed += 1
        if not self.says(publication.event):
            raise Unencodable(f"{self.name} cannot say {publication.event}")
        return f"{publication.channel}|{publication.event}|{publication.data}\n".encode()


class Listener:
    """A member. While `reads` it takes everything; else `room` messages wait, and the channel's policy decides.

    It stops and resumes reading when the test wants it to, between any two turns, or stops during a write, as a socket
    does, after `writes_left` writes. `heard` and `refused` are the lines in the order in which they arrived.
    """

    def __init__(self, name: str, room: int = 4) -> None:
        self.id = name
        self.audiences: tuple[Audience, ...] = ()
        self.send: Callable[[bytes], object] = self._take
        self.reads = True
        self.is_gone = False
        self.room = room
        self.heard: list[str] = []
        self.writes_left: int | None = None
        self.refused: list[str] = []
        self.told: list[Reply] = []
        self.writes = 0
        self.cut_off_for: str | None = None
        self.leave: Callable[[], None] = lambda: None

    def read_again(self) -> None:
        self.reads = True
        self.writes_left = None

    def _take(self, data: bytes) -> bool:
        assert not self.is_gone, "written to after it has left"
        if not self.reads:
            return True
        self.writes += 1
        self.heard += data.decode().splitlines()
        if self.writes_left is not None:
            self.writes_left -= 1
            self.reads = self.writes_left > 0
        return False

    def enqueue(self, chunk: Chunk) -> Enqueued:
        assert not self.reads, "it has read meanwhile, and may have heard newer publications"
        assert b"".join(chunk.frames) == chunk.data
        assert len(chunk.frames) == len(chunk.keys)
        lines = chunk.data.decode().splitlines()
        taken = min(len(lines), self.room)
        if taken < len(lines) and chunk.policy == "disconnect":
            self.refused += lines
            return Enqueued(range(len(lines)), is_slow=True)
        self.room -= taken
        self.heard += lines[:taken]
        self.refused += lines[taken:]
        return Enqueued(range(taken, len(lines)))

    def apply_backpressure(self, senders: Collection[str]) -> None:
        """It publishes nothing."""

    def notify(self, reply: Reply) -> None:
        self.told.append(reply)

    def cut_off(self, channel: str) -> None:
        self.cut_off_for = channel
        self.is_gone = True
        self.leave()


class Note:
    """A receipt that keeps how it ended."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[int, int] | FastWSError] = []

    def done(self, sent: int, failed: int) -> None:
        self.outcomes.append((sent, failed))

    def refused(self, error: FastWSError) -> None:
        self.outcomes.append(error)
