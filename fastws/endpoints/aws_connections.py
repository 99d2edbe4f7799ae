"""The management API of API Gateway: `/{stage}/@connections/{id}`, as boto3's apigatewaymanagementapi calls it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Final

import orjson

from fastws.access.local_peers import is_direct_and_local
from fastws.endpoints.application import Application
from fastws.endpoints.broadcast import AwaitedReceipt
from fastws.errors import FastWSError, Forbidden, Gone, RateLimited, TooLarge
from fastws.wire.request import Request
from fastws.wire.response import Response

# API Gateway's own quota: no frame of it is larger.
MAX_BODY_BYTES: Final = 131_072
_GONE: Final = "no connection has this id (any longer)"
# What clients look at: boto3 raises `client.exceptions.GoneException` only where the header names it.
_ERROR_TYPES: Final = {
    403: "ForbiddenException",
    410: "GoneException",
    413: "PayloadTooLargeException",
    429: "LimitExceededException",
    503: "ServiceUnavailableException",
}

Call = Callable[..., Awaitable[Response]]


def management_call(call: Call) -> Call:
    """`call` for those who may make it; its errors in the manner of AWS: `x-amzn-ErrorType` and {"message"}."""

    @wraps(call)
    async def answered(application: Application, request: Request, *, address: str, id: str, **_: str) -> Response:  # noqa: A002
        try:
            check_caller(application, request, address)
            return await call(application, request, id)
        except FastWSError as error:
            return aws_error(error)

    return answered


def check_caller(application: Application, request: Request, address: str) -> None:
    """Raise Forbidden unless the request is signed with a pair of `aws_credentials`.

    Where none are configured, whatever it is signed with: direct loopback peers may call, but no browser's page.
    """
    if application.aws_credentials:
        application.aws_credentials.check(request)
    elif "origin" in request.headers or not is_direct_and_local(request, address):
        raise Forbidden("aws_credentials are not configured: only programs on the server's own machine may call")


def aws_error(error: FastWSError) -> Response:
    """`error` as API Gateway answers it."""
    kind = _ERROR_TYPES.get(error.status, "InternalServerErrorException")
    headers = (("Content-Type", "application/json"), ("x-amzn-ErrorType", kind))
    return Response(error.status, orjson.dumps({"message": error.message}), headers)


@management_call
async def post_to_connection(application: Application, request: Request, connection_id: str) -> Response:
    """PostToConnection: the body goes to that client verbatim, as one message."""
    if len(request.body) > MAX_BODY_BYTES:
        raise TooLarge(f"a message has at most {MAX_BODY_BYTES} bytes")
    receipt = AwaitedReceipt()
    application.counters.publications["aws"] += 1
    application.cluster.send_raw(connection_id, request.body, receipt)
    sent, failed = await receipt.outcome
    if failed:
        raise RateLimited("the client reads too slowly: what waits for it is all it may have waiting")
    if not sent:
        raise Gone(_GONE)
    return Response(200)


@management_call
async def get_connection(application: Application, request: Request, connection_id: str) -> Response:
    """GetConnection: since when it is there, who it is, and its last sign of life (to the heartbeat's precision)."""
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
    """DeleteConnection: that client is closed with 1000."""
    if not await application.cluster.close(connection_id):
        raise Gone(_GONE)
    return Response(204)


METHODS: Final[Mapping[str, Call]] = {
    "POST": post_to_connection,
    "GET": get_connection,
    "DELETE": delete_connection,
}
