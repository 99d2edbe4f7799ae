"""The management API of API Gateway, `/{stage}/@connections/{id}`, for boto3's apigatewaymanagementapi client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Final

import orjson

from fastws.endpoints.application import Application
from fastws.endpoints.broadcast import AwaitedReceipt
from fastws.errors import FastWSError, Forbidden, Gone, RateLimited, TooLarge
from fastws.hub.ports import Receipt
from fastws.hub.publication_log import LoggedReceipt
from fastws.vocabulary.publication import Publication
from fastws.wire.request import Request
from fastws.wire.response import Response

# The message quota of API Gateway.
MAX_BODY_BYTES: Final = 131_072
_GONE: Final = "no connection with this id; it may have closed"
# Sent in a header: boto3 raises `client.exceptions.GoneException` only if the header names it.
_ERROR_TYPES: Final = {
    403: "ForbiddenException",
    410: "GoneException",
    413: "PayloadTooLargeException",
    429: "LimitExceededException",
    503: "ServiceUnavailableException",
}

Call = Callable[..., Awaitable[Response]]


def management_call(call: Call) -> Call:
    """Decorate `call`: check length and signature, answer errors as AWS does (`x-amzn-ErrorType`, {"message"})."""

    @wraps(call)
    async def answered(application: Application, request: Request, *, address: str, id: str, **_: str) -> Response:  # noqa: A002
        try:
            _check_length(request)
            check_caller(application, request, address)
            return await call(application, request, id)
        except FastWSError as error:
            return aws_error(error)

    return answered


def may_post(application: Application, request: Request, address: str) -> bool:
    """Whether to read the body of this request. (The signature can only be checked with the body.)"""
    try:
        _check_length(request)
        if application.aws_credentials:
            return application.aws_credentials.may_be_signed(request)
        check_caller(application, request, address)
    except FastWSError:
        return False
    return True


def _check_length(request: Request) -> None:
    """Raise TooLarge for a message over the quota of API Gateway."""
    length = request.header("content-length")
    if len(request.body) > MAX_BODY_BYTES or (length is not None and int(length) > MAX_BODY_BYTES):
        raise TooLarge(f"the message must not be larger than {MAX_BODY_BYTES} bytes")


def check_caller(application: Application, request: Request, address: str) -> None:
    """Raise Forbidden unless the request is signed with a pair of `aws_credentials`.

    If no credentials and no keys are configured, local peers may call without a valid signature, but web pages may not.
    """
    if application.aws_credentials:
        application.aws_credentials.check(request)
    elif application.has_configured_keys:
        raise Forbidden("aws_credentials is not set: set a KEY_ID:SECRET pair on the server and sign with it")
    elif "origin" in request.headers or not application.local_peers.includes(request, address):
        raise Forbidden("aws_credentials is not set: only programs that connect directly on this machine may call")


def aws_error(error: FastWSError) -> Response:
    """Return `error` as a response of API Gateway."""
    kind = _ERROR_TYPES.get(error.status, "InternalServerErrorException")
    headers = (("Content-Type", "application/json"), ("x-amzn-ErrorType", kind))
    return Response(error.status, orjson.dumps({"message": error.message}), headers, error)


@management_call
async def post_to_connection(application: Application, request: Request, connection_id: str) -> Response:
    """PostToConnection: send the body verbatim to the client, as one message."""
    awaited = AwaitedReceipt()
    receipt: Receipt = awaited
    if application.log_level.is_debug:
        receipt = LoggedReceipt(Publication("", "", request.body), "aws", receipt, connection_id)
    application.counters.publications["aws"] += 1
    application.cluster.send_raw(connection_id, request.body, receipt)
    sent, failed = await awaited.outcome
    if failed:
        raise RateLimited("the client reads too slowly: its queue is full")
    if not sent:
        raise Gone(_GONE)
    return Response(200)


@management_call
async def get_connection(application: Application, request: Request, connection_id: str) -> Response:
    """GetConnection: times of connect and of last activity (with the precision of the heartbeat), address, agent."""
    found = await application.cluster.describe(connection_id)
    if found is None:
        raise Gone(_GONE)
    body = {
        "connectedAt": found["connected_at"],
        "identity": {"sourceIp": found["address"], "userAgent": found["user_agent"]},
        "lastActiveAt": found["last_active_at"],
    }
    return Response(200, orjson.dumps(body), (("Content-Type", "application/json"),))


@management_call
async def delete_connection(application: Application, request: Request, connection_id: str) -> Response:
    """DeleteConnection: close the connection with 1000."""
    if not await application.cluster.close(connection_id):
        raise Gone(_GONE)
    return Response(204)


METHODS: Final[Mapping[str, Call]] = {
    "POST": post_to_connection,
    "GET": get_connection,
    "DELETE": delete_connection,
}
