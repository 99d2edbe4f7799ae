"""The workspaces dialect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.dialects.dialect import StartingChannels
from fastws.dialects.workspaces import MAX_EVENT_NAMES, WORKSPACES, EventFilter, Workspaces
from fastws.errors import BadRequest, Forbidden, Unauthorized
from fastws.vocabulary.commands import ChangeFilter, RequestMetrics
from fastws.vocabulary.filters import Filter
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Failure, FilterChanged, Gap, Lag, Left, Metrics, Reply, Subscribed

HERE = StartingChannels(channels=("workspace:w1",), home="workspace:w1", workspace="w1")
OWN_W1 = Identity("u1", workspace="w1", workspaces=frozenset({"w1"}))
LISTS_W1_W2 = Identity("u1", workspace="w1", workspaces=frozenset({"w1", "w2"}))
LISTS_W2_ONLY = Identity("u1", workspaces=frozenset({"w2"}))
NO_WORKSPACE = Identity("u1")


def change(*steps: tuple[str, list[str]]) -> Filter | None:
    """The filter in force after these subscribes and unsubscribes, in order."""
    now: Filter | None = None
    for word, names in steps:
        command = WORKSPACES.parse({"type": word, "event_types": names})
        assert isinstance(command, ChangeFilter)
        assert command.subscribed is (word == "subscribe")
        now = command.change(now)
    return now


def listed(now: Filter | None) -> dict[str, object]:
    said = WORKSPACES.reply(FilterChanged(now), HERE)
    assert said is not None
    return {key: value for key, value in said.items() if key not in ("event", "timestamp")}


ADMITTED = [
    (OWN_W1, {}, "w1"),
    (OWN_W1, {"workspace_id": "w1"}, "w1"),
    (OWN_W1, {"workspace_id": ""}, "w1"),
    (LISTS_W1_W2, {}, "w1"),
    (LISTS_W1_W2, {"workspace_id": "w2"}, "w2"),
    (LISTS_W2_ONLY, {"workspace_id": "w2"}, "w2"),
    (Identity("u1", workspace="w1"), {"workspace_id": "w1"}, "w1"),
]


@pytest.mark.parametrize(("identity", "query", "workspace"), ADMITTED)
def test_a_client_is_in_the_workspace_it_names_or_in_its_own(
    identity: Identity, query: dict[str, str], workspace: str
) -> None:
    channel = f"workspace:{workspace}"
    assert WORKSPACES.admit(identity, query) == StartingChannels((channel,), channel, workspace)


REFUSED = [
    (OWN_W1, {"workspace_id": "w2"}),
    (OWN_W1, {"workspace_id": "W1"}),
    (OWN_W1, {"workspace_id": "w1 "}),
    (OWN_W1, {"workspace_id": "*"}),
    (OWN_W1, {"workspace_id": "w1:x"}),
    (LISTS_W2_ONLY, {}),
    (NO_WORKSPACE, {}),
    (NO_WORKSPACE, {"workspace_id": "w1"}),
]


@pytest.mark.parametrize(("identity", "query"), REFUSED)
def test_a_workspace_that_the_token_does_not_list_is_forbidden(identity: Identity, query: dict[str, str]) -> None:
    with pytest.raises(Forbidden) as refused:
        WORKSPACES.admit(identity, query)
    assert refused.value.status == 403


def test_clients_without_an_identity_are_not_admitted() -> None:
    assert WORKSPACES.needs_token
    with pytest.raises(Unauthorized):
        WORKSPACES.admit(None, {"workspace_id": "w1"})


def test_the_channel_of_a_workspace_goes_by_the_template() -> None:
    dialect = Workspaces("acme/{workspace_id}/events")
    assert dialect.admit(OWN_W1, {}).home == "acme/w1/events"


def test_a_workspace_id_that_makes_no_channel_name_is_refused() -> None:
    identity = Identity("u1", workspace="x" * 250)
    with pytest.raises(BadRequest, match="workspace_id"):
        WORKSPACES.admit(identity, {})


def test_subscribing_adds_up_and_unsubscribing_takes_away() -> None:
    assert change(("subscribe", ["a"]), ("subscribe", ["b", "a"])) == EventFilter(frozenset("ab"))
    assert change(("subscribe", ["a", "b"]), ("unsubscribe", ["a", "z"])) == EventFilter(frozenset("b"))
    assert listed(change(("subscribe", ["b", "a"]))) == {"event_types": ["a", "b"]}


def test_after_unsubscribing_from_all_nothing_is_received() -> None:
    now = change(("subscribe", ["a"]), ("unsubscribe", ["a"]))
    assert now == EventFilter(frozenset())
    assert not now.accepts(Publication("c", "a"))
    assert listed(now) == {"event_types": []}


def test_unsubscribing_first_means_all_but_these() -> None:
    now = change(("unsubscribe", ["a"]), ("unsubscribe", ["b"]))
    assert now is not None
    assert not now.accepts(Publication("c", "a"))
    assert not now.accepts(Publication("c", "b"))
    assert now.accepts(Publication("c", "d"))
    assert listed(now) == {"event_types": ["*"], "except": ["a", "b"]}


def test_the_first_subscribe_after_that_means_only_those_it_named() -> None:
    assert change(("unsubscribe", ["a"]), ("subscribe", ["a", "b"])) == EventFilter(frozenset("ab"))


def test_a_star_is_every_event() -> None:
    assert change(("subscribe", ["a"]), ("subscribe", ["*"])) is None
    assert listed(None) == {"event_types": ["*"]}
    assert change(("unsubscribe", [])) is None
    assert change(("unsubscribe", ["*"])) == EventFilter(frozenset())


names = st.lists(st.sampled_from("abcd"), max_size=3)


@given(st.lists(st.tuples(st.sampled_from(["subscribe", "unsubscribe"]), names), max_size=8))
def test_the_filter_accepts_what_the_spec_defines_after_any_sequence(steps: list[tuple[str, list[str]]]) -> None:
    heard = set("abcde")  # `e` stands for all that is never named
    subscribed_before = False
    for word, said in steps:
        if word == "unsubscribe":
            heard -= set(said)
        elif subscribed_before:
            heard |= set(said)
        else:
            heard, subscribed_before = set(said), True
    now = change(*steps)
    assert {event for event in "abcde" if now is None or now.accepts(Publication("c", event))} == heard


def test_event_names_are_bounded_at_once_and_in_sum() -> None:
    with pytest.raises(BadRequest, match="at most 256"):
        change(("subscribe", [f"e{n}" for n in range(MAX_EVENT_NAMES + 1)]))
    many = [f"e{n}" for n in range(MAX_EVENT_NAMES)]
    for word in ("subscribe", "unsubscribe"):
        assert change((word, many), (word, many[:5])) is not None
        with pytest.raises(BadRequest, match="at most 256"):
            change((word, many), (word, ["one more"]))


@pytest.mark.parametrize(
    "event_types", [None, "alert", 1, {}, [1], [None], [""], ["x" * 256], ["a", ["b"]], [{"a": 1}]]
)
@pytest.mark.parametrize("word", ["subscribe", "unsubscribe"])
def test_what_is_no_list_of_names_is_refused_naming_the_field(word: str, event_types: object) -> None:
    with pytest.raises(BadRequest, match="`event_types"):
        WORKSPACES.parse({"type": word, "event_types": event_types})


def test_metrics_are_requested_by_type_and_answered_with_it() -> None:
    assert WORKSPACES.parse({"type": "request_metrics"}) == RequestMetrics("default")
    assert WORKSPACES.parse({"type": "request_metrics", "metric_type": "x"}) == RequestMetrics("x")
    for metric_type in ("", 1, [], "x" * 256):
        with pytest.raises(BadRequest, match="`metric_type`"):
            WORKSPACES.parse({"type": "request_metrics", "metric_type": metric_type})
    said = WORKSPACES.reply(Metrics("executions", {"n": 1}), HERE)
    assert said is not None
    assert {**said, "timestamp": ""} == {
        "event": "metrics_update",
        "metric_type": "executions",
        "data": {"n": 1},
        "timestamp": "",
    }


def test_priority_is_present_only_if_the_event_has_one() -> None:
    assert "priority" not in WORKSPACES.delivery(Publication("c", "e"))
    assert WORKSPACES.delivery(Publication("c", "e", priority=0))["priority"] == 0


NOTICES: list[tuple[Reply, dict[str, object]]] = [
    (Gap("workspace:w1"), {"event": "gap", "workspace_id": "w1"}),
    (Lag("workspace:w1", 3), {"event": "lag", "workspace_id": "w1", "dropped": 3}),
    (Failure("forbidden", "no", "workspace:w1"), {"event": "error", "message": "no"}),
    (Left("workspace:w1"), {"event": "error", "message": "the new token does not allow this workspace"}),
]


@pytest.mark.parametrize(("notice", "expected"), NOTICES)
def test_notices_speak_of_the_workspace(notice: Reply, expected: dict[str, object]) -> None:
    assert WORKSPACES.reply(notice, HERE) == expected


def test_a_subscription_to_a_channel_is_none_of_its_words() -> None:
    assert WORKSPACES.reply(Subscribed("workspace:w1"), HERE) is None


def test_event_filters_name_the_included_or_the_excluded_events() -> None:
    alert, other = Publication("c", "alert"), Publication("c", "other")
    only, but = EventFilter(frozenset({"alert"})), EventFilter(frozenset({"alert"}), excluding=True)
    assert (only.accepts(alert), only.accepts(other)) == (True, False)
    assert (but.accepts(alert), but.accepts(other)) == (False, True)
    assert not EventFilter(frozenset()).accepts(alert)


def test_equal_filters_are_one_audience() -> None:
    assert EventFilter(frozenset({"a", "b"})) == EventFilter(frozenset({"b", "a"}))
    assert (
        len(
            {
                EventFilter(frozenset({"a"})),
                EventFilter(frozenset({"a"})),
                EventFilter(frozenset({"a"}), excluding=True),
            }
        )
        == 2
    )
