"""The workspaces dialect (seed 002): users with a token receive the events of one workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from fastws.dialects.client_ids import client_field, mailbox_field
from fastws.dialects.dialect import StartingChannels
from fastws.dialects.fields import (
    Message,
    Parser,
    SingleRequestDialect,
    check_text,
    check_texts,
    parse_by_type,
    parse_ping,
    parse_refresh,
    timestamp_of,
)
from fastws.dialects.history import history_parser, offset_field, page_fields, position_fields, standing_fields, wanted
from fastws.dialects.presence import presence_fields, presence_parser, update_fields
from fastws.errors import BadRequest, Forbidden, Unauthorized
from fastws.vocabulary.channels import check_channel_name, workspace_channels
from fastws.vocabulary.commands import ChangeFilter, Command, RequestMetrics
from fastws.vocabulary.filters import Filter
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.mailboxes import MAILBOX_PREFIX, is_mailbox
from fastws.vocabulary.presence import PresencePage, PresenceUpdate
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import (
    Connected,
    Failure,
    FilterChanged,
    Gap,
    HistoryPage,
    Lag,
    Left,
    Metrics,
    Pong,
    Refreshed,
    Reply,
)
from fastws.vocabulary.values import timestamp

DEFAULT_TEMPLATE: Final = "workspace:{workspace_id}"
DEFAULT_METRIC_TYPE: Final = "default"
MAX_EVENT_NAMES: Final = 256
# In `event_types`: all events of the workspace.
ALL: Final = "*"


@dataclass(slots=True, frozen=True)
class EventFilter:
    """Selects the named events, or with `excluding` all others."""

    events: frozenset[str]
    excluding: bool = False

    def accepts(self, publication: Publication) -> bool:
        return (publication.event in self.events) is not self.excluding


class Workspaces(SingleRequestDialect):
    """Spec 3.3. `template` is the name of a workspace's channel, with `{workspace_id}` as placeholder for its id."""

    name = "workspaces"
    needs_token = True
    # Values of `event` in messages of the server itself, and `metrics_update`.
    reserved_events = frozenset(
        {
            "connected",
            "subscribed",
            "unsubscribed",
            "pong",
            "error",
            "gap",
            "lag",
            "refreshed",
            "metrics_update",
            "history",
            "presence",
            "presence_update",
        }
    )

    def __init__(self, template: str = DEFAULT_TEMPLATE) -> None:
        self.template = template
        self._channels = workspace_channels(template)

    def admit(self, identity: Identity | None, query: Mapping[str, str]) -> StartingChannels:
        """Return the channel of the workspace in the query, or else of the token's default workspace.

        Raises Unauthorized without a token, and Forbidden if the token does not list the workspace or if neither names
        one.
        """
        if identity is None:
            raise Unauthorized("a token is required")
        workspace = query.get("workspace_id") or identity.workspace
        if not workspace:
            raise Forbidden("no workspace: set workspace_id in the query or in the token")
        if workspace != identity.workspace and workspace not in identity.workspaces:
            raise Forbidden(f"no access to workspace {workspace[:64]!r}: the token's claims must name it")
        channel = check_channel_name(self.template.replace("{workspace_id}", workspace), field="workspace_id")
        return StartingChannels(
            channels=(channel,),
            home=channel,
            workspace=workspace,
            wanted=wanted(query, _filter_of(query)),
        )

    def parse(self, message: object) -> Command:
        return parse_by_type(message, _PARSERS, example='{"type":"subscribe","event_types":["alert"]}')

    def reply(self, reply: Reply, starting: StartingChannels) -> Message | None:
        renderer = _RENDERERS.get(type(reply))
        return None if renderer is None else renderer(reply, starting)

    def delivery(self, publication: Publication) -> Message:
        message: Message = {
            "event": publication.event,
            "data": publication.data,
            "timestamp": timestamp_of(publication.timestamp),
        }
        if publication.priority is not None:
            message["priority"] = publication.priority
        if publication.offset is not None:
            message["channel"] = publication.channel
            message["offset"] = publication.offset
        elif publication.channel.startswith(MAILBOX_PREFIX):
            message["channel"] = publication.channel
        return message

    def reserves(self, channel: str) -> bool:
        return is_mailbox(channel) or self._channels.fullmatch(channel) is not None


def _filter_of(query: Mapping[str, str]) -> Filter | None:
    """Return the first filter, from `event_types` or `except_event_types`, lists with commas. Raises BadRequest."""
    for field, excluding in (("event_types", False), ("except_event_types", True)):
        if field in query:
            names = frozenset(check_texts(query[field].split(","), field=field, at_most=MAX_EVENT_NAMES))
            if ALL in names:
                return EventFilter(frozenset()) if excluding else None
            return EventFilter(names, excluding=excluding)
    return None


def _parse_subscribe(message: Message) -> Command:
    names = _event_types(message)

    def change(now: Filter | None) -> Filter | None:
        if ALL in names:
            return None
        # The first `subscribe` of a client begins a list; later ones add to it.
        if not isinstance(now, EventFilter) or now.excluding:
            return EventFilter(names)
        return EventFilter(_bounded(now.events | names))

    return ChangeFilter(change)


def _parse_unsubscribe(message: Message) -> Command:
    names = _event_types(message)

    def change(now: Filter | None) -> Filter | None:
        if ALL in names:
            return EventFilter(frozenset())
        if not isinstance(now, EventFilter):
            return EventFilter(names, excluding=True) if names else None
        if now.excluding:
            return EventFilter(_bounded(now.events | names), excluding=True)
        return EventFilter(now.events - names)

    return ChangeFilter(change, subscribed=False)


def _event_types(message: Message) -> frozenset[str]:
    return frozenset(check_texts(message.get("event_types"), field="event_types", at_most=MAX_EVENT_NAMES))


def _bounded(names: frozenset[str]) -> frozenset[str]:
    if len(names) > MAX_EVENT_NAMES:
        raise BadRequest(f"too many `event_types`: a filter may have at most {MAX_EVENT_NAMES}")
    return names


def _parse_request_metrics(message: Message) -> Command:
    metric_type = message.get("metric_type")
    return RequestMetrics(DEFAULT_METRIC_TYPE if metric_type is None else check_text(metric_type, field="metric_type"))


_PARSERS: Final[Mapping[str, Parser]] = {
    "subscribe": _parse_subscribe,
    "unsubscribe": _parse_unsubscribe,
    "history": history_parser(lambda message: ""),
    "presence": presence_parser(lambda message: ""),
    "ping": parse_ping,
    "request_metrics": _parse_request_metrics,
    "refresh": parse_refresh,
}


def _connected(reply: Connected, starting: StartingChannels) -> Message:
    return {
        "event": "connected",
        "connection_id": reply.connection_id,
        "workspace_id": starting.workspace,
        **standing_fields(reply.standing),
        **client_field(reply.mailbox),
        "timestamp": timestamp(),
    }


def _filter_changed(reply: FilterChanged, starting: StartingChannels) -> Message:
    """Return all event types of the current filter, in alphabetical order.

    A client that unsubscribed before its first `subscribe` receives all other events: `event_types` is `["*"]`, and
    the unsubscribed ones are in `except`.
    """
    message: Message = {"event": "subscribed" if reply.subscribed else "unsubscribed"}
    events = reply.filter
    if isinstance(events, EventFilter) and not events.excluding:
        message["event_types"] = sorted(events.events)
    else:
        message["event_types"] = [ALL]
        if isinstance(events, EventFilter):
            message["except"] = sorted(events.events)
    message["timestamp"] = timestamp()
    return message


def _metrics(reply: Metrics, starting: StartingChannels) -> Message:
    return {
        "event": "metrics_update",
        "metric_type": reply.metric_type,
        "data": reply.data,
        "timestamp": timestamp(),
    }


def _history(reply: HistoryPage, starting: StartingChannels) -> Message:
    return {"event": "history", **page_fields(reply, WORKSPACES.delivery), "timestamp": timestamp()}


def _lag(reply: Lag, starting: StartingChannels) -> Message:
    return {"event": "lag", **_about(reply.channel, starting), "dropped": reply.dropped}


def _about(channel: str, starting: StartingChannels) -> Message:
    """Return the key that tells what a notice is about: the workspace, or the mailbox of the client."""
    return mailbox_field(channel) or {"workspace_id": starting.workspace}


def _left(reply: Left, starting: StartingChannels) -> Message:
    return {"event": "error", "message": "the new token does not allow this workspace"}


_RENDERERS: Final[Mapping[type, Callable[..., Message]]] = {
    Connected: _connected,
    FilterChanged: _filter_changed,
    HistoryPage: _history,
    PresencePage: lambda reply, starting: {"event": "presence", **presence_fields(reply), "timestamp": timestamp()},
    PresenceUpdate: lambda reply, starting: {
        "event": "presence_update",
        **mailbox_field(reply.channel),
        **update_fields(reply),
        "timestamp": timestamp(),
    },
    Pong: lambda reply, starting: {"event": "pong", **offset_field(reply.position), "timestamp": timestamp()},
    Metrics: _metrics,
    Failure: lambda reply, starting: {"event": "error", "message": reply.message},
    Gap: lambda reply, starting: {
        "event": "gap",
        **_about(reply.channel, starting),
        **position_fields(reply.position),
    },
    Lag: _lag,
    Refreshed: lambda reply, starting: {"event": "refreshed", "expires": int(reply.expires)},
    Left: _left,
}

WORKSPACES: Final = Workspaces()
