"""Filters: which publications of a channel a client wants. Hashable, so that equal ones share an audience."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fastws.vocabulary.publication import Publication


class Filter(Protocol):
    """A test of a publication. Equal filters are one audience, so an implementation is hashable and immutable."""

    def hears(self, publication: Publication) -> bool:
        """Whether a client with this filter is to hear `publication`."""
        ...

    def __hash__(self) -> int: ...


@dataclass(slots=True, frozen=True)
class EventFilter:
    """Workspaces: only the events named, or (with `excluding`) all but those."""

    events: frozenset[str]
    excluding: bool = False

    def hears(self, publication: Publication) -> bool:
        return (publication.event in self.events) is not self.excluding


@dataclass(slots=True, frozen=True)
class JobFilter:
    """Jobs: only these job ids and statuses; None = any."""

    job_ids: frozenset[str] | None = None
    statuses: frozenset[str] | None = None

    def hears(self, publication: Publication) -> bool:
        attributes = publication.attributes
        if attributes is None:
            attributes = publication.data if isinstance(publication.data, dict) else {}
        if self.job_ids is not None and attributes.get("job_id") not in self.job_ids:
            return False
        return self.statuses is None or attributes.get("status") in self.statuses
