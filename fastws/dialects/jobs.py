"""The jobs dialect (seed 003): all clients receive the feed of job updates, optionally filtered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

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
from fastws.errors import BadRequest
from fastws.vocabulary.commands import ChangeFilter, Command
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Failure, FilterChanged, Gap, Lag, Left, Pong, Refreshed, Reply
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
        return self.starting

    def parse(self, message: object) -> Command:
        return parse_by_type(message, _PARSERS, example='{"type":"subscribe","statuses":["failed"]}')

    def reply(self, reply: Reply, starting: StartingChannels) -> Message | None:
        renderer = _RENDERERS.get(type(reply))
        return None if renderer is None else renderer(reply)

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
        return message


def _parse_subscribe(message: Message) -> Command:
    """Replace the filter. A field that is absent or empty matches all updates."""
    wanted = JobFilter(_entries(message, "job_ids"), _entries(message, "statuses"))
    narrowed = None if wanted == JobFilter() else wanted
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
    "ping": parse_ping,
    "refresh": parse_refresh,
}


def _filter_changed(reply: FilterChanged) -> Message:
    wanted = reply.filter if isinstance(reply.filter, JobFilter) else JobFilter()
    return {
        "type": "subscribed",
        "job_ids": sorted(wanted.job_ids or ()),
        "statuses": sorted(wanted.statuses or ()),
    }


_RENDERERS: Final[Mapping[type, Callable[..., Message]]] = {
    FilterChanged: _filter_changed,
    Pong: lambda reply: {"type": "pong", "timestamp": timestamp()},
    Failure: lambda reply: {"type": "error", "message": reply.message},
    Gap: lambda reply: {"type": "gap"},
    Lag: lambda reply: {"type": "lag", "dropped": reply.dropped},
    Refreshed: lambda reply: {"type": "refreshed", "expires": int(reply.expires)},
    Left: lambda reply: {"type": "error", "message": "the new token does not allow this feed"},
}

JOBS: Final = Jobs()
