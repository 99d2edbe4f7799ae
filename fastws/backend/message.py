"""A message to publish, and its form as a body of `POST /broadcast`."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict, cast

import orjson

from fastws.errors import BadRequest
from fastws.vocabulary.channels import check_channel_name

JSON_OPTIONS = orjson.OPT_NON_STR_KEYS  # allow integer keys in dicts, as `json.dumps` does
FIELDS = ("channel", "connectionId", "event", "data", "type", "priority", "key", "exclude", "ephemeral", "message_id")


class PublishOptions(TypedDict, total=False):
    """The optional arguments of `publish`.

    `type`: the message type for rooms clients. `priority`: the priority of a workspace event. `key`: the slow policy
    `conflate` keeps the latest message of each key (default: the event). `exclude`: ids of connections that must not
    get the message. `ephemeral`: the history of the channel does not keep it. `message_id`: your own id, up to 255
    characters; the server publishes each id only once within 5 minutes.
    """

    type: str
    priority: str | int
    key: str
    exclude: Iterable[str]
    ephemeral: bool
    message_id: str


def new_message_id() -> str:
    return uuid.uuid4().hex


@dataclass(slots=True, frozen=True, kw_only=True)
class Message:
    """A message to `channel`, or to the single connection `connection_id`.

    `feed` is set for the two feeds that have their own Redis channels. `message_id` is the same on every retry, so
    that the server publishes the message only once.
    """

    event: str
    data: object = None
    channel: str | None = None
    connection_id: str | None = None
    type: str | None = None
    priority: str | int | None = None
    key: str | None = None
    exclude: tuple[str, ...] = ()
    ephemeral: bool = False
    feed: Literal["jobs", "workspace"] | None = None
    message_id: str = field(default_factory=new_message_id)

    def __post_init__(self) -> None:
        if self.connection_id is None:
            check_channel_name(self.channel)
        else:
            check_connection_id(self.connection_id)
        if not isinstance(self.event, str) or not self.event:
            raise BadRequest("`event` must be a non-empty string, for example status_changed")

    def body(self) -> dict[str, object]:
        """Return the message as a body of `POST /broadcast`, or as an item of its `messages`."""
        target = {"channel": self.channel} if self.connection_id is None else {"connectionId": self.connection_id}
        optional = {
            "type": self.type,
            "priority": self.priority,
            "key": self.key,
            "exclude": list(self.exclude) or None,
            "ephemeral": self.ephemeral or None,
        }
        return {
            **target,
            "event": self.event,
            "data": self.data,
            **{name: value for name, value in optional.items() if value is not None},
            "message_id": self.message_id,
        }


def check_connection_id(connection_id: object) -> str:
    """Return `connection_id` if it is a non-empty string. Raises BadRequest otherwise."""
    if not isinstance(connection_id, str) or not connection_id:
        raise BadRequest("the connection id must be the `connection_id` string that the server sent to the client")
    return connection_id


def to_channel(channel: str, event: str, data: object, options: PublishOptions) -> Message:
    """Build the message of `publish(channel, event, data, **options)`. Raises BadRequest."""
    unknown = sorted(set(options) - set(PublishOptions.__annotations__))
    if unknown:
        raise BadRequest(f"unknown option `{unknown[0]}`; the options are {', '.join(PublishOptions.__annotations__)}")
    if isinstance(options.get("exclude"), str):
        raise BadRequest("`exclude` must be a list of connection ids, not a string")
    if not isinstance(options.get("ephemeral", False), bool):
        raise BadRequest("`ephemeral` must be True or False")
    return Message(
        channel=check_channel_name(channel),
        event=event,
        data=data,
        type=options.get("type"),
        priority=options.get("priority"),
        key=options.get("key"),
        exclude=tuple(options.get("exclude", ())),
        ephemeral=options.get("ephemeral", False),
        message_id=options.get("message_id") or new_message_id(),
    )


def from_body(body: Mapping[str, object]) -> Message:
    """Build the message of one item of `publish_many`, a mapping with the fields of `POST /broadcast`."""
    unknown = sorted(set(body) - set(FIELDS))
    if unknown:
        raise BadRequest(f"unknown field `{unknown[0]}`; the fields of a message are {', '.join(FIELDS)}")
    event = cast("str", body.get("event"))  # checked by Message
    if "connectionId" in body:
        message_id = cast("str", body.get("message_id")) or new_message_id()
        connection_id = check_connection_id(body["connectionId"])
        return Message(connection_id=connection_id, event=event, data=body.get("data"), message_id=message_id)
    options = {name: body[name] for name in PublishOptions.__annotations__ if body.get(name) is not None}
    return to_channel(cast("str", body.get("channel")), event, body.get("data"), cast("PublishOptions", options))


def encode(body: object) -> bytes:
    """Encode `body` as JSON. Raises BadRequest if JSON has no such type."""
    try:
        return orjson.dumps(body, option=JSON_OPTIONS)
    except orjson.JSONEncodeError as error:
        raise BadRequest(
            f"`data` cannot be encoded as JSON ({error}): use dicts, lists, strings, numbers, booleans and None"
        ) from None
