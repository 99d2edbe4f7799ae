"""POST /broadcast: publishing from backends."""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from typing import Final

from fastws.endpoints.application import Application
from fastws.endpoints.bodies import answer, read_object
from fastws.errors import BadRequest, FastWSError, RateLimited, Repeated
from fastws.hub.ports import Receipt
from fastws.hub.publication_log import LoggedReceipt
from fastws.vocabulary.channels import check_channel_name
from fastws.vocabulary.positions import Position
from fastws.vocabulary.publication import NOBODY, Publication
from fastws.wire.request import Request
from fastws.wire.response import Response

MAX_MESSAGES: Final = 1000
MAX_TEXT_LENGTH: Final = 255
MAX_EXCLUDED: Final = 1000


async def broadcast(application: Application, request: Request, **_: str) -> Response:
    """Publish one message or a list of messages. Answers with the number of deliveries of each."""
    application.broadcast_keys.check(request.header("authorization"))
    body = read_object(request)
    if "messages" not in body:
        spend(application, 1)
        return answer(request, await _publish(application, *_read(body, "")))
    messages = body["messages"]
    if not isinstance(messages, list) or not 0 < len(messages) <= MAX_MESSAGES:
        raise BadRequest(f"`messages` must be a list of 1 to {MAX_MESSAGES} messages")
    # All messages are checked before any is published: an invalid one refuses the whole list.
    read = [_read(item, f"messages[{position}]") for position, item in enumerate(messages)]
    spend(application, len(read))
    results = await asyncio.gather(*(_publish(application, *item) for item in read), return_exceptions=True)
    return answer(request, {"results": [_result(result) for result in results]})


def spend(application: Application, count: int) -> None:
    """Charge `count` publications to `broadcast_rate`. Raises RateLimited."""
    bucket = application.broadcast_bucket
    if bucket is not None and not bucket.take(count, time.monotonic()):
        application.counters.rate_limited["broadcast"] += 1
        seconds = max(1, math.ceil(bucket.wait_seconds(count, time.monotonic())))
        raise RateLimited("too many publications per second (limit: broadcast_rate)", retry_after_seconds=seconds)


def _read(item: object, where: str) -> tuple[Publication, str | None, str | None]:
    """Return the publication, the connection id (if for one connection) and the message_id of `item`."""
    prefix = f"{where}." if where else ""
    if not isinstance(item, dict):
        raise BadRequest(f"`{where}` must be an object")
    event = _text(item, "event", prefix)
    if event is None:
        raise BadRequest(f"`{prefix}event` is missing: a string of 1 to {MAX_TEXT_LENGTH} characters")
    connection_id = _text(item, "connectionId", prefix)
    channel = item.get("channel")
    if connection_id is None:
        channel = check_channel_name(channel, field=f"{prefix}channel")
    elif channel is not None:
        raise BadRequest(f"give either `{prefix}channel` or `{prefix}connectionId`, not both")
    publication = Publication(
        channel if isinstance(channel, str) else "",
        event,
        item.get("data"),
        type=_text(item, "type", prefix),
        priority=_priority(item, prefix),
        key=_text(item, "key", prefix),
        exclude=_excluded(item, prefix),
        is_ephemeral=_flag(item, "ephemeral", prefix),
    )
    return publication, connection_id, _text(item, "message_id", prefix)


def _text(item: dict[str, object], field: str, prefix: str) -> str | None:
    value = item.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT_LENGTH:
        raise BadRequest(f"`{prefix}{field}` must be a string of 1 to {MAX_TEXT_LENGTH} characters")
    return value


def _priority(item: dict[str, object], prefix: str) -> str | int | None:
    value = item.get("priority")
    if value is None or (isinstance(value, str) and len(value) <= MAX_TEXT_LENGTH):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise BadRequest(f"`{prefix}priority` must be a string or an integer")


def _flag(item: dict[str, object], field: str, prefix: str) -> bool:
    value = item.get(field, False)
    if not isinstance(value, bool):
        raise BadRequest(f"`{prefix}{field}` must be true or false")
    return value


def _excluded(item: dict[str, object], prefix: str) -> frozenset[str]:
    value = item.get("exclude")
    if value is None:
        return NOBODY
    if not isinstance(value, list) or len(value) > MAX_EXCLUDED or not all(isinstance(i, str) for i in value):
        raise BadRequest(f"`{prefix}exclude` must be a list of at most {MAX_EXCLUDED} connection ids")
    return frozenset(value)


async def _publish(
    application: Application, publication: Publication, connection_id: str | None, message_id: str | None
) -> dict[str, int | str]:
    """Publish once per message_id. A repeated message_id gets the outcome of the first try, unless it was refused."""
    publish = partial(_publish_now, application, publication, connection_id)
    if message_id is None:
        return await publish(None)
    channel = publication.channel if connection_id is None else None
    return dict(await application.cluster.once(message_id, channel, connection_id, publish))


async def _publish_now(
    application: Application, publication: Publication, connection_id: str | None, message_id: str | None
) -> dict[str, int | str]:
    awaited = AwaitedReceipt()
    receipt: Receipt = awaited
    if application.log_level.is_debug:
        receipt = LoggedReceipt(publication, "http", receipt, connection_id)
    if connection_id is None:
        application.broker.publish(publication, receipt, message_id)
    else:
        application.cluster.send(connection_id, publication, receipt, message_id)
    is_new = True
    try:
        sent, failed = await awaited.outcome
    except Repeated:
        is_new = False
        raise
    finally:
        application.counters.publications["http"] += is_new
    if connection_id is not None:
        return {"sent": sent, "failed": failed, "stale": int(not sent and not failed)}
    outcome: dict[str, int | str] = {"sent": sent, "failed": failed, "stale": 0}
    return outcome if awaited.position is None else outcome | awaited.position._asdict()


def _result(result: dict[str, int | str] | BaseException) -> dict[str, object]:
    if isinstance(result, FastWSError):
        return {"sent": 0, "failed": 0, "stale": 0, "error": {"code": result.code, "message": result.message}}
    if isinstance(result, BaseException):
        raise result
    return dict(result)


class AwaitedReceipt:
    """A receipt for coroutines: `await receipt.outcome` returns (sent, failed) or raises the error.

    `position` is that of the publication if history keeps it.
    """

    __slots__ = ("outcome", "position")

    def __init__(self) -> None:
        self.outcome: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        self.position: Position | None = None

    def kept(self, position: Position) -> None:
        self.position = position

    def done(self, sent: int, failed: int) -> None:
        if not self.outcome.done():
            self.outcome.set_result((sent, failed))

    def refused(self, error: FastWSError) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)
