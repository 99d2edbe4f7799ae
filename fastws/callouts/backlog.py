"""The messages that wait for the application: bounded, and divided among users and addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastws.access.rate_limit import address_key
from fastws.callouts.gateway_events import Caller

MAX_MESSAGES_OF_ONE: Final = 64
# The most that one user or address gets while nobody else has anything waiting.
MAX_MESSAGES: Final = 1000
# Each message may have max_message_bytes.
MAX_BYTES: Final = 67_108_864


@dataclass(slots=True)
class _Share:
    messages: int = 0
    bytes: int = 0


class Backlog:
    """Counts the messages of each client, and of each user and address, whose clients share.

    One client may have MAX_MESSAGES_OF_ONE messages waiting. A user or an address may have as many messages and bytes
    as are free beside its own: alone half of everything, two of them a third each. So there is always room for another
    one, however many clients the others have.
    """

    __slots__ = ("_all", "_shares")

    def __init__(self) -> None:
        self._all = _Share()
        self._shares: dict[str, _Share] = {}

    def enter(self, caller: Caller, size: int) -> bool:
        """Count a message of `size` bytes. Returns False, and does not count it, if there is no room for it."""
        keys = _keys(caller)
        if caller.waiting >= MAX_MESSAGES_OF_ONE or not all(self._has_room(key, size) for key in keys):
            return False
        caller.waiting += 1
        for share in (self._all, *(self._shares.setdefault(key, _Share()) for key in keys)):
            share.messages += 1
            share.bytes += size
        return True

    def leave(self, caller: Caller, size: int) -> None:
        """Undo `enter`."""
        caller.waiting -= 1
        keys = _keys(caller)
        for share in (self._all, *(self._shares[key] for key in keys)):
            share.messages -= 1
            share.bytes -= size
        for key in keys:
            if not self._shares[key].messages:
                del self._shares[key]

    def _has_room(self, key: str, size: int) -> bool:
        share = self._shares.get(key, _NOTHING)
        return (
            share.messages + 1 <= 2 * MAX_MESSAGES - self._all.messages
            and share.bytes + size <= 2 * MAX_BYTES - self._all.bytes
            and share.bytes + size <= MAX_BYTES
        )


_NOTHING: Final = _Share()


def _keys(caller: Caller) -> tuple[str, ...]:
    address = f"address {address_key(caller.address)}"
    return (address,) if caller.user is None else (address, f"user {caller.user}")
