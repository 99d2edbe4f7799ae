"""A filter: which publications of a channel one client wants. Each dialect defines its own."""

from __future__ import annotations

from typing import Protocol

from fastws.vocabulary.publication import Publication


class Filter(Protocol):
    """A test of a publication. Equal filters share an audience, so an implementation is hashable and immutable."""

    def hears(self, publication: Publication) -> bool:
        """Whether a client with this filter hears `publication`."""
        ...

    def __hash__(self) -> int: ...
