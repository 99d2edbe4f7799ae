"""Foreign payloads as publications."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.dialects.feeds import job_of, job_publication, workspace_publication
from fastws.errors import BadRequest
from fastws.vocabulary.publication import Publication

FEED = "botrix:jobs:updates"
GOOD = {"job_id": "j1", "status": "failed", "data": {"n": 1}}


def test_both_formats_mean_the_same() -> None:
    long = {
        "event": "job_update",
        "job_id": "j1",
        "timestamp": 5,
        "data": {"job_id": "j1", "status": "failed"},
    }
    bare = {"job_id": "j1", "status": "failed", "data": {"job_id": "j1", "status": "failed"}}
    assert job_publication(long, FEED, now=0) == Publication(
        FEED,
        "job_update",
        {"job_id": "j1", "status": "failed"},
        type="job_update",
        timestamp=5,
        attributes={"job_id": "j1", "status": "failed"},
    )
    assert job_publication(bare, FEED, now=5.9) == job_publication(long, FEED, now=0)


def test_an_integer_job_id_is_taken_as_text() -> None:
    said = job_publication({**GOOD, "job_id": 42}, FEED, now=0)
    assert said.attributes == {"job_id": "42", "status": "failed"}


def test_a_status_of_its_own_goes_before_that_of_the_data() -> None:
    said = job_publication({**GOOD, "data": {"status": "completed"}}, FEED, now=0)
    assert said.attributes == {"job_id": "j1", "status": "failed"}


def test_data_may_be_absent_if_the_status_is_a_field_of_its_own() -> None:
    assert job_publication({"job_id": "j1", "status": "failed"}, FEED, now=0).data == {}


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, "object"),
        ([], "object"),
        ("job_update", "object"),
        ({}, "`job_id`"),
        ({**GOOD, "job_id": None}, "`job_id`"),
        ({**GOOD, "job_id": ""}, "`job_id`"),
        ({**GOOD, "job_id": True}, "`job_id`"),
        ({**GOOD, "job_id": 1.0}, "`job_id`"),
        ({**GOOD, "job_id": "x" * 256}, "`job_id`"),
        ({**GOOD, "job_id": ["j1"]}, "`job_id`"),
        ({"job_id": "j1", "data": {}}, "`status`"),
        ({"job_id": "j1", "data": {"status": 5}}, "`status`"),
        ({**GOOD, "data": [1]}, "`data`"),
        ({**GOOD, "data": "text"}, "`data`"),
        ({**GOOD, "event": "job_deleted"}, "`event`"),
        ({**GOOD, "event": None}, "`event`"),
        ({**GOOD, "timestamp": math.nan}, "`timestamp`"),
        ({**GOOD, "timestamp": True}, "`timestamp`"),
        ({**GOOD, "timestamp": {}}, "`timestamp`"),
    ],
)
def test_what_is_no_job_update_is_refused_naming_the_field(value: object, field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        job_publication(value, FEED, now=0)
    assert field in str(refused.value)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["event", "job_id", "status", "data", "timestamp", "priority", "type"]),
            inner,
            max_size=7,
        )
    ),
    max_leaves=12,
)


@given(anything)
def test_any_payload_is_a_publication_or_a_bad_request(value: object) -> None:
    for read in (
        lambda: job_publication(value, FEED, now=0),
        lambda: workspace_publication(value, "workspace:w"),
    ):
        try:
            said = read()
        except BadRequest:
            continue
        assert said.event
        assert isinstance(said.timestamp, (str, int, float, type(None)))


def test_a_workspace_event_keeps_its_fields() -> None:
    value = {"event": "alert", "data": [1], "priority": "high", "timestamp": "t", "type": "kind", "more": 1}
    assert workspace_publication(value, "workspace:w") == Publication(
        "workspace:w", "alert", [1], type="kind", timestamp="t", priority="high"
    )
    assert workspace_publication({"event": "e"}, "workspace:w") == Publication("workspace:w", "e")


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (1, "object"),
        ({}, "`event`"),
        ({"event": ""}, "`event`"),
        ({"event": 1}, "`event`"),
        ({"event": "e", "priority": []}, "`priority`"),
        ({"event": "e", "priority": True}, "`priority`"),
        ({"event": "e", "type": 1}, "`type`"),
        ({"event": "e", "timestamp": math.inf}, "`timestamp`"),
    ],
)
def test_what_is_no_workspace_event_is_refused_naming_the_field(value: object, field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        workspace_publication(value, "workspace:w")
    assert field in str(refused.value)


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
