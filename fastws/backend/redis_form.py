"""Where in Redis a message goes and in which shape: plain objects that other publishers write too."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Literal

import msgpack

from fastws.backend.message import Message, encode
from fastws.errors import BadRequest
from fastws.vocabulary.values import timestamp

Format = Literal["json", "msgpack"]


def redis_publication(message: Message, *, prefix: str, form: Format) -> tuple[str, bytes]:
    """The Redis channel and payload of `message`.

    A feed has a Redis channel of its own, without the prefix, and its own shape; everything else goes to
    `{prefix}channel:{channel}` as `{"event","data"[,"type","priority","key","exclude"]}`. Raises BadRequest for a
    message to one connection: only the server knows where that is.
    """
    if message.channel is None:
        raise BadRequest("Redis reaches channels, not single connections: send to one with Broadcaster(url, key)")
    body = SHAPES[message.feed](message)
    channel = message.channel if message.feed else f"{prefix}channel:{message.channel}"
    return channel, encode(body) if form == "json" else pack(body)


def plain_shape(message: Message) -> dict[str, object]:
    optional = {
        "type": message.type,
        "priority": message.priority,
        "key": message.key,
        "exclude": list(message.exclude) or None,
    }
    present = {name: value for name, value in optional.items() if value is not None}
    return {"event": message.event, "data": message.data, **present}


def job_shape(message: Message) -> dict[str, object]:
    """As the workers of the jobs feed write it; `timestamp` in whole seconds since the epoch."""
    assert isinstance(message.data, Mapping)  # noqa: S101 # events.job_update made it
    job_id = message.data["job_id"]
    return {"event": message.event, "job_id": job_id, "timestamp": int(time.time()), "data": message.data}


def workspace_shape(message: Message) -> dict[str, object]:
    """As the workspace's clients hear it."""
    body: dict[str, object] = {"event": message.event, "data": message.data, "timestamp": timestamp()}
    if message.priority is not None:
        body["priority"] = message.priority
    return body


SHAPES: Mapping[str | None, Callable[[Message], dict[str, object]]] = {
    None: plain_shape,
    "jobs": job_shape,
    "workspace": workspace_shape,
}


def pack(body: object) -> bytes:
    """`body` as msgpack; a datetime with its zone becomes a msgpack timestamp. Raises BadRequest."""
    try:
        packed: bytes = msgpack.packb(body, datetime=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest(f"`data` cannot be said in msgpack ({error})") from None
    return packed
