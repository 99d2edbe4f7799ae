"""The keys of presence that all dialects share: requests, pages of members, updates."""

from __future__ import annotations

from collections.abc import Callable

from fastws.dialects.fields import MAX_ID_LENGTH, Message
from fastws.dialects.history import DEFAULT_PAGE, MAX_PAGE
from fastws.errors import BadRequest
from fastws.vocabulary.commands import ReadPresence
from fastws.vocabulary.presence import PresenceMember, PresencePage, PresenceUpdate


def presence_parser(channel_of: Callable[[Message], str]) -> Callable[[Message], ReadPresence]:
    """Return the parser of a request for the presence of the channel `channel_of(message)`; "" is the home channel."""

    def parse(message: Message) -> ReadPresence:
        limit, cursor = message.get("limit", DEFAULT_PAGE), message.get("cursor")
        if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
            raise BadRequest(f"`limit` must be an integer from 1 to {MAX_PAGE}")
        if cursor is not None and (not isinstance(cursor, str) or len(cursor) > MAX_ID_LENGTH):
            raise BadRequest("`cursor` must be the `cursor` of the page before")
        return ReadPresence(channel_of(message), limit, cursor)

    return parse


def presence_fields(page: PresencePage) -> Message:
    """Return the keys of a page of presence; without `members` and `cursor` if only figures are shown."""
    fields: Message = {"count": page.count, "users": page.users}
    if page.members is not None:
        fields["members"] = [_member(member) for member in page.members]
        fields["cursor"] = page.cursor
    return fields


def update_fields(update: PresenceUpdate) -> Message:
    """Return the keys of an update; only figures if no members are shown, or too many have changed."""
    fields: Message = {}
    for key, members in (("joined", update.joined), ("left", update.left)):
        if members is not None:
            fields[key] = [_member(member) for member in members]
    fields |= {"count": update.count, "users": update.users}
    return {**fields, "partial": True} if update.is_partial else fields


def _member(member: PresenceMember) -> Message:
    fields: Message = {"connection_id": member.connection_id, "user": member.user}
    if member.client_id is not None:
        fields["client_id"] = member.client_id
    if member.info is not None:
        fields["info"] = member.info
    return fields
