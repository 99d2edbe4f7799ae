"""The broker of a single process: what is published is delivered at once, to this process alone."""

from __future__ import annotations

from collections.abc import Callable

from fastws.brokers.door import Door
from fastws.hub.ports import Receipt
from fastws.vocabulary.publication import Publication


class MemoryBroker:
    """Hands every publication straight to the hub. It is always up and never loses anything."""

    __slots__ = ("_door",)

    def __init__(self, door: Door) -> None:
        self._door = door

    @property
    def is_up(self) -> bool:
        return True

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Nothing to leave."""

    def publish(self, publication: Publication, receipt: Receipt | None = None) -> None:
        """Deliver `publication` to the local subscribers; the hub tells `receipt` how many they were."""
        self._door.deliver(publication, receipt)

    def listen(self, channel: str, ready: Callable[[], None]) -> None:
        """Call `ready` at once: what is published from now on arrives."""
        ready()

    def unlisten(self, channel: str) -> None:
        """Nobody elsewhere has to know."""

    def remote_count(self, channel: str) -> int:
        """Subscribers of `channel` in other processes: there are none."""
        return 0
