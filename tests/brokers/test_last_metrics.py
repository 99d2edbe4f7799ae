"""The last `metrics_update` of each channel and metric type."""

from __future__ import annotations

import pytest

from fastws.brokers import last_metrics
from fastws.brokers.last_metrics import LastMetrics, is_kept, metric_type_of
from fastws.vocabulary.channels import workspace_channels
from fastws.vocabulary.publication import Encoded, Publication

WORKSPACES = workspace_channels("workspace:{workspace_id}")


def update(data: object, channel: str = "workspace:w1", **fields: str) -> Publication:
    return Publication(channel, "metrics_update", data, **fields)


@pytest.mark.parametrize(
    ("publication", "expected"),
    [
        (update({}), True),
        (update({}, sender="a client"), False),
        (update({}, channel="news"), False),
        (Publication("workspace:w1", "other", {}), False),
    ],
)
def test_only_updates_of_backends_in_workspaces_are_kept(publication: Publication, expected: bool) -> None:
    assert is_kept(publication, WORKSPACES) is expected


@pytest.mark.parametrize(
    ("publication", "expected"),
    [
        (update({"metric_type": "cpu"}), "cpu"),
        (update({}), "default"),
        (update(Encoded("json", b'{"metric_type":"cpu"}')), "cpu"),
        (update(Encoded("json", b"not JSON")), None),
        (update([1]), None),
        (update({"metric_type": 1}), None),
        (Publication("workspace:w1", "other", {"metric_type": "cpu"}), None),
    ],
)
def test_metric_type(publication: Publication, expected: str | None) -> None:
    assert metric_type_of(publication) == expected


def test_the_last_update_of_each_type_is_found() -> None:
    metrics = LastMetrics()
    for data in ({"n": 1}, {"metric_type": "cpu", "n": 2}, {"n": 3}):
        metrics.note(update(data))
    metrics.note(update("not an object"))
    assert metrics.find("workspace:w1", "default") == {"n": 3}
    assert metrics.find("workspace:w1", "cpu") == {"metric_type": "cpu", "n": 2}
    assert metrics.find("workspace:w2", "cpu") == {}


def test_only_the_most_recent_pairs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_metrics, "MAX_KEPT", 2)
    metrics = LastMetrics()
    for channel in ("a", "b", "a", "c"):
        metrics.note(update({"n": 1}, channel=channel))
    assert [bool(metrics.find(channel, "default")) for channel in "abc"] == [True, False, True]


def test_bytes_are_bounded_too_and_those_of_replaced_ones_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_metrics, "MAX_BYTES", 3000)
    metrics = LastMetrics()

    def kept() -> str:
        return "".join(channel for channel in "abcd" if metrics.find(channel, "default"))

    for channel in ("a", "b", "a", "b", "a", "b"):
        metrics.note(update({"n": "x" * 1000}, channel=channel))
    assert kept() == "ab"
    metrics.note(update({"n": "x" * 1900}, channel="c"))
    assert kept() == "bc"
    metrics.note(update({"n": "x" * 3000}, channel="d"))
    assert kept() == ""
    metrics.note(update({"n": "x" * 2900}, channel="a"))
    assert kept() == "a"


def test_what_cannot_be_encoded_is_not_kept() -> None:
    metrics = LastMetrics()
    metrics.note(update({"n": object()}))
    assert metrics.find("workspace:w1", "default") == {}
