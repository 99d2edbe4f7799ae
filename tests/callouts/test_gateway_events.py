"""Events in the format of API Gateway, and the answers of applications to them."""

from __future__ import annotations

import base64
import re

import pytest

from fastws.callouts.gateway_events import (
    MAX_KEPT_LENGTH,
    Caller,
    body_in,
    connect_event,
    default_event,
    disconnect_event,
    refusal_in,
    takes_context,
)
from fastws.errors import BadRequest, Forbidden, Unauthorized
from fastws.wire.request import Request


def upgrade(target: str = "/production?user=ada", **headers: str) -> Request:
    fields = {"host": "ws.example.com", "user-agent": "tests", "sec-websocket-key": "k", "x-own": "1"}
    return Request("GET", target, "1.1", fields | headers, is_upgrade=True)


def caller(request: Request | None = None, *, user: str | None = None) -> Caller:
    return Caller("c1", request or upgrade(), address="192.0.2.1", user=user, connected_at=1_700_000_000.25)


def context(event: dict[str, object]) -> dict[str, object]:
    found = event["requestContext"]
    assert isinstance(found, dict)
    return found


def test_a_connect_has_the_headers_and_the_query_of_the_upgrade() -> None:
    event = connect_event(caller(), upgrade())
    assert event["headers"] == {
        "Host": "ws.example.com",
        "User-Agent": "tests",
        "Sec-WebSocket-Key": "k",
        "X-Own": "1",
    }
    assert event["queryStringParameters"] == {"user": "ada"}
    assert "queryStringParameters" not in connect_event(caller(), upgrade("/production"))
    assert context(event)["routeKey"] == "$connect"


def test_every_event_describes_its_connection() -> None:
    described = context(default_event(caller(user="ada"), "{}"))
    fixed = {name: described[name] for name in ("connectionId", "connectedAt", "domainName", "stage", "identity")}
    assert fixed == {
        "connectionId": "c1",
        "connectedAt": 1_700_000_000_250,
        "domainName": "ws.example.com",
        "stage": "production",
        "identity": {"sourceIp": "192.0.2.1", "userAgent": "tests"},
    }
    assert described["authorizer"] == {"principalId": "ada"}
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", str(described["requestTime"]))
    assert "authorizer" not in context(default_event(caller(), "{}"))


@pytest.mark.parametrize(
    ("target", "stage"), [("/", "$default"), ("/production", "production"), ("/api/v1/ws", "api/v1/ws")]
)
def test_the_stage_is_the_path_of_the_upgrade(target: str, stage: str) -> None:
    assert caller(upgrade(target)).stage == stage


def test_texts_of_the_client_that_are_kept_are_limited() -> None:
    long = "x" * (MAX_KEPT_LENGTH + 1)
    kept = caller(upgrade(f"/{long}", **{"host": long, "user-agent": long}))
    assert {len(kept.domain), len(kept.stage), len(kept.user_agent)} == {MAX_KEPT_LENGTH}


def test_the_public_name_of_the_server_replaces_the_host_of_the_client() -> None:
    named = Caller("c1", upgrade(), address="", user=None, connected_at=0.0, public_host="live.example.com")
    assert named.domain == "live.example.com"


def test_each_message_has_its_own_id_and_its_body() -> None:
    first, second = default_event(caller(), '{"a":1}'), default_event(caller(), '{"a":1}')
    assert first["body"] == '{"a":1}'
    assert context(first)["messageId"] != context(second)["messageId"]


def test_a_disconnect_has_code_and_reason() -> None:
    described = context(disconnect_event(caller(), 1006, "lost"))
    assert (described["routeKey"], described["eventType"]) == ("$disconnect", "DISCONNECT")
    assert (described["disconnectStatusCode"], described["disconnectReason"]) == (1006, "lost")


@pytest.mark.parametrize("answer", [None, True, {}, {"statusCode": 200}, {"statusCode": "399"}, {"statusCode": 302}])
def test_other_answers_to_a_connect_accept_it(answer: object) -> None:
    assert refusal_in(answer) is None


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (False, Forbidden),
        ({"statusCode": 400}, Forbidden),
        ({"statusCode": 401}, Unauthorized),
        ({"statusCode": "401"}, Unauthorized),
        ({"statusCode": 500}, Forbidden),
    ],
)
def test_an_answer_of_400_or_more_refuses_a_connect(answer: object, error: type[Exception]) -> None:
    refusal = refusal_in(answer)
    assert type(refusal) is error
    assert refusal is not None
    assert refusal.reason == "hook"


@pytest.mark.parametrize("answer", ["no", 401, {"statusCode": True}, {"statusCode": None}, {"statusCode": "soon"}, []])
def test_an_invalid_answer_to_a_connect_raises(answer: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        refusal_in(answer)


@pytest.mark.parametrize("answer", [None, "text", {}, {"statusCode": 200}, {"body": None}])
def test_an_answer_without_a_body_sends_nothing(answer: object) -> None:
    assert body_in(answer) is None


def test_a_body_is_text_or_marked_as_base64() -> None:
    assert body_in({"body": "ä"}) == "ä"
    encoded = base64.b64encode(b"\x00\xff").decode()
    assert body_in({"body": encoded, "isBase64Encoded": True}) == b"\x00\xff"
    assert body_in({"body": encoded, "isBase64Encoded": False}) == encoded


@pytest.mark.parametrize("answer", [{"body": 1}, {"body": {}}, {"body": "%", "isBase64Encoded": True}])
def test_an_invalid_body_raises(answer: object) -> None:
    with pytest.raises(BadRequest, match="`body`"):
        body_in(answer)


def test_functions_of_lambda_take_a_context() -> None:
    assert takes_context(lambda event, context: None)
    assert takes_context(lambda event, *rest: None) is False
    assert takes_context(lambda event: None) is False
    assert takes_context(lambda event, context=None: None) is False
