"""What is said in each dialect: where it is, how to subscribe, what confirms it, how to publish. One row each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgpack

from fastws.bench.frames import BINARY, TEXT, Template, client_frame
from fastws.bench.plan import Plan
from fastws.bench.stamp import PLACEHOLDER, payload
from fastws.errors import ConfigError

Message = dict[str, object]
EVENT: Final = "bench"


@dataclass(slots=True, frozen=True)
class Speech:
    """`ready_mark` stands in the frame after which a receiver hears everything; empty: from the upgrade on."""

    path: str
    ready_mark: bytes
    channel: Callable[[int], str]
    subscribe: Callable[[str], Message] | None = None
    publish: Callable[[str, str], Message] | None = None
    query: Callable[[int], str] = lambda channel: ""


def _named(channel: int) -> str:
    return f"bench-{channel}"


DIALECTS: Final[Mapping[str, Speech]] = {
    "channels": Speech(
        "/",
        b"subscription_succeeded",
        _named,
        lambda channel: {"action": "subscribe", "channel": channel},
        lambda channel, text: {"action": "send", "channel": channel, "event": EVENT, "data": text},
    ),
    "rooms": Speech(
        "/api/v1/ws",
        b"subscribed",
        lambda channel: f"execution:bench-{channel}",
        lambda channel: {"type": "subscribe", "room_id": channel},
    ),
    "workspaces": Speech(
        "/ws",
        b"connected",
        lambda channel: f"workspace:bench-{channel}",
        query=lambda channel: f"workspace_id=bench-{channel}",
    ),
    "jobs": Speech("/ws", b"", lambda channel: "botrix:jobs:updates"),
    "echo": Speech("/echo", b"", _named, None, None),
}


def write(message: object, form: str) -> bytes:
    """`message` in JSON or msgpack."""
    if form == "msgpack":
        return bytes(msgpack.packb(message))
    return json.dumps(message, separators=(",", ":")).encode()


def read(data: bytes, form: str) -> Message:
    """A server's message: always an object."""
    message: Message = msgpack.unpackb(data) if form == "msgpack" else json.loads(data)
    return message


def say(message: object, form: str) -> bytes:
    """`message` as a client's frame."""
    return client_frame(BINARY if form == "msgpack" else TEXT, write(message, form))


def publication(plan: Plan, channel: int) -> Template:
    """What a publisher sends to `channel` over its WebSocket."""
    speech = DIALECTS[plan.dialect]
    if speech.publish is None:
        raise ConfigError(f"--dialect {plan.dialect}: its clients only listen; --key publishes over HTTP")
    return _template(plan, speech.publish(speech.channel(channel), payload(plan.payload_bytes)))


def echo(plan: Plan, connection_id: str) -> Template:
    """What comes back to the connection that sends it."""
    text = payload(plan.payload_bytes)
    if plan.dialect == "echo":
        return Template(TEXT, text.encode())
    return _template(plan, {"action": "send", "connectionId": connection_id, "event": EVENT, "data": text})


def ingest(plan: Plan) -> Template:
    """A publication that nobody hears; its reply brings the stamp back as the `id` of the request."""
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
    return Template(BINARY if plan.format == "msgpack" else TEXT, write(message, plan.format))
