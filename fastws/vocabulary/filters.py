"""The interface of filters, which select publications of a channel for one client. Dialects define their own."""

from __future__ import annotations

from typing import Protocol

from fastws.vocabulary.publication import Publication


class Filter(Protocol):
    """A test of a publication. Implementations are immutable and hashable, since equal filters share an audience."""

    def accepts(self, publication: Publication) -> bool:
        """Whether a client with this filter receives `publication`."""
        ...

    def __hash__(self) -> int: ...
