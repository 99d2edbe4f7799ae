"""What a broker needs from the hub, so that neither has to know the other's parts."""

from __future__ import annotations

from typing import Protocol

from fastws.errors import FastWSError
from fastws.hub.ports import Receipt
from fastws.vocabulary.publication import Publication


class Door(Protocol):
    """The hub seen from a broker: everything that is published enters here, and nowhere else."""

    def deliver(self, publication: Publication, receipt: Receipt | None = None) -> None:
        """Hand `publication` to the local subscribers of its channel; `receipt` hears how many took it."""
        ...

    def gap(self, channel: str) -> None:
        """Tell the subscribers of `channel`, before anything newer, that they may have missed something."""
        ...

    def fail(self, channel: str, error: FastWSError) -> None:
        """Tell the subscribers of `channel` that nothing is heard there for now."""
        ...

    def count(self, channel: str) -> int:
        """How many local subscribers `channel` has."""
        ...
