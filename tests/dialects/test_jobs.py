"""The jobs dialect."""

from __future__ import annotations

import pytest

from fastws.dialects.dialect import StartingChannels
from fastws.dialects.feeds import job_of
from fastws.dialects.jobs import JOBS, MAX_FILTER_ENTRIES, JobFilter, Jobs
from fastws.errors import BadRequest
from fastws.vocabulary.commands import ChangeFilter
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Encoded, Publication
from fastws.vocabulary.replies import Connected, FilterChanged, Gap, Lag, Reply, Subscribed

FEED = "botrix:jobs:updates"


def update(job_id: object, status: object = "processing") -> Publication:
    return Publication(FEED, "job_update", {"job_id": job_id, "status": status})


def narrowed(**fields: object) -> JobFilter | None:
    command = JOBS.parse({"type": "subscribe", **fields})
    assert isinstance(command, ChangeFilter)
    now = command.change(JobFilter(frozenset({"before"})))
    assert now is None or isinstance(now, JobFilter)
    return now


def test_all_clients_are_admitted_and_get_the_feed() -> None:
    assert not JOBS.needs_token
    assert JOBS.admit(None, {}) == JOBS.admit(Identity("u"), {}) == StartingChannels((FEED,), FEED)
    assert Jobs("other:feed").admit(None, {}).home == "other:feed"


def test_a_delivery_has_the_fields_of_a_job_update() -> None:
    said = Publication(
        FEED, "job_update", {"p": 1}, timestamp=5, seq=9, attributes={"job_id": "j1", "status": "failed"}
    )
    assert JOBS.delivery(said) == {
        "type": "job_update",
        "job_id": "j1",
        "status": "failed",
        "data": {"p": 1},
        "timestamp": 5,
        "seq": 9,
    }


def test_id_and_status_are_read_from_the_data_where_there_are_no_attributes() -> None:
    said = JOBS.delivery(update(17, "completed"))
    assert (said["job_id"], said["status"]) == ("17", "completed")


@pytest.mark.parametrize("data", [None, 1, [], {}, {"job_id": []}, {"job_id": True}, Encoded("json", b"{}")])
def test_what_is_about_no_job_goes_under_its_own_event(data: object) -> None:
    said = JOBS.delivery(Publication("", "maintenance", data, timestamp=1))
    assert said == {"type": "message", "event": "maintenance", "data": data, "timestamp": 1}


def test_an_update_without_a_timestamp_is_of_now() -> None:
    assert isinstance(JOBS.delivery(update("j1"))["timestamp"], str)


def test_subscribe_narrows_to_ids_and_statuses() -> None:
    both = narrowed(job_ids=["j1", 2], statuses=["failed"])
    assert both == JobFilter(frozenset({"j1", "2"}), frozenset({"failed"}))
    assert both.accepts(update("j1", "failed"))
    assert both.accepts(update(2, "failed"))
    assert not both.accepts(update("j1", "completed"))
    assert not both.accepts(update("j3", "failed"))
    assert narrowed(job_ids=["j1"]) == JobFilter(job_ids=frozenset({"j1"}))
    assert narrowed(statuses=["failed"]) == JobFilter(statuses=frozenset({"failed"}))


@pytest.mark.parametrize("fields", [{}, {"job_ids": None}, {"job_ids": [], "statuses": []}])
def test_a_subscribe_that_names_nothing_lets_everything_through(fields: dict[str, object]) -> None:
    assert narrowed(**fields) is None


def test_unsubscribe_widens_again() -> None:
    command = JOBS.parse({"type": "unsubscribe"})
    assert isinstance(command, ChangeFilter)
    assert not command.subscribed
    assert command.change(JobFilter(frozenset({"j1"}))) is None


def test_unsubscribing_from_single_jobs_is_refused_rather_than_misunderstood() -> None:
    with pytest.raises(BadRequest, match="`job_ids`"):
        JOBS.parse({"type": "unsubscribe", "job_ids": ["j1"]})


@pytest.mark.parametrize("subscribed", [True, False])
def test_both_are_answered_with_what_is_in_force(subscribed: bool) -> None:
    wanted = JobFilter(frozenset({"b", "a"}), frozenset({"failed"}))
    assert JOBS.reply(FilterChanged(wanted, subscribed), JOBS.starting) == {
        "type": "subscribed",
        "job_ids": ["a", "b"],
        "statuses": ["failed"],
    }
    assert JOBS.reply(FilterChanged(None, subscribed), JOBS.starting) == {
        "type": "subscribed",
        "job_ids": [],
        "statuses": [],
    }


@pytest.mark.parametrize("field", ["job_ids", "statuses"])
@pytest.mark.parametrize("value", ["j1", 1, {}, [None], [1.5], [True], [""], ["x" * 256], [["j1"]]])
def test_what_is_no_list_is_refused_naming_the_field(field: str, value: object) -> None:
    with pytest.raises(BadRequest, match=f"`{field}"):
        JOBS.parse({"type": "subscribe", field: value})


def test_filters_are_bounded() -> None:
    assert narrowed(job_ids=list(range(MAX_FILTER_ENTRIES))) is not None
    with pytest.raises(BadRequest, match="at most 256"):
        narrowed(job_ids=list(range(MAX_FILTER_ENTRIES + 1)))


@pytest.mark.parametrize("job_id", [[], {}, None, 1.5, True])
def test_a_filter_survives_ids_that_are_none(job_id: object) -> None:
    assert not JobFilter(frozenset({"j1"})).accepts(update(job_id))
    assert not JobFilter(statuses=frozenset({"failed"})).accepts(update("j1", job_id))
    assert job_of(update(job_id)) == (None, "processing")


NOTICES: list[tuple[Reply, dict[str, object] | None]] = [
    (Gap(FEED), {"type": "gap"}),
    (Lag(FEED, 3), {"type": "lag", "dropped": 3}),
    (Connected("c1"), None),
    (Subscribed(FEED), None),
]


@pytest.mark.parametrize(("notice", "expected"), NOTICES)
def test_notices_need_no_name_for_the_one_feed(notice: Reply, expected: dict[str, object] | None) -> None:
    assert JOBS.reply(notice, JOBS.starting) == expected


def update_of(job_id: object, status: object) -> Publication:
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
    updates = [update_of("1", "done"), update_of("2", "failed"), update_of(1, "failed")]
    assert [wanted.accepts(publication) for publication in updates] == heard
