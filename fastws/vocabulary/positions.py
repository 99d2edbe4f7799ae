"""Positions: places in the numbered history of a channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from fastws.vocabulary.publication import Publication

MAX_EPOCH_LENGTH: Final = 16


class Position(NamedTuple):
    """The publication number `offset` (1, 2, 3, …; 0: before the first) in one life of a channel, the `epoch`."""

    offset: int
    epoch: str


# What a subscriber asks for: everything after a position, the last publications by number, or nothing.
Past = Position | int | None
Outcome = Literal["recovered", "too_old", "never_was", "wrong_epoch", "too_many", "unavailable"]


@dataclass(slots=True, frozen=True)
class Recovery:
    """The past of a channel for a new subscriber.

    `publications` are those up to `position`, and everything that is delivered from now on is newer. `outcome` says
    what became of the position that the subscriber gave; None if it gave none. Only "recovered" promises that
    `publications` is everything after it. `position` is None while the history cannot be read.
    """

    position: Position | None
    outcome: Outcome | None = None
    publications: Sequence[Publication] = ()
    # Time since the newest publication.
    age_seconds: float = 0.0

    @property
    def is_recovered(self) -> bool | None:
        """Whether the subscriber has missed nothing; None if it gave no position."""
        return None if self.outcome is None else self.outcome == "recovered"


@dataclass(slots=True, frozen=True)
class Page:
    """Some publications of a history, in the order asked for, and the position of its newest one.

    `age_seconds` is the time since the newest one.
    """

    publications: Sequence[Publication]
    position: Position
    age_seconds: float = 0.0
