"""/channels: list the channels in use, read and clear their history, read their presence."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Final, TypeVar

from fastws.cluster.channel_list import list_channels
from fastws.codec.json_text import JSON
from fastws.dialects.channels import CHANNELS
from fastws.dialects.history import page_fields, position_of
from fastws.dialects.presence import presence_fields
from fastws.endpoints.answers import JSON_HEADERS, json_response
from fastws.endpoints.application import Application
from fastws.endpoints.connections import check_key, limit_of
from fastws.errors import BadRequest, FastWSError
from fastws.hub.ports import History
from fastws.vocabulary.channels import check_channel_name
from fastws.vocabulary.positions import Page, Position
from fastws.vocabulary.presence import PresencePage
from fastws.vocabulary.replies import HistoryPage
from fastws.wire.request import Request
from fastws.wire.response import Response

T = TypeVar("T")

_FLAGS: Final = {"true": True, "false": False}


async def list_all(application: Application, request: Request, **_: str) -> Response:
    """GET /channels: channels with subscribers or with a history, by name, from `cursor`, beginning with `prefix`."""
    check_key(application, request)
    query = request.query
    prefix, cursor, limit = query.get("prefix", ""), query.get("cursor", ""), limit_of(query.get("limit"))

    def is_wanted(name: str) -> bool:
        return name > cursor and name.startswith(prefix)

    history = application.history
    async with application.listing:
        names = (await application.cluster.channels(is_wanted, limit + 1)).names
        kept = [] if history is None else (await list_channels(await history.channels(), is_wanted, limit + 1)).names
    page = heapq.nsmallest(limit + 1, {*names, *kept})
    tops = [None] * limit if history is None else await history.tops(page[:limit])
    entries = zip(page[:limit], tops, strict=False)
    described = await asyncio.gather(*(_description(application, name, top) for name, top in entries))
    return json_response({"channels": described, "cursor": page[limit - 1] if len(page) > limit else None})


async def _description(application: Application, name: str, top: int | None) -> dict[str, object]:
    described: dict[str, object] = {"channel": name, "subscribers": application.cluster.subscribers(name)}
    if top is not None:
        described["offset"] = top
    presence = application.hub.presence
    if presence is not None and presence.shows(name):
        figures: PresencePage = await _answer(lambda receive: presence.page(name, 0, None, receive))
        described["presence"] = presence_fields(figures)
    return described


async def read_presence(application: Application, request: Request, *, channel: str, **_: str) -> Response:
    """GET /channels/{channel}/presence: as in the channels dialect, without `type`; with `?count=true` only figures."""
    check_key(application, request)
    name, query, presence = check_channel_name(channel), request.query, application.hub.presence
    if presence is None:
        raise BadRequest("this server keeps no presence: the setting `presence` is not set")
    is_count = _FLAGS.get(query.get("count", "false"))
    if is_count is None:
        raise BadRequest("`count` must be true or false")
    limit = 0 if is_count else limit_of(query.get("limit"))
    page: PresencePage = await _answer(lambda receive: presence.page(name, limit, query.get("cursor"), receive))
    return json_response({"channel": name, **presence_fields(page)})


async def read_history(application: Application, request: Request, *, channel: str, **_: str) -> Response:
    """GET /channels/{channel}/history: a page of it, as the channels dialect sends it, without `type`."""
    check_key(application, request)
    history, name = _history_of(application, channel)
    query = request.query
    limit, position = limit_of(query.get("limit")), _position(query.get("offset"), query.get("epoch"))
    is_reverse = _FLAGS.get(query.get("reverse", "false"))
    if is_reverse is None:
        raise BadRequest("`reverse` must be true or false")
    page: Page = await _answer(
        lambda receive: history.page(name, position, limit, is_reverse=is_reverse, answer=receive)
    )
    fields = page_fields(HistoryPage(name, page.publications, page.position), CHANNELS.delivery)
    return Response(200, JSON.dumps({"channel": name, **fields}), JSON_HEADERS)


async def clear_history(application: Application, request: Request, *, channel: str, **__: str) -> Response:
    """DELETE /channels/{channel}/history: forget it and begin a new epoch; subscribers get a gap notice."""
    check_key(application, request)
    history, name = _history_of(application, channel)
    _: Position = await _answer(lambda receive: history.clear(name, receive))
    return Response(204)


def _history_of(application: Application, channel: str) -> tuple[History, str]:
    name = check_channel_name(channel)
    if application.history is None:
        raise BadRequest("this server keeps no history: the setting `history` is not set")
    return application.history, name


def _position(offset: str | None, epoch: str | None) -> Position | None:
    number = int(offset[:20]) if offset is not None and offset.isascii() and offset.isdecimal() else offset
    return position_of({"offset": number, "epoch": epoch})


async def _answer(ask: Callable[[Callable[[T | FastWSError], None]], None]) -> T:
    """Call `ask` with a callback and return what it gets. Raises it if it is an error."""
    answered: asyncio.Future[T | FastWSError] = asyncio.get_running_loop().create_future()
    ask(lambda value: None if answered.done() else answered.set_result(value))
    value = await answered
    if isinstance(value, FastWSError):
        raise value
    return value
