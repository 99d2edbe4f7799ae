"""The Redis channel and payload of a message. Publishers without this package use the same format."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Literal

import msgpack

from fastws.backend.message import Message, encode
from fastws.errors import BadRequest
from fastws.redis_places import hash_tagged
from fastws.vocabulary.values import timestamp

Format = Literal["json", "msgpack"]


def redis_publication(
    message: Message, *, prefix: str, encoding: Format, prefix_feeds: bool = False, is_cluster: bool = False
) -> tuple[str, str, bytes]:
    """Return the command (PUBLISH or SPUBLISH), the Redis channel and the payload of `message`.

    The two feeds use their own Redis channels, without the prefix unless `prefix_feeds`, and their own payload formats.
    Everything else goes to `{prefix}channel:{channel}` as
    `{"event","data"[,"type","priority","key","exclude","ephemeral"]}`; in a Redis Cluster to the sharded channel
    `{prefix}{<channel>}:live`.
    Raises BadRequest for a message to a single connection, because only the server knows which process holds it.
    """
    if message.channel is None:
        raise BadRequest("a single connection cannot be reached through Redis: use Broadcaster(url, key).send")
    body = PAYLOADS[message.feed](message)
    payload = encode(body) if encoding == "json" else pack(body)
    if message.feed is not None:
        return "PUBLISH", f"{prefix}{message.channel}" if prefix_feeds else message.channel, payload
    if is_cluster:
        return "SPUBLISH", f"{hash_tagged(prefix.encode(), message.channel).decode()}:live", payload
    return "PUBLISH", f"{prefix}channel:{message.channel}", payload


def channel_payload(message: Message) -> dict[str, object]:
    """The payload for any channel that is not a feed."""
    optional = {
        "type": message.type,
        "priority": message.priority,
        "key": message.key,
        "exclude": list(message.exclude) or None,
        "ephemeral": message.ephemeral or None,
    }
    present = {name: value for name, value in optional.items() if value is not None}
    return {"event": message.event, "data": message.data, **present}


def job_payload(message: Message) -> dict[str, object]:
    """The payload of the jobs feed. `timestamp` is in whole seconds since the epoch."""
    assert isinstance(message.data, Mapping)  # noqa: S101 # guaranteed by events.job_update
    job_id = message.data["job_id"]
    return {"event": message.event, "job_id": job_id, "timestamp": int(time.time()), "data": message.data}


def workspace_payload(message: Message) -> dict[str, object]:
    """The payload of a workspace event, the same as clients get it."""
    body: dict[str, object] = {"event": message.event, "data": message.data, "timestamp": timestamp()}
    if message.priority is not None:
        body["priority"] = message.priority
    return body


PAYLOADS: Mapping[str | None, Callable[[Message], dict[str, object]]] = {
    None: channel_payload,
    "jobs": job_payload,
    "workspace": workspace_payload,
}


def pack(body: object) -> bytes:
    """Encode `body` as msgpack; a timezone-aware datetime becomes a msgpack timestamp. Raises BadRequest."""
    try:
        packed: bytes = msgpack.packb(body, datetime=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest(f"`data` cannot be encoded as msgpack ({error})") from None
    return packed
