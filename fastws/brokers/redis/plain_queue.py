"""The plain messages of one channel that this process has received and that have no offset yet.

Redis delivers published messages to all connections in one order. A *watch* is a time in which, without a break, at
least one process has received every plain message of the channel. Within it each message has a place, the same for
every process: the script numbers only the next place, whoever asks for it, so that none is numbered twice or left out.
A process that comes later learns its place by a note that it publishes on the channel: somebody who knows answers with
the place of the last message before that note.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from fastws.brokers.history import HistoryRule
from fastws.vocabulary.publication import Publication

# The place of the last message before a watch begins.
FIRST_PLACE: Final = 1_000_000_000
MAX_ENTRIES: Final = 10_000
# The node in the envelope of a numbered plain message begins with this, then comes the watch. Its number is the place.
PLAIN: Final = "plain:"


class Entry(NamedTuple):
    """A message and when it was received."""

    publication: Publication
    heard_at: float


class PlainQueue:
    """The messages of a channel that this process has received, but not yet with an offset, oldest first.

    `watch` is None while the places are not known. `sent` of the entries are on their way to the script.
    """

    __slots__ = (
        "asked",
        "channel",
        "ends_at",
        "entries",
        "is_awaited",
        "is_numberer",
        "is_retrying",
        "joining",
        "last",
        "notes",
        "numbered",
        "rule",
        "sent",
        "since_note",
        "unvouched_since",
        "watch",
    )

    def __init__(self, channel: str, rule: HistoryRule) -> None:
        self.channel = channel
        self.rule = rule
        self.watch: str | None = None
        # The place of the last message received.
        self.last = 0
        self.entries: deque[Entry] = deque()
        self.sent = 0
        self.is_numberer = False
        # The last place received numbered, and its watch.
        self.numbered = ("", 0)
        # The token of the note by which this process joins, and the messages received since that note.
        self.joining: str | None = None
        self.since_note: int | None = None
        # How often this process has asked.
        self.notes = 0
        # Notes of others that nobody has answered: their last place by token.
        self.asked: dict[str, int] = {}
        # Somebody waits for the watch.
        self.is_awaited = False
        self.is_retrying = False
        # When the watch ends because the script refuses the first entry, unless it is received numbered before that.
        self.ends_at: float | None = None
        # Since when the script waits for a process that vouches for the numbering.
        self.unvouched_since: float | None = None

    @property
    def first(self) -> int:
        """The place of the first entry."""
        return self.last - len(self.entries) + 1

    def hear(self, publication: Publication, now: float) -> bool:
        """Take the next message. Returns False if there are too many: then the watch is over for this process."""
        self.entries.append(Entry(publication, now))
        self.last += 1
        if self.since_note is not None:
            self.since_note += 1
        if len(self.entries) <= MAX_ENTRIES:
            return True
        if self.watch is None:
            self.entries.popleft()
            return True
        return False

    def lose(self) -> None:
        """Messages may have been missed: the places are not known any more."""
        self.leave()
        self.entries.clear()

    def leave(self) -> None:
        """The watch is over. The entries may get places in the next one."""
        self.watch = self.joining = self.since_note = self.ends_at = self.unvouched_since = None
        self.sent = self.notes = 0
        self.is_numberer = False
        self.asked.clear()

    def begin(self, watch: str, *, skips: bool, is_numberer: bool) -> None:
        """A watch begins at this point. `skips`: what was received before it is not numbered in it."""
        self.leave()
        if skips:
            self.entries.clear()
        self.watch, self.last, self.is_numberer = watch, FIRST_PLACE, is_numberer

    def align(self, watch: str, last: int) -> None:
        """The last message before our note had the place `last`."""
        heard = self.since_note or 0
        self.leave()
        self.watch, self.last = watch, last + heard
        numbered_watch, place = self.numbered
        if numbered_watch == watch:
            while self.entries and self.first <= place:
                self.entries.popleft()

    def number(self, watch: str, place: int) -> bool:
        """The message at `place` has come with its offset. Returns False if that contradicts what was received here."""
        self.numbered = (watch, place)
        if watch != self.watch:
            return True
        self.ends_at = self.unvouched_since = None
        if place > self.last or (self.entries and self.first < place):
            return False
        if self.entries and self.first == place:
            self.entries.popleft()
            self.sent = max(self.sent - 1, 0)
        return True
