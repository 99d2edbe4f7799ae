"""The contract of a dialect: how one kind of client says and hears what every client says and hears."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fastws.vocabulary.commands import Command
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Reply


@dataclass(slots=True, frozen=True)
class StartingChannels:
    """Where a client stands after its upgrade: the channels it is in from the start, and its workspace.

    `home` is the channel that `ChangeFilter` narrows (None: this dialect has no filters).
    """

    channels: tuple[str, ...] = ()
    home: str | None = None
    workspace: str | None = None


class Dialect(Protocol):
    """One client protocol. No state, no I/O: everything a method needs is in its arguments."""

    @property
    def name(self) -> str:
        """The word in settings, metrics and `/connections`."""
        ...

    @property
    def needs_token(self) -> bool:
        """Whether an upgrade without a token is refused with 401 whatever the settings."""
        ...

    def admit(self, identity: Identity | None, query: Mapping[str, str]) -> StartingChannels:
        """Where this client begins. Raises Forbidden where its token does not reach (spec 3.3)."""
        ...

    def parse(self, message: object) -> Command:
        """What a decoded message asks for. Raises BadRequest naming what is wrong and what would be right."""
        ...

    def reply(self, reply: Reply, starting: StartingChannels) -> dict[str, object] | None:
        """`reply` in this dialect's words, without the request's `id`; None: this dialect does not say it."""
        ...

    def delivery(self, publication: Publication) -> dict[str, object]:
        """`publication` as every subscriber of this dialect hears it."""
        ...
