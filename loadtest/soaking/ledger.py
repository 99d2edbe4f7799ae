"""Keeps account of what was published, acknowledged and received, and of all faults."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

# How many examples of each kind of fault are kept.
MOST_EXAMPLES = 5
RECENT = 12
# Of how many messages of each publisher the time of sending is kept.
MOST_TIMES = 2000
# For this long after a worker was killed, connections may end without a close frame.
KILL_SECONDS = 15.0
# A notice may arrive this much later than newer messages.
NOTICE_SECONDS = 5.0


@dataclass
class MissingMessage:
    """A message that a listener did not get. `is_reported`: a lag or gap notice arrived soon afterwards."""

    listener: str
    publisher: str
    number: int
    sent_at: str = ""
    is_reported: bool = False


@dataclass
class Ledger:
    """The account of a soak. Each publisher numbers its messages from 1 and stays on one channel."""

    sent: dict[str, int] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    # Sent, but refused or not confirmed: they may arrive or not.
    uncertain: set[tuple[str, int]] = field(default_factory=set)
    publishers_of: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    disruptions: list[str] = field(default_factory=list)
    # How often the check of each kind was completed.
    tried: Counter[str] = field(default_factory=Counter)
    killed_at: float = float("-inf")
    # The times at which the latest messages of each publisher were sent.
    _times: defaultdict[str, deque[str]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=MOST_TIMES)), init=False
    )
    _missing: list[MissingMessage] = field(default_factory=list)
    _late: list[tuple[str, int, str]] = field(default_factory=list)
    # Connection id, or "" if it is unknown, and the words for a fault.
    _unclosed: list[tuple[str, str]] = field(default_factory=list)

    def enter(self, publisher: str, channel: str) -> None:
        self.publishers_of[channel].append(publisher)
        self.sent[publisher] = self.acknowledged[publisher] = 0

    def next_number(self, publisher: str) -> int:
        """Record that `publisher` sends a message now. Returns its number."""
        self.sent[publisher] += 1
        self._times[publisher].append(_clock())
        return self.sent[publisher]

    def note(self, what: str) -> None:
        """Record a disruption of the server."""
        self.counts[what] += 1
        self.disruptions.append(f"{what} {_clock()}")

    def lost(self, name: str, close_code: int | None, connection_id: str = "") -> None:
        """A connection of `name` has ended.

        Only a killed worker may end it without a close frame, or a server that has logged that it reset this very
        connection, because its client did not read in time. `evaluate` decides about the latter.
        """
        if close_code not in (None, 1006):
            self.counts[f"closed with {close_code}"] += 1
        elif time.monotonic() - self.killed_at < KILL_SECONDS:
            self.counts["lost with a killed worker"] += 1
        else:
            self._unclosed.append((connection_id, f"{name} at {_clock()}"))

    def fault(self, kind: str, words: str) -> None:
        """Record something that must never happen."""
        self.faults[kind] += 1
        if self.faults[kind] <= MOST_EXAMPLES:
            self.examples.append(f"{kind}: {words}")

    def missing(self, listener: str, publisher: str, first: int, last: int) -> list[MissingMessage]:
        """`listener` did not get these numbers. `evaluate` decides whether they count, once all replies are known."""
        found = [
            MissingMessage(listener, publisher, number, self._sent_at(publisher, number))
            for number in range(first, last + 1)
        ]
        self._missing += found
        return found

    def out_of_order(self, publisher: str, number: int, words: str) -> None:
        """A number arrived again, or after a higher one."""
        self._late.append((publisher, number, words))

    def evaluate(self, undelivered_closes: Collection[str] = ()) -> None:
        """Turn acknowledged messages that are missing or out of order into faults, and connections without a close.

        `undelivered_closes` are the ids of connections that a server has reset before their close frame was received.
        A message without a reply may still be delivered after its publisher has reconnected to another worker.
        """
        for connection_id, words in self._unclosed:
            if connection_id in undelivered_closes:
                self.counts["logged by the server: close frame not delivered"] += 1
            else:
                self.fault("connection lost without a close frame", words)
        self._unclosed.clear()
        for publisher, number, words in self._late:
            if (publisher, number) in self.uncertain:
                self.counts["late without a reply"] += 1
            else:
                self.fault("repeated or out of order", f"{publisher}: {words}")
        self._late.clear()
        for message in self._missing:
            if (message.publisher, message.number) in self.uncertain:
                continue
            words = f"{message.listener} never received {message.publisher} #{message.number}{message.sent_at}"
            if message.is_reported:
                self.counts["reported after newer messages"] += 1
            else:
                self.fault("lost", words)
        self._missing.clear()

    def _sent_at(self, publisher: str, number: int) -> str:
        """When message `number` was sent, in words; "" if that is not known any more."""
        times = self._times[publisher]
        age = self.sent[publisher] - number
        return f", sent at {times[-1 - age]}" if 0 <= age < len(times) else ""


class DeliveryCheck:
    """Checks order and completeness of one subscription, from its confirmation to its end."""

    def __init__(self, ledger: Ledger, listener: str, channel: str) -> None:
        self._ledger = ledger
        self._listener = listener
        self._channel = channel
        # Everything sent from now on must arrive, since the confirmation arrived first.
        self._expected: dict[str, int | None] = {
            publisher: ledger.sent[publisher] + 1 for publisher in ledger.publishers_of[channel]
        }
        self._has_received: set[str] = set()
        self._unreported: list[tuple[float, list[MissingMessage]]] = []
        # The latest events, which help to find the cause of a fault.
        self._recent: deque[str] = deque([f"subscribed {_clock()}"], maxlen=RECENT)

    def received(self, publisher: str, number: int) -> None:
        ledger = self._ledger
        ledger.counts["received"] += 1
        self._recent.append(f"{publisher}#{number} {_clock()}")
        expected = self._expected.get(publisher)
        if expected is not None and number < expected:
            if publisher not in self._has_received:
                return  # sent before the confirmation arrived, so it may arrive or not
            words = f"{self._listener} received #{number}, expected #{expected}, after {', '.join(self._recent)}"
            ledger.out_of_order(publisher, number, words)
            return
        if expected is not None and number > expected:
            found = ledger.missing(self._with_recent(), publisher, expected, number - 1)
            self._unreported.append((time.monotonic(), found))
        self._has_received.add(publisher)
        self._expected[publisher] = number + 1

    def behind(self) -> int:
        """The largest number of messages of one publisher that were sent and have not arrived yet."""
        expected = [(publisher, number) for publisher, number in self._expected.items() if number is not None]
        return max((self._ledger.sent[publisher] + 1 - number for publisher, number in expected), default=0)

    def gap_reported(self) -> None:
        """The server reported a lag or gap: the next message of each publisher may have any number."""
        self._ledger.counts["notices"] += 1
        self._recent.append(f"notice {_clock()}")
        self._expected = dict.fromkeys(self._expected)
        for noticed, found in self._unreported:
            if time.monotonic() - noticed < NOTICE_SECONDS:
                for message in found:
                    message.is_reported = True
        self._unreported.clear()

    def has_all(self, acknowledged: Mapping[str, int]) -> bool:
        """Whether everything that `acknowledged` counts has arrived, or was reported as missed."""
        return all(expected is None or expected > acknowledged[name] for name, expected in self._expected.items())

    def expect_all(self, acknowledged: Mapping[str, int] | None = None) -> None:
        """Count what was acknowledged and has not arrived as missing.

        Call it some seconds after the end of publishing, or with a copy of `Ledger.acknowledged` made seconds ago.
        While Redis is away, neither messages nor notices arrive: call it when Redis is back.
        """
        for publisher, expected in self._expected.items():
            last = (self._ledger.acknowledged if acknowledged is None else acknowledged)[publisher]
            if expected is not None and expected <= last:
                self._ledger.missing(f"{self._with_recent()}, checked {_clock()}", publisher, expected, last)

    def _with_recent(self) -> str:
        return f"{self._listener} ({', '.join(self._recent)})"


def _clock() -> str:
    return f"{time.monotonic() % 1000:.3f}"
