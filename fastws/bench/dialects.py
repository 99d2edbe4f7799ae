"""The dialects as the load client speaks them, one row each: path, subscribe request, confirmation, publish request."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgpack

from fastws.bench.frames import BINARY, TEXT, Template, client_frame
from fastws.bench.plan import Plan
from fastws.bench.timestamp import PLACEHOLDER, payload
from fastws.errors import ConfigError

Message = dict[str, object]
EVENT: Final = "bench"


@dataclass(slots=True, frozen=True)
class Dialect:
    """`ready_mark` is part of the frame that confirms the subscription; empty: the upgrade subscribes."""

    path: str
    ready_mark: bytes
    channel: Callable[[int], str]
    subscribe: Callable[[str], Message] | None = None
    publish: Callable[[str, str], Message] | None = None
    query: Callable[[int], str] = lambda channel: ""


def _named(channel: int) -> str:
    return f"bench-{channel}"


DIALECTS: Final[Mapping[str, Dialect]] = {
    "channels": Dialect(
        "/",
        b"subscription_succeeded",
        _named,
        lambda channel: {"action": "subscribe", "channel": channel},
        lambda channel, text: {"action": "send", "channel": channel, "event": EVENT, "data": text},
    ),
    "rooms": Dialect(
        "/api/v1/ws",
        b"subscribed",
        lambda channel: f"execution:bench-{channel}",
        lambda channel: {"type": "subscribe", "room_id": channel},
    ),
    "workspaces": Dialect(
        "/ws",
        b"connected",
        lambda channel: f"workspace:bench-{channel}",
        query=lambda channel: f"workspace_id=bench-{channel}",
    ),
    "jobs": Dialect("/ws", b"", lambda channel: "botrix:jobs:updates"),
    "echo": Dialect("/echo", b"", _named, None, None),
}


def encode(message: object, form: str) -> bytes:
    """Returns `message` in JSON or msgpack."""
    if form == "msgpack":
        return bytes(msgpack.packb(message))
    return json.dumps(message, separators=(",", ":")).encode()


def decode(data: bytes, form: str) -> Message:
    """Returns a message of the server, which is always an object."""
    message: Message = msgpack.unpackb(data) if form == "msgpack" else json.loads(data)
    return message


def request_frame(message: object, form: str) -> bytes:
    """Returns `message` as a client's frame."""
    return client_frame(BINARY if form == "msgpack" else TEXT, encode(message, form))


def publish_template(plan: Plan, channel: int) -> Template:
    """The request that publishes to `channel` over a WebSocket."""
    dialect = DIALECTS[plan.dialect]
    if dialect.publish is None:
        raise ConfigError(f"--dialect {plan.dialect}: its clients cannot publish; give --key to publish over HTTP")
    return _template(plan, dialect.publish(dialect.channel(channel), payload(plan.payload_bytes)))


def echo_template(plan: Plan, connection_id: str) -> Template:
    """The request whose message comes back to the connection that sends it."""
    text = payload(plan.payload_bytes)
    if plan.dialect == "echo":
        return Template(TEXT, text.encode())
    return _template(plan, {"action": "send", "connectionId": connection_id, "event": EVENT, "data": text})


def ingest_template(plan: Plan) -> Template:
    """A publication without subscribers. The reply returns the timestamp as the `id` of the request."""
    data = payload(plan.payload_bytes)[len(PLACEHOLDER) :]
    message: Message = {
        "action": "send",
        "channel": "bench-nobody",
        "event": EVENT,
        "data": data,
        "id": PLACEHOLDER.decode(),
    }
    return _template(plan, message)


def _template(plan: Plan, message: Message) -> Template:
    return Template(BINARY if plan.format == "msgpack" else TEXT, encode(message, plan.format))
