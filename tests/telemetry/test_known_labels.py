"""Label values that are known from the start: those of the code, all of them, and at 0 in the first scrape."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from fastws import errors
from fastws.config import SETTINGS
from fastws.counters import Counters
from fastws.dialects.mount import Mounts
from fastws.telemetry.known_labels import KNOWN_LABELS
from tests.readme.source import argument, calls, subscripts
from tests.readme.test_codes import closes, kinds_of_error
from tests.telemetry.test_exposition import Broker, exposition, samples

# Reasons of errors that only endpoints raise, which have counters of their own.
OF_REQUESTS = {"message_id"}
# Clients close with any code; these are what browsers and libraries send.
OF_CLIENTS = {("1000", "client"), ("1001", "client"), ("1005", "client"), ("1006", "lost")}


def known(counter: str) -> set[Any]:
    return set(KNOWN_LABELS[counter])


def test_every_labelled_counter_has_known_labels() -> None:
    labelled = {name for name in Counters.__slots__ if isinstance(getattr(Counters(), name), dict)}
    assert set(KNOWN_LABELS) == labelled


@pytest.mark.parametrize("counter", ["publications", "dropped", "rate_limited", "feed_rejected"])
def test_every_label_that_the_code_counts_by_name_is_known(counter: str) -> None:
    assert set(subscripts(counter)) <= known(counter)


def test_every_reason_of_a_refusal_is_known() -> None:
    kinds = {kind.__name__: kind for kind in kinds_of_error()}
    found = {
        (kinds[call.func.id].status, argument(call, "reason"))
        for call in calls(*kinds)
        if isinstance(call.func, ast.Name) and argument(call, "reason") not in (None, *OF_REQUESTS)
    }
    assert found
    assert found <= known("refused")
    assert {(503, errors.ServerFull().reason), (503, errors.Draining().reason)} <= known("refused")


def test_every_close_code_is_known_with_its_label() -> None:
    assert {(str(code), label) for code, label in known("closed")} == closes() | OF_CLIENTS


def test_policies_dialects_and_routes_are_those_of_the_server() -> None:
    assert known("slow_consumers") == set(SETTINGS["slow_policy"].choices)
    assert known("opened") == known("received") == set(Mounts().dialects) - {"echo"}
    paths = {str(call.args[0].value) for call in calls("Route") if isinstance(call.args[0], ast.Constant)}
    assert {route for route, _ in known("requests_refused")} <= paths


async def test_what_has_not_happened_yet_is_exposed_as_0() -> None:
    counters = Counters()
    counters.closed[1011, "internal"] += 1
    found = samples(await exposition(counters, Broker()))
    assert found["fastws_connections_closed_total 1011 internal"] == 1
    assert found["fastws_connections_closed_total 1006 lost"] == 0
    assert found["fastws_handshakes_refused_total full 503"] == 0
    labelled = [name for name in found if name.startswith("fastws_") and "_total " in name]
    assert len(labelled) == sum(len(keys) for keys in KNOWN_LABELS.values())
    assert not counters.refused, "a scrape changes no counter"
