"""POST /apps/{id}/events and /apps/{id}/batch_events: publishing as backends of Pusher do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fastws.codec.json_text import JSON
from fastws.dialects.pusher import MAX_EVENT_LENGTH
from fastws.dialects.pusher_messages import RESERVED, as_published
from fastws.endpoints.broadcast import AwaitedReceipt, spend
from fastws.endpoints.pusher_channels import ChannelReader, infos
from fastws.errors import BadRequest, FastWSError, TooLarge
from fastws.hub.ports import Receipt
from fastws.hub.publication_log import LoggedReceipt
from fastws.vocabulary.publication import NOBODY, Publication
from fastws.vocabulary.pusher_apps import PusherApp
from fastws.vocabulary.socket_ids import is_socket_id
from fastws.wire.request import Request

MAX_CHANNELS: Final = 100


@dataclass(slots=True, frozen=True)
class Event:
    """An event of a request: its publication for each channel, and what the answer says of these channels."""

    channels: tuple[str, ...]
    publications: tuple[Publication, ...]
    info: frozenset[str]


async def publish_event(reader: ChannelReader, request: Request, path: Mapping[str, str]) -> object:
    """Publish one event to up to 100 channels."""
    body = _object(request)
    event = _event(reader.app, body, _channels(reader.app, body), "")
    await _publish(reader, [event])
    if not event.info:
        return {}
    return {"channels": {name: await reader.info(name, event.info) for name in event.channels}}


async def publish_batch(reader: ChannelReader, request: Request, path: Mapping[str, str]) -> object:
    """Publish several events. An invalid one refuses all."""
    app, batch = reader.app, _object(request).get("batch")
    if not isinstance(batch, list) or not 0 < len(batch) <= app.max_batch:
        raise BadRequest(f"`batch` must be a list of 1 to {app.max_batch} events (limit: pusher_max_batch)")
    events = [_item(app, item, f"batch[{position}]") for position, item in enumerate(batch)]
    await _publish(reader, events)
    if not any(event.info for event in events):
        return {}
    return {"batch": [await reader.info(event.channels[0], event.info) for event in events]}


def _item(app: PusherApp, item: object, where: str) -> Event:
    if not isinstance(item, dict):
        raise BadRequest(f"`{where}` must be an object")
    return _event(app, item, (_channel(app, item.get("channel"), f"{where}.channel"),), f"{where}.")


def _event(app: PusherApp, fields: Mapping[str, object], channels: tuple[str, ...], prefix: str) -> Event:
    name = fields.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_EVENT_LENGTH:
        raise BadRequest(f"`{prefix}name` must be a string of 1 to {MAX_EVENT_LENGTH} characters")
    if name.startswith(RESERVED):
        raise BadRequest(f"`{prefix}name` must not begin pusher: or pusher_internal:, which only the server sends")
    data, form = as_published(_data(app, fields, prefix))
    exclude = _excluded(fields, prefix)
    publications = tuple(
        Publication(app.channel(channel), name, data, exclude=exclude, attributes={"data": form})
        for channel in dict.fromkeys(channels)
    )
    return Event(channels, publications, infos(fields.get("info"), f"{prefix}info"))


def _data(app: PusherApp, fields: Mapping[str, object], prefix: str) -> str:
    if "data" not in fields:
        raise BadRequest(f"`{prefix}data` is missing: a string, or any other JSON value")
    data = fields["data"]
    text = data if isinstance(data, str) else JSON.dumps(data).decode()
    if len(text) > app.max_event_bytes or len(text.encode("utf-8", "surrogatepass")) > app.max_event_bytes:
        raise TooLarge(f"`{prefix}data` has more than {app.max_event_bytes} bytes (limit: pusher_max_event_bytes)")
    return text


def _excluded(fields: Mapping[str, object], prefix: str) -> frozenset[str]:
    socket_id = fields.get("socket_id")
    if socket_id is None:
        return NOBODY
    if not isinstance(socket_id, str) or not is_socket_id(socket_id):
        raise BadRequest(f"`{prefix}socket_id` must be two numbers of at most ten digits, such as 123.456")
    return frozenset((socket_id,))


def _channels(app: PusherApp, body: Mapping[str, object]) -> tuple[str, ...]:
    channels = body.get("channels")
    if channels is None:
        return (_channel(app, body.get("channel"), "channel"),)
    if not isinstance(channels, list) or not 0 < len(channels) <= MAX_CHANNELS:
        raise BadRequest(f"`channels` must be a list of 1 to {MAX_CHANNELS} channel names")
    return tuple(_channel(app, name, f"channels[{position}]") for position, name in enumerate(channels))


def _channel(app: PusherApp, name: object, where: str) -> str:
    if not isinstance(name, str) or not app.is_channel_name(name):
        raise BadRequest(f"`{where}` must be a channel name: 1 to 200 of A-Z a-z 0-9 _-=@,.;")
    return name


def _object(request: Request) -> Mapping[str, object]:
    """Return the JSON object in the body, whatever its Content-Type is: SDKs send different ones."""
    try:
        body = JSON.loads(request.body)
    except FastWSError as error:
        raise BadRequest(f"invalid body: {error.message}") from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


async def _publish(reader: ChannelReader, events: list[Event]) -> None:
    """Hand all publications to the broker in one loop iteration. Raises BrokerUnavailable if one was refused."""
    application = reader.application
    publications = [publication for event in events for publication in event.publications]
    spend(application, len(publications))
    outcomes = []
    for publication in publications:
        awaited = AwaitedReceipt()
        receipt: Receipt = awaited
        if application.log_level.is_debug:
            receipt = LoggedReceipt(publication, "http", receipt, None)
        application.counters.publications["http"] += 1
        application.broker.publish(publication, receipt)
        outcomes.append(awaited.outcome)
    results = await asyncio.gather(*outcomes, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
