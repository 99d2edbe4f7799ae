"""Receipts under way: each publication's sender hears once how it ended, with the counts of all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastws.errors import BrokerUnavailable, FastWSError
from fastws.hub.ports import Receipt

# A publication that Redis confirmed comes back within a round trip; this long only if the listener lost it.
ECHO_SECONDS: Final = 1.0


class _Pending:
    __slots__ = ("answered_at", "awaits_echo", "channel", "is_missed", "receipt")

    def __init__(self, receipt: Receipt, channel: str, *, awaits_echo: bool) -> None:
        self.receipt = receipt
        self.channel = channel
        self.awaits_echo = awaits_echo
        self.is_missed = False
        self.answered_at: float | None = None


class RedisReceipts:
    """By the number of the publication. `count` are local subscribers of a channel, `remote_count` all others."""

    def __init__(self, count: Callable[[str], int], remote_count: Callable[[str], int]) -> None:
        self._count = count
        self._remote_count = remote_count
        self._pending: dict[int, _Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def expect(self, number: int, receipt: Receipt, channel: str, *, awaits_echo: bool) -> None:
        """`receipt` waits for publication `number`; `awaits_echo` if it will come back to this process too."""
        self._pending[number] = _Pending(receipt, channel, awaits_echo=awaits_echo)

    def answered(self, number: int, now: float) -> None:
        """Redis has published it. Where it comes back here, the hub will know better how it ended."""
        pending = self._pending.get(number)
        if pending is None:
            return
        if pending.awaits_echo:
            pending.answered_at = now
            return
        del self._pending[number]
        missed = self._count(pending.channel) if pending.is_missed else 0
        pending.receipt.done(self._remote_count(pending.channel), missed)

    def refused(self, number: int, error: FastWSError) -> None:
        pending = self._pending.pop(number, None)
        if pending is not None:
            pending.receipt.refused(error)

    def echoed(self, number: int) -> Receipt | None:
        """Publication `number` came back: the receipt to hand to the hub with it."""
        pending = self._pending.pop(number, None)
        if pending is None:
            return None
        remote = self._remote_count(pending.channel)
        return _WithRemote(pending.receipt, remote) if remote else pending.receipt

    def no_echoes(self) -> None:
        """The listener lost its connection: what was published may not come back, and nobody waits for it."""
        for number, pending in list(self._pending.items()):
            pending.is_missed = pending.awaits_echo
            pending.awaits_echo = False
            if pending.answered_at is not None:
                self._missed(number, pending)

    def sweep(self, now: float) -> None:
        """Settle what Redis confirmed but never brought back."""
        for number, pending in list(self._pending.items()):
            if pending.answered_at is None or now - pending.answered_at < ECHO_SECONDS:
                # Numbers grow and Redis answers in order: what comes behind is younger.
                return
            self._missed(number, pending)

    def refuse_all(self) -> None:
        for number in list(self._pending):
            self.refused(number, BrokerUnavailable("the server is stopping"))

    def _missed(self, number: int, pending: _Pending) -> None:
        """Published, but the local subscribers did not get it: they are told of a gap, the sender that they failed."""
        del self._pending[number]
        pending.receipt.done(self._remote_count(pending.channel), self._count(pending.channel))


class _WithRemote:
    """Adds the subscribers of other processes to what the hub counts."""

    __slots__ = ("_receipt", "_remote")

    def __init__(self, receipt: Receipt, remote: int) -> None:
        self._receipt = receipt
        self._remote = remote

    def done(self, sent: int, failed: int) -> None:
        self._receipt.done(sent + self._remote, failed)

    def refused(self, error: FastWSError) -> None:
        self._receipt.refused(error)
