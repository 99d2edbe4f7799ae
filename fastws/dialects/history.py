"""The keys of history that all dialects share: positions in requests and queries, positions and pages in replies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastws.dialects.dialect import Wanted
from fastws.dialects.fields import Message, timestamp_of
from fastws.errors import BadRequest
from fastws.vocabulary.commands import ReadHistory
from fastws.vocabulary.filters import Filter
from fastws.vocabulary.positions import Past, Position
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import HistoryPage, Standing

MAX_PAGE: Final = 1000
DEFAULT_PAGE: Final = 100
# Offsets are exact in JavaScript up to here.
MAX_OFFSET: Final = 2**53 - 1


def position_of(message: Mapping[str, object], prefix: str = "") -> Position | None:
    """Return the position in `offset` and `epoch`, each with `prefix`. Raises BadRequest if one is wrong or missing."""
    offset, epoch = message.get(f"{prefix}offset"), message.get(f"{prefix}epoch")
    if offset is None and epoch is None:
        return None
    if type(offset) is not int or not 0 <= offset <= MAX_OFFSET or not isinstance(epoch, str):
        raise BadRequest(f"a position is `{prefix}offset`, an integer of at least 0, with `{prefix}epoch`, a string")
    return Position(offset, epoch)


def past_of(message: Mapping[str, object], prefix: str = "") -> Past:
    """Return what a subscriber wants of the past: a position, or the number in `replay`. Raises BadRequest."""
    if not prefix and "offset" not in message and "epoch" not in message and "replay" not in message:
        return None  # most subscribers want nothing of the past
    position = position_of(message, prefix)
    replay = message.get(f"{prefix}replay")
    if replay is None:
        return position
    if position is not None:
        raise BadRequest(f"give either a position or `{prefix}replay`, not both")
    if type(replay) is not int or not 0 <= replay <= MAX_OFFSET:
        raise BadRequest(f"`{prefix}replay` must be an integer of at least 0: the number of publications")
    return replay


def past_of_query(query: Mapping[str, str], prefix: str = "") -> Past:
    """Return what a client wants of the past by the query of its upgrade. Raises BadRequest."""
    keys = {f"{prefix}{key}" for key in ("offset", "epoch", "replay")}
    given: dict[str, object] = {key: query[key] for key in keys & query.keys()}
    for key, text in given.items():
        if not key.endswith("epoch") and isinstance(text, str) and text.isascii() and text.isdecimal():
            given[key] = int(text[:20])
    return past_of(given, prefix)


def wanted(query: Mapping[str, str], filter_: Filter | None = None) -> Wanted | None:
    """Return what a client wants of its first channel, None for nothing. Raises BadRequest."""
    past = past_of_query(query) if query else None
    return None if past is None and filter_ is None else Wanted(past, filter_)


def history_parser(channel_of: Callable[[Message], str]) -> Callable[[Message], ReadHistory]:
    """Return the parser of a request for the history of the channel `channel_of(message)`; "" is the home channel."""

    def parse(message: Message) -> ReadHistory:
        limit, is_reverse = message.get("limit", DEFAULT_PAGE), message.get("reverse", False)
        if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
            raise BadRequest(f"`limit` must be an integer from 1 to {MAX_PAGE}")
        if not isinstance(is_reverse, bool):
            raise BadRequest("`reverse` must be true or false")
        return ReadHistory(channel_of(message), limit, position_of(message), is_reverse)

    return parse


def position_fields(position: Position | None) -> Message:
    """Return the keys that tell a position; none if there is none."""
    return {} if position is None else {"offset": position.offset, "epoch": position.epoch}


def offset_field(position: Position | None) -> Message:
    """Return the key `offset` of a position, for replies whose epoch the client knows; none if there is none."""
    return {} if position is None else {"offset": position.offset}


def standing_fields(standing: Standing | None) -> Message:
    """Return the keys that tell a new subscriber where it stands; none for a channel without history."""
    if standing is None:
        return {}
    fields = position_fields(standing.position)
    if standing.recovered is not None:
        fields["recovered"] = standing.recovered
    if standing.replayed is not None:
        fields["replayed"] = standing.replayed
    return fields


def page_fields(page: HistoryPage, delivery: Callable[[Publication], Message]) -> Message:
    """Return the keys of a page of history: its `messages`, each with a timestamp, and the newest position."""
    messages = [
        {**delivery(publication), "timestamp": timestamp_of(publication.timestamp)} for publication in page.publications
    ]
    return {"messages": messages, **position_fields(page.position)}
