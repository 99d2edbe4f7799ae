"""The jobs dialect (seed 003): all clients receive the feed of job updates, optionally filtered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from fastws.dialects.client_ids import client_field, mailbox_field
from fastws.dialects.dialect import StartingChannels
from fastws.dialects.feeds import job_of
from fastws.dialects.fields import (
    Message,
    Parser,
    SingleRequestDialect,
    check_text,
    parse_by_type,
    parse_ping,
    parse_refresh,
    timestamp_of,
)
from fastws.dialects.history import (
    history_parser,
    offset_field,
    page_fields,
    position_fields,
    standing_fields,
    wanted,
)
from fastws.dialects.presence import presence_fields, presence_parser, update_fields
from fastws.errors import BadRequest
from fastws.vocabulary.commands import ChangeFilter, Command
from fastws.vocabulary.filters import Filter
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.mailboxes import MAILBOX_PREFIX
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
    Pong,
    Refreshed,
    Reply,
)
from fastws.vocabulary.values import timestamp

DEFAULT_CHANNEL: Final = "botrix:jobs:updates"
MAX_FILTER_ENTRIES: Final = 256


@dataclass(slots=True, frozen=True)
class JobFilter:
    """Selects updates with these job ids and statuses. None = any."""

    job_ids: frozenset[str] | None = None
    statuses: frozenset[str] | None = None

    def accepts(self, publication: Publication) -> bool:
        job_id, status = job_of(publication)
        if self.job_ids is not None and job_id not in self.job_ids:
            return False
        return self.statuses is None or status in self.statuses


class Jobs(SingleRequestDialect):
    """Spec 3.4. `channel` is the channel of the feed. No message is sent on connect, as clients of the seed expect."""

    name = "jobs"
    needs_token = False

    def __init__(self, channel: str = DEFAULT_CHANNEL) -> None:
        self.starting = StartingChannels(channels=(channel,), home=channel)

    def admit(self, identity: Identity | None, query: Mapping[str, str]) -> StartingChannels:
        if not query:
            return self.starting
        wishes = wanted(query, _filter_of(query))
        return self.starting if wishes is None else replace(self.starting, wanted=wishes)

    def parse(self, message: object) -> Command:
        return parse_by_type(message, _PARSERS, example='{"type":"subscribe","statuses":["failed"]}')

    def reply(self, reply: Reply, starting: StartingChannels) -> Message | None:
        renderer = _RENDERERS.get(type(reply))
        return None if renderer is None else renderer(reply, starting)

    def delivery(self, publication: Publication) -> Message:
        """Return a job update. A publication without a job, such as a direct message, has its `event` instead."""
        job_id, status = job_of(publication)
        message: Message
        if job_id is None:
            message = {"type": publication.type or "message", "event": publication.event}
        else:
            message = {"type": "job_update", "job_id": job_id, "status": status}
        message["data"] = publication.data
        # As the backend wrote it: in the seed it is seconds since the epoch.
        message["timestamp"] = timestamp_of(None) if publication.timestamp is None else publication.timestamp
        if publication.seq is not None:
            message["seq"] = publication.seq
        if publication.offset is not None:
            message["channel"] = publication.channel
            message["offset"] = publication.offset
        elif publication.channel.startswith(MAILBOX_PREFIX):
            message["channel"] = publication.channel
        return message


def _filter_of(query: Mapping[str, str]) -> Filter | None:
    """Return the first filter, from `job_ids` and `statuses`, lists with commas. Raises BadRequest."""
    fields: Message = {field: query[field].split(",") for field in ("job_ids", "statuses") if query.get(field)}
    return _narrowed(fields) if fields else None


def _narrowed(fields: Message) -> Filter | None:
    """Return the filter in `job_ids` and `statuses`; None if both are absent or empty."""
    chosen = JobFilter(_entries(fields, "job_ids"), _entries(fields, "statuses"))
    return None if chosen == JobFilter() else chosen


def _parse_subscribe(message: Message) -> Command:
    """Replace the filter. A field that is absent or empty matches all updates."""
    narrowed = _narrowed(message)
    return ChangeFilter(lambda now: narrowed)


def _parse_unsubscribe(message: Message) -> Command:
    for field in ("job_ids", "statuses"):
        if field in message:
            # Removing the whole filter would be the opposite of what such a client intends.
            raise BadRequest(f"`unsubscribe` removes the whole filter: it takes no `{field}`; use `subscribe`")
    return ChangeFilter(lambda now: None, subscribed=False)


def _entries(message: Message, field: str) -> frozenset[str] | None:
    value = message.get(field)
    if value is None:
        return None
    if not isinstance(value, list):
        raise BadRequest(f"`{field}` must be a list")
    if len(value) > MAX_FILTER_ENTRIES:
        raise BadRequest(f"`{field}` has {len(value)} entries; at most {MAX_FILTER_ENTRIES} are allowed")
    entries = frozenset(_entry(entry, f"{field}[{position}]") for position, entry in enumerate(value))
    return entries or None


def _entry(value: object, field: str) -> str:
    # Integer job ids are text, as in the feed.
    return str(value) if type(value) is int else check_text(value, field=field)


_PARSERS: Final[Mapping[str, Parser]] = {
    "subscribe": _parse_subscribe,
    "unsubscribe": _parse_unsubscribe,
    "history": history_parser(lambda message: ""),
    "presence": presence_parser(lambda message: ""),
    "ping": parse_ping,
    "refresh": parse_refresh,
}


def _greeting(reply: Connected, starting: StartingChannels) -> Message | None:
    """Return `subscribed` for a client that gives an id or asks for the past. Clients of the seed get no greeting."""
    wanted = starting.wanted
    if starting.mailbox is None and (wanted is None or wanted.past is None):
        return None
    filter_ = None if wanted is None else wanted.filter
    subscribed = _filter_changed(FilterChanged(filter_, standing=reply.standing), starting)
    return {**subscribed, **client_field(reply.mailbox)}


def _filter_changed(reply: FilterChanged, starting: StartingChannels) -> Message:
    chosen = reply.filter if isinstance(reply.filter, JobFilter) else JobFilter()
    return {
        "type": "subscribed",
        "job_ids": sorted(chosen.job_ids or ()),
        "statuses": sorted(chosen.statuses or ()),
        **standing_fields(reply.standing),
    }


def _history(reply: HistoryPage, starting: StartingChannels) -> Message:
    return {"type": "history", **page_fields(reply, JOBS.delivery)}


_RENDERERS: Final[Mapping[type, Callable[..., Message | None]]] = {
    Connected: _greeting,
    FilterChanged: _filter_changed,
    HistoryPage: _history,
    PresencePage: lambda reply, starting: {"type": "presence", **presence_fields(reply)},
    PresenceUpdate: lambda reply, starting: {
        "type": "presence_update",
        **mailbox_field(reply.channel),
        **update_fields(reply),
    },
    Pong: lambda reply, starting: {"type": "pong", **offset_field(reply.position), "timestamp": timestamp()},
    Failure: lambda reply, starting: {"type": "error", "message": reply.message},
    Gap: lambda reply, starting: {"type": "gap", **mailbox_field(reply.channel), **position_fields(reply.position)},
    Lag: lambda reply, starting: {"type": "lag", **mailbox_field(reply.channel), "dropped": reply.dropped},
    Refreshed: lambda reply, starting: {"type": "refreshed", "expires": int(reply.expires)},
    Left: lambda reply, starting: {"type": "error", "message": "the new token does not allow this feed"},
}

JOBS: Final = Jobs()
