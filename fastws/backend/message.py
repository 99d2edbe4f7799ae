"""One message of a backend, as it was asked for and as `POST /broadcast` reads it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict, cast

import orjson

from fastws.errors import BadRequest
from fastws.vocabulary.channels import check_channel_name

JSON_OPTIONS = orjson.OPT_NON_STR_KEYS  # a backend's dict may have whole numbers as keys, as with `json.dumps`
FIELDS = ("channel", "connectionId", "event", "data", "type", "priority", "key", "exclude", "message_id")


class More(TypedDict, total=False):
    """What `publish` takes beside channel, event and data.

    `type` is the kind a rooms client reads, `priority` the one beside a workspace event, `key` what the policy
    `conflate` keeps the latest of (default: the event), `exclude` the ids of connections that shall not hear it,
    `message_id` a name of your own for this publication (up to 255 characters): the server publishes one name
    once within 5 minutes.
    """

    type: str
    priority: str | int
    key: str
    exclude: Iterable[str]
    message_id: str


def new_message_id() -> str:
    return uuid.uuid4().hex


@dataclass(slots=True, frozen=True, kw_only=True)
class Message:
    """What goes to `channel`, or to the one connection `connection_id`.

    `feed` says that it belongs to one of the two feeds which have a Redis channel of their own. `message_id`
    stays the same over every try, so that a try which was repeated for want of an answer is heard once.
    """

    event: str
    data: object = None
    channel: str | None = None
    connection_id: str | None = None
    type: str | None = None
    priority: str | int | None = None
    key: str | None = None
    exclude: tuple[str, ...] = ()
    feed: Literal["jobs", "workspace"] | None = None
    message_id: str = field(default_factory=new_message_id)

    def __post_init__(self) -> None:
        if self.connection_id is None:
            check_channel_name(self.channel)
        else:
            check_connection_id(self.connection_id)
        if not isinstance(self.event, str) or not self.event:
            raise BadRequest("`event` must be a text that is not empty, like status_changed")

    def body(self) -> dict[str, object]:
        """The message as a body of `POST /broadcast` (or an item of its `messages`)."""
        address = {"channel": self.channel} if self.connection_id is None else {"connectionId": self.connection_id}
        optional = {
            "type": self.type,
            "priority": self.priority,
            "key": self.key,
            "exclude": list(self.exclude) or None,
        }
        return {
            **address,
            "event": self.event,
            "data": self.data,
            **{name: value for name, value in optional.items() if value is not None},
            "message_id": self.message_id,
        }


def check_connection_id(connection_id: object) -> str:
    """Return `connection_id` if it can be one. Raises BadRequest otherwise."""
    if not isinstance(connection_id, str) or not connection_id:
        raise BadRequest("the connection id must be the text that its client was told as `connection_id`")
    return connection_id


def to_channel(channel: str, event: str, data: object, more: More) -> Message:
    """The message of `publish(channel, event, data, **more)`. Raises BadRequest naming what is wrong."""
    unknown = sorted(set(more) - set(More.__annotations__))
    if unknown:
        raise BadRequest(
            f"`{unknown[0]}` is no field; beside channel, event and data: {', '.join(More.__annotations__)}"
        )
    if isinstance(more.get("exclude"), str):
        raise BadRequest("`exclude` must be a list of connection ids, not one text")
    return Message(
        channel=check_channel_name(channel),
        event=event,
        data=data,
        type=more.get("type"),
        priority=more.get("priority"),
        key=more.get("key"),
        exclude=tuple(more.get("exclude", ())),
        message_id=more.get("message_id") or new_message_id(),
    )


def from_body(body: Mapping[str, object]) -> Message:
    """The message of one item of `publish_many`: a mapping in the words of `POST /broadcast`."""
    unknown = sorted(set(body) - set(FIELDS))
    if unknown:
        raise BadRequest(f"`{unknown[0]}` is no field of a message; there are {', '.join(FIELDS)}")
    event = cast("str", body.get("event"))  # checked by Message
    if "connectionId" in body:
        message_id = cast("str", body.get("message_id")) or new_message_id()
        connection_id = check_connection_id(body["connectionId"])
        return Message(connection_id=connection_id, event=event, data=body.get("data"), message_id=message_id)
    more = {name: body[name] for name in More.__annotations__ if body.get(name) is not None}
    return to_channel(cast("str", body.get("channel")), event, body.get("data"), cast("More", more))


def encode(body: object) -> bytes:
    """`body` as JSON. Raises BadRequest for what JSON cannot say."""
    try:
        return orjson.dumps(body, option=JSON_OPTIONS)
    except orjson.JSONEncodeError as error:
        raise BadRequest(
            f"`data` cannot be said in JSON ({error}): send dicts, lists, texts, numbers, true, false, null"
        ) from None
