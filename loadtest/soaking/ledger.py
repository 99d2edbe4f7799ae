"""What was published and acknowledged, and what each listener made of it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

# Of each kind of fault so many are kept word for word.
MOST_EXAMPLES = 5
LATELY = 12
# A killed worker's connections end without a close frame, as late as this after the kill.
KILL_SECONDS = 15.0
# A notice may come behind what is newer by so much.
NOTICE_SECONDS = 5.0


@dataclass
class Suspicion:
    """A number that a listener has not heard. `is_told`: the server said soon after that something is missing."""

    listener: str
    publisher: str
    number: int
    is_told: bool = False


@dataclass
class Ledger:
    """The one account of a soak. A publisher's numbers grow by one from 1; each publisher stays on one channel."""

    sent: dict[str, int] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    # Sent, but refused or without an answer: heard or not, both are right.
    uncertain: set[tuple[str, int]] = field(default_factory=set)
    publishers_of: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    harms: list[str] = field(default_factory=list)
    # How often each kind of trouble was tried to its end, its check included.
    tried: Counter[str] = field(default_factory=Counter)
    killed_at: float = float("-inf")
    _suspected: list[Suspicion] = field(default_factory=list)
    _late: list[tuple[str, int, str]] = field(default_factory=list)

    def enter(self, publisher: str, channel: str) -> None:
        self.publishers_of[channel].append(publisher)
        self.sent[publisher] = self.acknowledged[publisher] = 0

    def note(self, what: str) -> None:
        """Something was done to the server."""
        self.counts[what] += 1
        self.harms.append(f"{what} {_clock()}")

    def lost(self, name: str, close_code: int | None) -> None:
        """A connection of `name` has ended; without a close frame only a killed worker may end it."""
        if close_code not in (None, 1006):
            self.counts[f"closed with {close_code}"] += 1
        elif time.monotonic() - self.killed_at < KILL_SECONDS:
            self.counts["lost with a killed worker"] += 1
        else:
            self.fault("connection lost without a close frame", f"{name} at {_clock()}")

    def fault(self, kind: str, words: str) -> None:
        """Something that must never happen did."""
        self.faults[kind] += 1
        if self.faults[kind] <= MOST_EXAMPLES:
            self.examples.append(f"{kind}: {words}")

    def suspect(self, listener: str, publisher: str, first: int, last: int) -> list[Suspicion]:
        """`listener` has not heard these numbers; whether they count is known once all answers are in."""
        found = [Suspicion(listener, publisher, number) for number in range(first, last + 1)]
        self._suspected += found
        return found

    def late(self, publisher: str, number: int, words: str) -> None:
        """A number came again, or after a higher one."""
        self._late.append((publisher, number, words))

    def judge(self) -> None:
        """Turn what is missing and was acknowledged into faults, and what came late though it was.

        A message without an answer may still be on its way when its publisher has come back by another worker.
        """
        for publisher, number, words in self._late:
            if (publisher, number) in self.uncertain:
                self.counts["late without an answer"] += 1
            else:
                self.fault("repeated or out of order", f"{publisher}: {words}")
        self._late.clear()
        for suspicion in self._suspected:
            if (suspicion.publisher, suspicion.number) in self.uncertain:
                continue
            words = f"{suspicion.listener} never heard {suspicion.publisher} #{suspicion.number}"
            if suspicion.is_told:
                self.counts["told of after newer messages"] += 1
            else:
                self.fault("lost", words)
        self._suspected.clear()


class Ear:
    """One subscription's hearing, from its confirmation to its end."""

    def __init__(self, ledger: Ledger, listener: str, channel: str) -> None:
        self._ledger = ledger
        self._listener = listener
        self._channel = channel
        # Whatever is sent from now on must be heard: the confirmation was here before it.
        self._expected: dict[str, int | None] = {
            publisher: ledger.sent[publisher] + 1 for publisher in ledger.publishers_of[channel]
        }
        self._was_heard: set[str] = set()
        self._untold: list[tuple[float, list[Suspicion]]] = []
        # What led to a fault, for whoever has to find the cause.
        self._lately: deque[str] = deque([f"subscribed {_clock()}"], maxlen=LATELY)

    def hear(self, publisher: str, number: int) -> None:
        ledger = self._ledger
        ledger.counts["heard"] += 1
        self._lately.append(f"{publisher}#{number} {_clock()}")
        expected = self._expected.get(publisher)
        if expected is not None and number < expected:
            if publisher not in self._was_heard:
                return  # sent before the confirmation came, published behind it: ours to hear, not ours to count
            words = f"{self._listener} heard #{number}, expected #{expected}, after {', '.join(self._lately)}"
            ledger.late(publisher, number, words)
            return
        if expected is not None and number > expected:
            after = ", ".join(self._lately)
            found = ledger.suspect(f"{self._listener} ({after})", publisher, expected, number - 1)
            self._untold.append((time.monotonic(), found))
        self._was_heard.add(publisher)
        self._expected[publisher] = number + 1

    def behind(self) -> int:
        """How many messages of one publisher were sent and not yet heard, at most."""
        expected = [(publisher, number) for publisher, number in self._expected.items() if number is not None]
        return max((self._ledger.sent[publisher] + 1 - number for publisher, number in expected), default=0)

    def excuse(self) -> None:
        """The server said that something is missing (lag, gap): what comes first now is right."""
        self._ledger.counts["notices"] += 1
        self._lately.append(f"notice {_clock()}")
        self._expected = dict.fromkeys(self._expected)
        for noticed, found in self._untold:
            if time.monotonic() - noticed < NOTICE_SECONDS:
                for suspicion in found:
                    suspicion.is_told = True
        self._untold.clear()

    def finish(self, acknowledged: Mapping[str, int] | None = None) -> None:
        """Everything acknowledged must have been heard: all of it (publishing is over and time has passed), or what
        `acknowledged` names, a copy of the ledger's made some seconds ago."""
        for publisher, expected in self._expected.items():
            last = (self._ledger.acknowledged if acknowledged is None else acknowledged)[publisher]
            if expected is not None and expected <= last:
                self._ledger.suspect(self._listener, publisher, expected, last)


def _clock() -> str:
    return f"{time.monotonic() % 1000:.3f}"
