"""The tables of close codes, error codes, metrics, addresses and alerts in the documentation: complete and correct."""

from __future__ import annotations

import ast
import re

import yaml

import fastws.backend
from fastws import errors
from fastws.cli.deploy_files import MEANINGS, content
from fastws.config import SETTINGS
from fastws.errors import FastWSError, ProtocolViolation
from fastws.telemetry import exposition
from tests.readme import reading
from tests.readme.reading import codes, table
from tests.readme.source import argument, calls, subscripts
from tests.readme.test_readme import tables

# Errors that end a connection, or a start: no answer has them as its code.
NO_ANSWERS = {"protocol_error", "invalid_text", "unsupported_data", "config", "dismissed"}
# A close with the client's own code, and a connection that ended without one.
WITHOUT_OURS = {("any", "client"), ("1006", "lost")}


def kinds_of_error() -> list[type[FastWSError]]:
    found = [FastWSError]
    for kind in found:
        found += kind.__subclasses__()
    return [kind for kind in found if kind.__module__ == errors.__name__]


def closes() -> set[tuple[str, str]]:
    """(code, reason label) of every close that the server sends."""
    found = set()
    for call in calls("end"):
        if argument(call, "label") is not None and isinstance(call.args[0], ast.Constant):
            found.add((str(call.args[0].value), str(argument(call, "label"))))
    found.add((str(ProtocolViolation.close_code), ProtocolViolation.code))
    for call in calls("ProtocolViolation"):
        if isinstance(argument(call, "violation_code"), int):
            found.add((str(argument(call, "violation_code")), ProtocolViolation.code))
    raised_and_failed = {errors.InvalidText, errors.UnsupportedData, errors.Unavailable}
    return found | {(str(kind.close_code), kind.code) for kind in raised_and_failed}


def test_the_close_codes_of_operators_are_those_of_the_code_with_their_labels() -> None:
    rows = table("Close codes", "code", "reason label")
    assert {(row[0], label) for row in rows for label in codes(row[1])} == closes() | WITHOUT_OURS


def test_the_close_codes_of_clients_are_those_of_the_code() -> None:
    rows = table("Limits and close codes", "code", "when")
    assert {row[0] for row in rows} == {code for code, _ in closes()}


def test_every_error_code_stands_in_the_table_with_its_status_and_no_other() -> None:
    shown = {(code, int(row[1])) for row in table("HTTP API", "error code", "status") for code in codes(row[0])}
    assert shown == {(kind.code, kind.status) for kind in kinds_of_error() if kind.code not in NO_ANSWERS}


def test_what_a_python_backend_may_get_is_in_the_table_of_what_is_raised() -> None:
    exported = {
        name
        for name in fastws.backend.__all__
        if isinstance(kind := getattr(fastws.backend, name), type) and issubclass(kind, FastWSError)
    }
    rows = table("Publishing from Python backends", "raised", "when")
    shown = {name for row in rows for name in codes(row[0])}
    # Forbidden is the client's, ConfigError is said in the text above the table.
    assert shown == exported - {"FastWSError", "Forbidden", "ConfigError"}


def test_the_metrics_are_those_that_are_served_with_their_labels() -> None:
    served = {f"{name}_total": labels for name, _, labels, _ in exposition._LABELLED}
    served |= {f"{name}_total": () for name, *_ in exposition._UNLABELLED}
    gauges = {name for name in names_in_the_source() if name not in {key.removesuffix("_total") for key in served}}
    served |= dict.fromkeys(gauges, ()) | {
        "fastws_connections": ("dialect", "codec"),
        "fastws_pusher_connections": ("app",),
        "fastws_broker_nodes": ("state",),
        "fastws_broker_node_up": ("node",),
        "fastws_broker_node_lag_seconds": ("node",),
    }
    shown = {}
    for row in table("Metrics", "metric", "labels"):
        for name in codes(row[0]):
            if name.startswith("fastws_"):
                shown[name] = tuple(word for word in row[1].split(", ") if word and word != "(histogram)")
    assert shown == served


def names_in_the_source() -> set[str]:
    text = (reading.Path(exposition.__file__)).read_text()
    return set(re.findall(r'"(fastws_\w+)"', text))


def test_the_reasons_for_which_messages_are_dropped_are_all_told() -> None:
    (row,) = (row for row in table("Metrics", "metric", "labels") if "`fastws_dropped_messages_total`" in row[0])
    # Of a policy the chunks that give way are counted under its name; `disconnect` where a message is larger than all.
    policies = set(SETTINGS["slow_policy"].choices)
    assert set(codes(row[2])) == set(subscripts("dropped")) | policies


def test_the_kinds_of_rate_are_all_told() -> None:
    (row,) = (row for row in table("Metrics", "metric", "labels") if "`fastws_rate_limited_total`" in row[0])
    assert set(codes(row[2])) == set(subscripts("rate_limited"))


def test_the_sources_of_publications_are_all_told() -> None:
    (row,) = (row for row in table("Metrics", "metric", "labels") if "`fastws_publications_total`" in row[0])
    assert set(codes(row[2])) == set(subscripts("publications"))


def test_the_addresses_are_those_that_are_served() -> None:
    shown = {
        f"{method} {path}"
        for row in table("HTTP API", "request", "address")
        for method in row[0].split(", ")
        for path in codes(row[1])
    }
    assert shown == tables.addresses()


def test_the_policies_are_those_of_the_setting() -> None:
    rows = table("Limits and close codes", "policy", "what happens")
    assert {code for row in rows for code in codes(row[0])} == set(SETTINGS["slow_policy"].choices)


def test_the_alerts_are_those_of_the_file() -> None:
    rules = [rule for group in yaml.safe_load(content("prometheus-alerts.yml"))["groups"] for rule in group["rules"]]
    assert [row[0] for row in table("Alerts and dashboard", "alert", "fires when")] == [rule["alert"] for rule in rules]


def test_the_files_to_deploy_are_those_that_are_written() -> None:
    assert {code for row in table("Deploying", "file", "for") for code in codes(row[0])} == set(MEANINGS)


def test_the_broadcasters_calls_are_all_told() -> None:
    from fastws.backend.publishing_methods import PublishingMethods

    rows = table("Publishing from Python backends", "call", "goes to")
    shown = {code.partition("(")[0] for row in rows for code in codes(row[0])}
    own = {name for name, member in vars(PublishingMethods).items() if callable(member) and not name.startswith("_")}
    assert shown == own - {"deliver", "publish", "send"} | {"broadcast_admin_event"}
