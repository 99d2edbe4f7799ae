"""Which publications a filter lets through."""

from __future__ import annotations

import pytest

from fastws.vocabulary.filters import EventFilter, JobFilter, job_of
from fastws.vocabulary.publication import Publication


def test_event_filters_name_what_is_heard_or_what_is_not() -> None:
    alert, other = Publication("c", "alert"), Publication("c", "other")
    only, but = EventFilter(frozenset({"alert"})), EventFilter(frozenset({"alert"}), excluding=True)
    assert (only.hears(alert), only.hears(other)) == (True, False)
    assert (but.hears(alert), but.hears(other)) == (False, True)
    assert not EventFilter(frozenset()).hears(alert)


def test_equal_filters_are_one_audience() -> None:
    assert EventFilter(frozenset({"a", "b"})) == EventFilter(frozenset({"b", "a"}))
    assert len({EventFilter(frozenset({"a"})), EventFilter(frozenset({"a"})), JobFilter()}) == 2


def update(job_id: object, status: object) -> Publication:
    return Publication("jobs", "job_update", {}, attributes={"job_id": job_id, "status": status})


@pytest.mark.parametrize(
    ("wanted", "heard"),
    [
        (JobFilter(), [True, True, True]),
        (JobFilter(job_ids=frozenset({"1"})), [True, False, True]),
        (JobFilter(statuses=frozenset({"failed"})), [False, True, True]),
        (JobFilter(frozenset({"1"}), frozenset({"failed"})), [False, False, True]),
    ],
)
def test_job_filters_take_ids_and_statuses_together(wanted: JobFilter, heard: list[bool]) -> None:
    updates = [update("1", "done"), update("2", "failed"), update(1, "failed")]
    assert [wanted.hears(publication) for publication in updates] == heard


@pytest.mark.parametrize(
    ("publication", "job"),
    [
        (Publication("c", "e", {"job_id": "1", "status": "done"}), ("1", "done")),
        (Publication("c", "e", {"job_id": True, "status": 5}), (None, None)),
        (Publication("c", "e", ["job_id"]), (None, None)),
        (Publication("c", "e", {"job_id": "data"}, attributes={"job_id": "attribute"}), ("attribute", None)),
    ],
)
def test_the_job_of_a_publication(publication: Publication, job: tuple[str | None, str | None]) -> None:
    assert job_of(publication) == job
