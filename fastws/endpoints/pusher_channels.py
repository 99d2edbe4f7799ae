"""GET /apps/{id}/channels and below: which channels of an app are occupied, and by whom."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from fastws.dialects.pusher_messages import cached_text
from fastws.endpoints.application import Application
from fastws.errors import BadRequest, FastWSError
from fastws.vocabulary.positions import Page
from fastws.vocabulary.presence import ChannelMember
from fastws.vocabulary.pusher_apps import PRESENCE, PusherApp, is_cache, is_presence, user_of
from fastws.wire.request import Request

USER_COUNT: Final = "user_count"
SUBSCRIPTION_COUNT: Final = "subscription_count"
CACHE: Final = "cache"
_INFOS: Final = (USER_COUNT, SUBSCRIPTION_COUNT)
# Channels whose members are read at the same time.
SLICE: Final = 100

# (channel of fastws, callback with its members or an error)
ReadMembers = Callable[[str, Callable[[list[ChannelMember] | FastWSError], None]], None]


class ChannelReader:
    """Reads the figures of one app, over all processes."""

    __slots__ = ("_read_members", "app", "application")

    def __init__(self, application: Application, app: PusherApp, read_members: ReadMembers) -> None:
        self.application = application
        self.app = app
        self._read_members = read_members

    async def info(self, name: str, wanted: frozenset[str]) -> dict[str, object]:
        """Return these figures of a channel. A channel without users has no `user_count`."""
        found: dict[str, object] = {}
        if USER_COUNT in wanted and is_presence(name):
            found[USER_COUNT] = len(await self.members(name))
        if SUBSCRIPTION_COUNT in wanted:
            found[SUBSCRIPTION_COUNT] = self.subscribers(name)
        return found

    def subscribers(self, name: str) -> int:
        """Return the number of subscribers that are clients of the app."""
        return self.application.cluster.app_subscribers(self.app.channel(name))

    async def members(self, name: str) -> list[ChannelMember]:
        """Return the users in a presence channel. Raises BrokerUnavailable."""
        answered: asyncio.Future[list[ChannelMember] | FastWSError] = asyncio.get_running_loop().create_future()
        channel = self.app.channel(name)
        self._read_members(channel, lambda value: None if answered.done() else answered.set_result(value))
        found = await answered
        if isinstance(found, FastWSError):
            raise found
        return found

    async def cached(self, name: str) -> dict[str, object] | None:
        """Return the last event of a cache channel and its remaining seconds; None if it remembers none.

        Raises BrokerUnavailable.
        """
        history, app = self.application.history, self.app
        if history is None:
            return None
        answered: asyncio.Future[Page | FastWSError] = asyncio.get_running_loop().create_future()

        def answer(page: Page | FastWSError) -> None:
            if not answered.done():
                answered.set_result(page)

        history.page(app.channel(name), None, 1, is_reverse=True, answer=answer)
        page = await answered
        if isinstance(page, FastWSError):
            raise page
        left = app.cache_seconds - page.age_seconds
        newest = next(iter(page.publications), None)
        text = None if newest is None or left <= 0 else cached_text(newest, app)
        return None if text is None else {"data": text, "ttl": math.ceil(left)}

    async def occupied(self, prefix: str) -> Sequence[str]:
        """Return the names of the occupied channels that begin with `prefix`, without those of single users."""
        app, start = self.app, self.app.channel(prefix)

        def is_wanted(channel: str) -> bool:
            name = app.name_of(channel)
            if not channel.startswith(start) or user_of(name) is not None or not app.is_channel_name(name):
                return False
            return self.application.cluster.app_subscribers(channel) > 0

        async with self.application.listing:
            listed = await self.application.cluster.channels(is_wanted, MAX_LISTED)
        return [app.name_of(channel) for channel in listed.names]

    async def connections(self) -> int:
        """Return the number of connections of the app."""
        return await self.application.cluster.realm_connections(self.app.id)


# A list of more would take too long to make. The first ones by name are listed.
MAX_LISTED: Final = 100_000


async def list_channels(reader: ChannelReader, request: Request, path: Mapping[str, str]) -> object:
    """List the occupied channels."""
    prefix = request.query.get("filter_by_prefix", "")
    wanted = infos(request.query.get("info"), "info")
    if USER_COUNT in wanted and not is_presence(prefix):
        raise BadRequest(f"`info` may contain {USER_COUNT} only if `filter_by_prefix` begins {PRESENCE}")
    names = await reader.occupied(prefix)
    found: dict[str, object] = {}
    for start in range(0, len(names), SLICE):
        some = names[start : start + SLICE]
        figures = await asyncio.gather(*(reader.info(name, wanted) for name in some))
        found.update(zip(some, figures, strict=True))
    return {"channels": found}


async def show_channel(reader: ChannelReader, request: Request, path: Mapping[str, str]) -> object:
    """Say whether a channel is occupied, and what was asked for."""
    name = _name(reader.app, path)
    wanted = infos(request.query.get("info"), "info", (*_INFOS, CACHE))
    if USER_COUNT in wanted:
        _check_presence(name, "`info` may contain user_count only for presence channels")
    if CACHE in wanted and not is_cache(name):
        raise BadRequest("`info` may contain cache only for cache channels, such as cache-x or private-cache-x")
    found = {"occupied": reader.subscribers(name) > 0, **await reader.info(name, wanted)}
    return {**found, CACHE: await reader.cached(name)} if CACHE in wanted else found


async def show_users(reader: ChannelReader, request: Request, path: Mapping[str, str]) -> object:
    """List the users in a presence channel."""
    name = _name(reader.app, path)
    _check_presence(name, "only presence channels have users: the name must begin presence-")
    return {"users": [{"id": member.user} for member in await reader.members(name)]}


def infos(value: object, where: str, known: Sequence[str] = _INFOS) -> frozenset[str]:
    """Return the attributes in a list with commas. Raises BadRequest."""
    if value is None or value == "":
        return frozenset()
    if not isinstance(value, str):
        raise BadRequest(f"`{where}` must be a string such as {','.join(known)}")
    names = [name.strip() for name in value.split(",")]
    for name in names:
        if name not in known:
            raise BadRequest(f"`{where}` contains {name[:100]!r}; the attributes are {', '.join(known)}")
    return frozenset(names)


def _name(app: PusherApp, path: Mapping[str, str]) -> str:
    name = path["channel"]
    if not app.is_channel_name(name):
        raise BadRequest("the channel in the path must have a name of 1 to 200 of A-Z a-z 0-9 _-=@,.;")
    return name


def _check_presence(name: str, message: str) -> None:
    if not is_presence(name):
        raise BadRequest(message)
