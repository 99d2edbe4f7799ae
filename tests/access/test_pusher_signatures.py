"""Signatures of Pusher, by the examples of its documentation and by the SDK from PyPI."""

from __future__ import annotations

import pytest

from fastws.access.pusher_signatures import (
    MAX_CLOCK_DIFFERENCE_SECONDS,
    channel_text,
    check_request,
    is_signed,
    request_text,
    sign,
    user_text,
)
from fastws.errors import Unauthorized
from fastws.vocabulary.pusher_apps import PusherApp

KEY, SECRET = "278d425bdf160c739803", "7ad3773142a6692b25b8"
APP = PusherApp(id="3", secrets={KEY: SECRET, "second": "other"})
MEMBER = '{"user_id":10,"user_info":{"name":"Mr. Channels"}}'
BODY = b'{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}'
AT = 1353088179
PARAMETERS = {
    "auth_key": KEY,
    "auth_timestamp": str(AT),
    "auth_version": "1.0",
    "body_md5": "ec365a775a4cd0599faeb73354201b6f",
    "auth_signature": "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c",
}


@pytest.mark.parametrize(
    ("text", "signature"),
    [
        (
            channel_text("1234.1234", "private-foobar"),
            "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4",
        ),
        (
            channel_text("1234.1234", "presence-foobar", MEMBER),
            "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80",
        ),
        (
            user_text("1234.1234", '{"id":"12345"}'),
            "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba",
        ),
    ],
)
def test_the_examples_of_the_documentation(text: str, signature: str) -> None:
    assert sign(SECRET, text) == signature
    assert is_signed(APP, f"{KEY}:{signature}", text)


def test_the_request_of_the_documentation_is_accepted() -> None:
    check_request(APP, "POST", "/apps/3/events", PARAMETERS, BODY, now=AT)


def test_every_pair_of_an_app_signs() -> None:
    assert is_signed(APP, f"second:{sign('other', 'text')}", "text")
    assert not is_signed(APP, f"second:{sign(SECRET, 'text')}", "text")


@pytest.mark.parametrize(
    "auth", [None, 7, [], "", ":", KEY, f"{KEY}:", f"{KEY}:é", f"unknown:{sign(SECRET, 't')}", f":{sign(SECRET, 't')}"]
)
def test_a_malformed_signature_is_wrong(auth: object) -> None:
    assert not is_signed(APP, auth, "t")


def test_a_signature_is_of_one_text_in_lower_case() -> None:
    good = sign(SECRET, "t")
    assert not is_signed(APP, f"{KEY}:{good}", "u")
    assert not is_signed(APP, f"{KEY}:{good.upper()}", "t")
    assert not is_signed(APP, f"{KEY}:{good[:-1]}", "t")


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_a_request_needs_every_parameter(name: str) -> None:
    parameters = {key: value for key, value in PARAMETERS.items() if key != name}
    with pytest.raises(Unauthorized):
        check_request(APP, "POST", "/apps/3/events", parameters, BODY, now=AT)


@pytest.mark.parametrize(
    "change",
    [
        {"auth_key": "second"},
        {"auth_key": "unknown"},
        {"auth_version": "2.0"},
        {"auth_timestamp": "soon"},
        {"auth_timestamp": "9" * 400},
        {"auth_signature": "é"},
        {"extra": "1"},
    ],
)
def test_a_changed_parameter_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(Unauthorized):
        check_request(APP, "POST", "/apps/3/events", PARAMETERS | change, BODY, now=AT)


def test_the_signature_covers_method_path_and_body() -> None:
    for method, path, body in (
        ("GET", "/apps/3/events", BODY),
        ("POST", "/apps/4/events", BODY),
        ("POST", "/apps/3/events", BODY + b" "),
    ):
        with pytest.raises(Unauthorized):
            check_request(APP, method, path, PARAMETERS, body, now=AT)


@pytest.mark.parametrize("difference", [-MAX_CLOCK_DIFFERENCE_SECONDS, MAX_CLOCK_DIFFERENCE_SECONDS])
def test_a_request_is_valid_for_ten_minutes(difference: int) -> None:
    check_request(APP, "POST", "/apps/3/events", PARAMETERS, BODY, now=AT + difference)
    with pytest.raises(Unauthorized):
        check_request(APP, "POST", "/apps/3/events", PARAMETERS, BODY, now=AT + difference + difference // 600)


def signed(method: str, path: str, **more: str) -> dict[str, str]:
    parameters = {"auth_key": KEY, "auth_timestamp": str(AT), "auth_version": "1.0", **more}
    return parameters | {"auth_signature": sign(SECRET, request_text(method, path, parameters))}


def test_the_path_may_be_signed_as_sent_or_decoded() -> None:
    sent = "/apps/3/channels/private%40x"
    check_request(APP, "GET", sent, signed("GET", sent), b"", now=AT)
    check_request(APP, "GET", sent, signed("GET", "/apps/3/channels/private@x"), b"", now=AT)


def test_an_empty_body_needs_no_digest_and_a_given_one_is_checked() -> None:
    with pytest.raises(Unauthorized):
        check_request(APP, "GET", "/a", signed("GET", "/a", body_md5="0" * 32), b"", now=AT)


def test_keys_are_signed_in_lower_case_and_sorted() -> None:
    assert request_text("get", "/a", {"B": "2", "a": "x y", "auth_signature": "z"}) == "GET\n/a\na=x y&b=2"


def test_the_python_sdk_signs_the_same() -> None:
    pusher = pytest.importorskip("pusher", reason="the SDK is missing: pip install pusher")
    client = pusher.Pusher(app_id="3", key=KEY, secret=SECRET, host="localhost", port=1)
    auth = client.authenticate(channel="presence-r", socket_id="12.34", custom_data={"user_id": "ü", "user_info": {}})
    assert is_signed(APP, auth["auth"], channel_text("12.34", "presence-r", auth["channel_data"]))
    user = client.authenticate_user("12.34", {"id": "7"})
    assert is_signed(APP, user["auth"], user_text("12.34", user["user_data"]))
    request = client._pusher_client.trigger.make_request(["a", "b"], "e", {"x": "ü"})
    now = float(request.query_params["auth_timestamp"])
    check_request(APP, "POST", request.path, request.query_params, request.body, now=now)
