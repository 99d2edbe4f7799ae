"""The apps of Pusher clients, read from the settings `pusher_…`."""

from __future__ import annotations

import re
from typing import Final, TypeVar
from urllib.parse import urlsplit

from fastws.config import SETTINGS, Config
from fastws.errors import ConfigError
from fastws.setting_values import parse_scalar
from fastws.vocabulary.pusher_apps import WEBHOOK_EVENTS, PusherApp, PusherApps

PUSHER_SETTINGS: Final = tuple(name for name in SETTINGS if name.startswith("pusher_"))
_FORM: Final = "pusher_apps: each entry must be ID:KEY:SECRET; ID and KEY are 1 to 40 letters, digits, _ or -"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")

# Not tables of values by app.
_LISTS: Final = ("pusher_apps", "pusher_webhooks")

T = TypeVar("T", bool, int, float, str)


def pusher_apps(config: Config) -> PusherApps:
    """Return the apps of the settings. Raises ConfigError, never with a secret."""
    pairs = _pairs(config.pusher_apps)
    values = {name: _table(config, name, pairs) for name in PUSHER_SETTINGS if name not in _LISTS}
    urls = _webhooks(config, pairs)
    apps = PusherApps([_app(app_id, secrets, values, urls) for app_id, secrets in pairs.items()])
    shared = [app.id for app in apps if app.is_shared]
    if len(shared) > 1:
        raise ConfigError(f"pusher_namespace: at most one app may be shared, not {' and '.join(shared)}")
    return apps


def _pairs(entries: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Return the secrets by app and key, in the order of the setting."""
    apps: dict[str, dict[str, str]] = {}
    keys: set[str] = set()
    for entry in entries:
        app_id, _, rest = entry.partition(":")
        key, _, secret = rest.partition(":")
        if not _NAME.fullmatch(app_id) or not _NAME.fullmatch(key) or not secret:
            raise ConfigError(_FORM)
        if key in keys:
            raise ConfigError(f"pusher_apps: the key {key} is there twice; each key belongs to one app")
        keys.add(key)
        apps.setdefault(app_id, {})[key] = secret
    return apps


Value = bool | int | float | str
_Table = dict[str | None, Value]


def _table(config: Config, name: str, apps: dict[str, dict[str, str]]) -> _Table:
    """Return the values of a setting by app; that for all others is under None."""
    setting = SETTINGS[name]
    table: _Table = {}
    for entry in (*setting.default, *getattr(config, name)):
        app_id, equals, text = entry.partition("=")
        if equals and app_id not in apps:
            raise ConfigError(f"{name}: {app_id!r} is not the ID of an app in pusher_apps")
        table[app_id if equals else None] = parse_scalar(setting, text if equals else entry, name)
    return table


def _webhooks(config: Config, apps: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """Return the URLs by app. That of an entry without ID is in each."""
    urls: dict[str, list[str]] = {app_id: [] for app_id in apps}
    for entry in config.pusher_webhooks:
        app_id, equals, url = entry.partition("=")
        if not equals or not _NAME.fullmatch(app_id):
            app_id, url = "", entry
        elif app_id not in apps:
            raise ConfigError(f"pusher_webhooks: {app_id!r} is not the ID of an app in pusher_apps")
        check_url(url, "pusher_webhooks")
        for each in (app_id,) if app_id else apps:
            if url not in urls[each]:
                urls[each].append(url)
    return urls


def check_url(url: str, setting: str) -> None:
    """Raise ConfigError unless `url` is one to which webhooks can be sent. Does not show what it may contain."""
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ConfigError(
            f"{setting}: each URL must be like https://example.com/webhooks, beginning http:// or https://"
        )


def _events(text: str) -> frozenset[str]:
    names = frozenset(text.split("+"))
    unknown = sorted(names - WEBHOOK_EVENTS)
    if unknown:
        known = ", ".join(sorted(WEBHOOK_EVENTS))
        raise ConfigError(f"pusher_webhook_events: must be some of {known}, joined by +, not {unknown[0]!r}")
    return names


def _app(app_id: str, secrets: dict[str, str], values: dict[str, _Table], urls: dict[str, list[str]]) -> PusherApp:
    def value(name: str, kind: type[T]) -> T:
        table = values[f"pusher_{name}"]
        return kind(table.get(app_id, table[None]))

    return PusherApp(
        id=app_id,
        secrets=secrets,
        is_enabled=value("enabled", bool),
        is_shared=value("namespace", str) == "shared",
        client_events=value("client_events", bool),
        client_event_rate=value("client_event_rate", float),
        activity_timeout=value("activity_timeout", int),
        auth_timeout=value("auth_timeout", float),
        max_connections=value("max_connections", int),
        max_event_bytes=value("max_event_bytes", int),
        max_batch=value("max_batch", int),
        cache_seconds=value("cache_ttl", int),
        has_subscription_count=value("subscription_count", bool),
        webhook_urls=tuple(urls[app_id]),
        webhook_events=_events(value("webhook_events", str)),
        webhook_batch_seconds=value("webhook_batch", int) / 1000,
        webhook_grace_seconds=value("webhook_grace", float),
        max_presence_members=value("max_presence_members", int),
        max_member_bytes=value("max_member_bytes", int),
    )
