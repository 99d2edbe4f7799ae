"""The apps of Pusher clients: ids, keys, secrets, and the settings of each app."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

# Before the id of an app and the name of a channel, in the namespace `own`.
PREFIX: Final = "pusher:"
_NAME: Final = re.compile(r"[A-Za-z0-9_\-=@,.;]{1,200}")
# In the namespace `shared`, clients may also name channels of other dialects.
_SHARED_NAME: Final = re.compile(r"[A-Za-z0-9_\-=@,.;:]{1,200}")
_SERVER_TO_USER: Final = "#server-to-user-"
MAX_USER_ID_LENGTH: Final = 128
PRIVATE: Final = "private-"
PRESENCE: Final = "presence-"
_CACHE: Final = ("cache-", "private-cache-", "private-encrypted-cache-", "presence-cache-")

WEBHOOK_EVENTS: Final = frozenset(
    (
        "channel_occupied",
        "channel_vacated",
        "member_added",
        "member_removed",
        "client_event",
        "cache_miss",
        "subscription_count",
    )
)


@dataclass(slots=True, frozen=True, kw_only=True)
class PusherApp:
    """One app. `secrets` are by key; the first one signs webhooks. The other fields are the settings `pusher_…`."""

    id: str
    secrets: Mapping[str, str] = field(repr=False)
    is_enabled: bool = True
    is_shared: bool = False
    client_events: bool = False
    client_event_rate: float = 10.0
    activity_timeout: int = 120
    auth_timeout: float = 0.0
    max_connections: int = 0
    max_event_bytes: int = 102_400
    max_batch: int = 10
    cache_seconds: float = 1800.0
    has_subscription_count: bool = False
    webhook_urls: tuple[str, ...] = ()
    webhook_events: frozenset[str] = WEBHOOK_EVENTS
    webhook_batch_seconds: float = 0.0
    webhook_grace_seconds: float = 3.0
    max_presence_members: int = 1000
    max_member_bytes: int = 10_240

    def channel(self, name: str) -> str:
        """Return the channel of fastws for the channel `name` of this app."""
        if not self.is_shared:
            return f"{PREFIX}{self.id}:{name}"
        if name.startswith(_SERVER_TO_USER):
            return f"user:{name.removeprefix(_SERVER_TO_USER)}"
        return name

    def name_of(self, channel: str) -> str:
        """Return the name by which clients of this app know `channel` of fastws."""
        if not self.is_shared:
            return channel.removeprefix(f"{PREFIX}{self.id}:")
        if channel.startswith("user:"):
            return _SERVER_TO_USER + channel.removeprefix("user:")
        return channel

    def is_channel_name(self, name: object) -> bool:
        """Whether `name` is a valid channel name of this app. `#server-to-user-` is followed by any user id.

        The channels of apps with a namespace of their own are not channels of this one.
        """
        if not isinstance(name, str) or name.startswith(PREFIX):
            return False
        if name.startswith(_SERVER_TO_USER):
            return is_user_id(name.removeprefix(_SERVER_TO_USER))
        return (_SHARED_NAME if self.is_shared else _NAME).fullmatch(name) is not None


class PusherApps:
    """All apps, by id and by key."""

    __slots__ = ("_by_id", "_by_key", "_shared")

    def __init__(self, apps: Sequence[PusherApp] = ()) -> None:
        self._by_id = {app.id: app for app in apps}
        self._by_key = {key: app for app in apps for key in app.secrets}
        self._shared = next((app for app in apps if app.is_shared), None)

    def __iter__(self) -> Iterator[PusherApp]:
        return iter(self._by_id.values())

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def get(self, app_id: str) -> PusherApp | None:
        """Return the app with this id."""
        return self._by_id.get(app_id)

    def of_channel(self, channel: str) -> tuple[PusherApp, str] | None:
        """Return the app that a channel of fastws belongs to, and the name there; None if there is no such app."""
        if channel.startswith(PREFIX):
            app_id, _, name = channel[len(PREFIX) :].partition(":")
            app = self._by_id.get(app_id)
            return None if app is None or app.is_shared else (app, name)
        app = self._shared
        if app is None:
            return None
        name = app.name_of(channel)
        return (app, name) if app.is_channel_name(name) else None

    def cache_seconds(self, channel: str) -> float | None:
        """Return how long a channel of fastws remembers its last event; None if it is not a cache channel."""
        found = self.of_channel(channel)
        return found[0].cache_seconds if found is not None and is_cache(found[1]) else None

    def has_subscription_count(self, channel: str) -> bool:
        """Whether the subscribers of a channel of fastws receive the number of subscribers."""
        found = self.of_channel(channel)
        if found is None or not found[0].has_subscription_count:
            return False
        return not is_presence(found[1]) and user_of(found[1]) is None

    def of_key(self, key: str) -> PusherApp | None:
        """Return the app with this key."""
        return self._by_key.get(key)


def is_user_id(text: str) -> bool:
    """Whether `text` can be the id of a user: 1 to 128 characters, of which none is a control character."""
    return 1 <= len(text) <= MAX_USER_ID_LENGTH and text.isprintable() and text == text.strip()


def is_private(name: str) -> bool:
    """Whether a subscription to the channel `name` needs a signature, and is not one to a presence channel."""
    return name.startswith(PRIVATE)


def is_presence(name: str) -> bool:
    """Whether the channel `name` has members."""
    return name.startswith(PRESENCE)


def is_cache(name: str) -> bool:
    """Whether the channel `name` remembers its last event."""
    return name.startswith(_CACHE)


def user_of(name: str) -> str | None:
    """Return the user whose channel `name` is; None if it is not the channel of one user."""
    return name.removeprefix(_SERVER_TO_USER) if name.startswith(_SERVER_TO_USER) else None
