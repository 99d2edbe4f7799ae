"""Receipts of publications under way. Each is called once, with the outcome over all processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from fastws.counters import Counters
from fastws.errors import FastWSError, OutcomeUnknown, Repeated
from fastws.hub.ports import Receipt
from fastws.vocabulary.positions import Position

# A publication that Redis has accepted comes back within a round trip. After this time the listener has lost it.
ECHO_SECONDS: Final = 1.0


class _Pending:
    __slots__ = ("answered_at", "awaits_echo", "channel", "is_missed", "receipt")

    def __init__(self, receipt: Receipt, channel: str, *, awaits_echo: bool, is_missed: bool) -> None:
        self.receipt = receipt
        self.channel = channel
        self.awaits_echo = awaits_echo
        # Local subscribers miss the publication, whatever Redis answers. Once true, it stays true.
        self.is_missed = is_missed
        self.answered_at: float | None = None


class RedisReceipts:
    """The pending receipts by publication number.

    `count` returns the local subscribers of a channel, `remote_count` those of all other processes.
    """

    def __init__(self, count: Callable[[str], int], remote_count: Callable[[str], int], counters: Counters) -> None:
        self._count = count
        self._remote_count = remote_count
        self._counters = counters
        self._pending: dict[int, _Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def expect(self, number: int, receipt: Receipt, channel: str, *, awaits_echo: bool) -> None:
        """Keep `receipt` for publication `number`. `awaits_echo`: the publication will come back to this process.

        If it will not, the local subscribers of the channel miss it.
        """
        is_missed = not awaits_echo and self._count(channel) > 0
        self._pending[number] = _Pending(receipt, channel, awaits_echo=awaits_echo, is_missed=is_missed)

    def answered(self, number: int, now: float) -> None:
        """Redis has published it. If it comes back to this process, the hub determines the outcome."""
        pending = self._pending.get(number)
        if pending is None:
            return
        if pending.awaits_echo:
            pending.answered_at = now
            return
        del self._pending[number]
        missed = self._count(pending.channel) if pending.is_missed else 0
        pending.receipt.done(self._remote_count(pending.channel), missed)

    def kept(self, number: int, position: Position) -> None:
        """History keeps it at `position`."""
        pending = self._pending.get(number)
        if pending is not None:
            pending.receipt.kept(position)

    def numbered(self, number: int, result: Position | FastWSError) -> None:
        """Redis has published it and keeps it at a position, or has not."""
        if isinstance(result, Position):
            self.kept(number, result)
            self.answered(number, asyncio.get_running_loop().time())
        else:
            self.failed(number, result)

    def failed(self, number: int, error: FastWSError) -> None:
        """Redis has not published it, or only before."""
        if not isinstance(error, Repeated):
            self._counters.dropped["broker"] += 1
        self.refused(number, error)

    def refused(self, number: int, error: FastWSError) -> None:
        pending = self._pending.pop(number, None)
        if pending is not None:
            pending.receipt.refused(error)

    def echoed(self, number: int) -> Receipt | None:
        """Publication `number` has come back. Return the receipt to pass to the hub with it."""
        pending = self._pending.pop(number, None)
        if pending is None:
            return None
        remote = self._remote_count(pending.channel)
        return _WithRemote(pending.receipt, remote) if remote else pending.receipt

    def listener_lost(self, is_lost: Callable[[str], bool]) -> None:
        """Publications on channels with `is_lost(channel)` may not come back: stop waiting for them."""
        for number, pending in list(self._pending.items()):
            if not is_lost(pending.channel):
                continue
            pending.is_missed = pending.is_missed or pending.awaits_echo
            pending.awaits_echo = False
            if pending.answered_at is not None:
                self._missed(number, pending)

    def sweep(self, now: float) -> None:
        """Resolve the receipts of publications that Redis has accepted but that did not come back."""
        for number, pending in list(self._pending.items()):
            if pending.answered_at is None or now - pending.answered_at < ECHO_SECONDS:
                continue  # not return: another node may have answered later numbers before
            self._missed(number, pending)

    def refuse_all(self) -> None:
        for number in list(self._pending):
            self.refused(number, OutcomeUnknown("the server is stopping"))

    def _missed(self, number: int, pending: _Pending) -> None:
        """It was published, but local subscribers have missed it: they get a gap notice and are counted as failed."""
        del self._pending[number]
        pending.receipt.done(self._remote_count(pending.channel), self._count(pending.channel))


class _WithRemote:
    """Adds the subscribers of other processes to the count of the hub."""

    __slots__ = ("_receipt", "_remote")

    def __init__(self, receipt: Receipt, remote: int) -> None:
        self._receipt = receipt
        self._remote = remote

    def kept(self, position: Position) -> None:
        self._receipt.kept(position)

    def done(self, sent: int, failed: int) -> None:
        self._receipt.done(sent + self._remote, failed)

    def refused(self, error: FastWSError) -> None:
        self._receipt.refused(error)
