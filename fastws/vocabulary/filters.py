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
        job_id, status = job_of(publication)
        if self.job_ids is not None and job_id not in self.job_ids:
            return False
        return self.statuses is None or status in self.statuses


def job_of(publication: Publication) -> tuple[str | None, str | None]:
    """The job id and status of a job update, from its attributes or else its data; an integer id as text.

    What is neither text nor an integer counts as absent, None.
    """
    attributes = publication.attributes
    if attributes is None:
        attributes = publication.data if isinstance(publication.data, dict) else {}
    job_id = attributes.get("job_id")
    status = attributes.get("status")
    if type(job_id) is int:
        job_id = str(job_id)
    return job_id if isinstance(job_id, str) else None, status if isinstance(status, str) else None
