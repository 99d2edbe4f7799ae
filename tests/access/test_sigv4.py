"""Signatures are made by botocore, and hold for exactly what was signed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from fastws.access.sigv4 import AwsCredentials
from fastws.errors import Forbidden
from fastws.wire.request import Request

NOW = datetime(2026, 11, 9, 12, 0, tzinfo=UTC)
OURS = AwsCredentials(["AKIDOLD:old secret", "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"], NOW.timestamp)
PATH = "/production/@connections/L0SM9cOFvHcCIhw%3D"


def signed(
    path: str = PATH,
    *,
    method: str = "POST",
    body: bytes = b"hello",
    key_id: str = "AKIDEXAMPLE",
    secret: str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    token: str | None = None,
    region: str = "eu-central-1",
    service: str = "execute-api",
    headers: dict[str, str] | None = None,
    at: datetime = NOW,
) -> Request:
    """What boto3 would send, as our reader hands it on."""
    given_headers = {"User-Agent": "Boto3/1.0", **(headers or {})}
    request: Any = AWSRequest(method, f"http://127.0.0.1:8000{path}", headers=given_headers, data=body)
    signer: Any = botocore.auth.SigV4Auth(Credentials(key_id, secret, token), service, region)
    patch = pytest.MonkeyPatch()
    patch.setattr(botocore.auth, "get_current_datetime", lambda: at)
    signer.add_auth(request)
    patch.undo()
    sent = {"host": "127.0.0.1:8000"} | {name.lower(): value for name, value in request.headers.items()}
    return Request(method, path, "1.1", sent, body)


@pytest.mark.parametrize(
    "request_",
    [
        signed(),
        signed(method="GET", body=b""),
        signed(method="DELETE", body=b""),
        signed("/production/%40connections/abc"),
        signed("/@connections/a~b-c_d.e"),
        signed(PATH + "?b=2&a=1&a=0&empty"),
        signed(body=bytes(range(256))),
        signed(key_id="AKIDOLD", secret="old secret"),
        signed(region="mars-north-7", service="anything"),
        signed(headers={"X-Amz-Meta": "  many   spaces ", "Content-Type": "text/plain"}),
        signed(at=NOW - timedelta(seconds=899)),
        signed(at=NOW + timedelta(seconds=899)),
    ],
)
def test_a_request_signed_with_one_of_the_pairs_is_let_in(request_: Request) -> None:
    OURS.check(request_)


def test_a_session_token_is_no_obstacle_and_no_help() -> None:
    OURS.check(signed(token="FwoGZXIvYXdzE"))
    with pytest.raises(Forbidden):
        OURS.check(signed(token="FwoGZXIvYXdzE", secret="guessed"))


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (signed(secret="wrong"), "signature is invalid"),
        (signed(key_id="AKIDNOBODY"), "signature is invalid"),
        (signed(key_id="AKIDOLD"), "signature is invalid"),
        (signed(at=NOW - timedelta(seconds=901)), "more than 15 minutes"),
        (signed(at=NOW + timedelta(seconds=901)), "more than 15 minutes"),
    ],
)
def test_a_wrong_key_or_a_wrong_clock_is_refused(request_: Request, reason: str) -> None:
    with pytest.raises(Forbidden, match=reason):
        OURS.check(request_)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "DELETE"},
        {"target": PATH + "x"},
        {"target": PATH + "?a=1"},
        {"body": b"hello!"},
        {"body": b""},
        {"headers": {"host": "other.example"}},
        {"headers": {"x-amz-date": "20261109T120001Z"}},
    ],
)
def test_what_was_signed_cannot_be_changed(change: dict[str, Any]) -> None:
    request = signed()
    headers = request.headers | change.pop("headers", {})
    changed = Request(
        change.get("method", request.method),
        change.get("target", request.target),
        "1.1",
        headers,
        change.get("body", request.body),
    )
    with pytest.raises(Forbidden):
        OURS.check(changed)


def test_headers_that_a_proxy_adds_do_no_harm() -> None:
    request = signed()
    request.headers["x-amzn-trace-id"] = "Root=1"
    request.headers["x-forwarded-for"] = "192.0.2.1"
    OURS.check(request)


def test_a_body_that_only_a_header_speaks_for_is_refused() -> None:
    request = signed(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    with pytest.raises(Forbidden, match="signature is invalid"):
        OURS.check(request)


def authorization(**changes: str | None) -> str:
    fields = {
        "Credential": "AKIDEXAMPLE/20261109/eu-central-1/execute-api/aws4_request",
        "SignedHeaders": "host;x-amz-date",
        "Signature": "0" * 64,
    } | changes
    return "AWS4-HMAC-SHA256 " + ", ".join(f"{name}={value}" for name, value in fields.items() if value is not None)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "Missing"),
        ("", "Missing"),
        ("Bearer x", "Missing"),
        ("AWS4-ECDSA-P256-SHA256 " + authorization().partition(" ")[2], "Missing"),
        (authorization(Credential=None), "incomplete"),
        (authorization(Signature=None), "incomplete"),
        (authorization(Credential="AKIDEXAMPLE"), "incomplete"),
        (authorization(Credential="AKIDEXAMPLE/20261109/eu/execute-api/aws5_request"), "incomplete"),
        (authorization(SignedHeaders=None), "host"),
        (authorization(SignedHeaders="host"), "x-amz-date"),
        (authorization(SignedHeaders="x-amz-date"), "host"),
        (authorization(SignedHeaders="x-amz-date;host"), "sorted"),
        (authorization(SignedHeaders="host;host;x-amz-date"), "sorted"),
        (authorization(Credential="AKIDEXAMPLE/20261108/eu/execute-api/aws4_request"), "date of the credential scope"),
        (authorization(Signature="é"), "signature is invalid"),
        (authorization(), "signature is invalid"),
    ],
)
def test_anything_but_a_complete_signature_is_refused(value: str | None, reason: str) -> None:
    headers = {"host": "127.0.0.1:8000", "x-amz-date": "20261109T120000Z"}
    if value is not None:
        headers["authorization"] = value
    with pytest.raises(Forbidden, match=reason):
        OURS.check(Request("POST", PATH, "1.1", headers))


@pytest.mark.parametrize("moment", ["", "20261109", "20261109T126161Z", "20261109T250000Z", "２0261109T120000Z"])
def test_a_date_that_is_none_is_refused(moment: str) -> None:
    headers = {"host": "h", "x-amz-date": moment, "authorization": authorization()}
    with pytest.raises(Forbidden, match="X-Amz-Date"):
        OURS.check(Request("POST", PATH, "1.1", headers))


def test_without_pairs_nothing_holds_and_the_emptiness_shows() -> None:
    none = AwsCredentials([], NOW.timestamp)
    assert not none
    assert OURS
    with pytest.raises(Forbidden):
        none.check(signed())


@given(
    name=st.text(min_size=1, max_size=40),
    value=st.text(max_size=20),
    body=st.binary(max_size=200),
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
)
def test_whatever_botocore_signs_holds(name: str, value: str, body: bytes, secret: str) -> None:
    escaped = quote(name.encode("utf-8", "replace"), safe="")
    path = f"/stage/@connections/x{escaped}?{escaped}={quote(value.encode('utf-8', 'replace'), safe='')}"
    request = signed(path, body=body, key_id="K", secret=secret)
    AwsCredentials([f"K:{secret}"], NOW.timestamp).check(request)
    with pytest.raises(Forbidden):
        AwsCredentials([f"K:{secret}x"], NOW.timestamp).check(request)
