"""Requests for the channels of a server and their history, and the parts of the responses."""

from __future__ import annotations

from typing import Any, TypedDict
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
