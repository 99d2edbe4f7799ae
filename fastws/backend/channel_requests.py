"""Requests for the channels of a server and their history, and the parts of the responses."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict, cast
from urllib.parse import quote

from fastws.errors import BadRequest
from fastws.vocabulary.channels import check_channel_name

PAGE = 1000


class History(TypedDict):
    """A page of the history of a channel.

    `messages`: deliveries, each with its `offset` and its `timestamp`. `offset` and `epoch`: the position of the newest
    message of the channel.
    """

    channel: str
    messages: list[dict[str, Any]]
    offset: int
    epoch: str


class Presence(TypedDict):
    """The members of a channel: `{"connection_id", "user"[, "client_id", "info"]}` each, by connection id.

    `count` and `users`: the number of connections, and of distinct users among them. A channel that shows only figures
    has no `members`.
    """

    channel: str
    count: int
    users: int
    members: NotRequired[list[dict[str, Any]]]


def history_request(
    channel: str, limit: int, offset: int | None, epoch: str | None, *, reverse: bool
) -> tuple[str, dict[str, str]]:
    """Return the path and the query of a request for a page of history. Raises BadRequest."""
    if (offset is None) != (epoch is None):
        raise BadRequest("a position is `offset` together with `epoch`")
    query = {"limit": str(limit), "reverse": "true" if reverse else "false"}
    if offset is not None and epoch is not None:
        query |= {"offset": str(offset), "epoch": epoch}
    return f"/channels/{quote(check_channel_name(channel), safe='')}/history", query


def list_request(prefix: str, cursor: str) -> tuple[str, dict[str, str]]:
    """Return the path and the query of a request for the channels after `cursor`."""
    return "/channels", {"prefix": prefix, "cursor": cursor, "limit": str(PAGE)}


def presence_request(channel: str, cursor: str | None) -> tuple[str, dict[str, str]]:
    """Return the path and the query of a request for the members after `cursor`; None: the first. Raises BadRequest."""
    continued = {} if cursor is None else {"cursor": cursor}
    return f"/channels/{quote(check_channel_name(channel), safe='')}/presence", {"limit": str(PAGE), **continued}


def with_page(found: Presence | None, page: dict[str, Any]) -> tuple[Presence, str | None]:
    """Return `found` with the members of `page`, and the cursor of the next page; None: there is none."""
    cursor = page.pop("cursor", None)
    if found is not None and "members" in page:
        page["members"] = found.get("members", []) + page["members"]
    return cast("Presence", page), cursor
