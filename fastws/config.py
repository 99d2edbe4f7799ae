"""All settings. Each definition serves the flag, the environment variable, the TOML key and the documentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from fastws.server_settings import ServerSettings
from fastws.setting_definition import Setting, read_definitions, setting


def _by_app(default: str, meaning: str, *, unit: str = "", placeholder: str = "", **definition: Any) -> Any:
    """The field of a setting that each app of Pusher may have a value of."""
    placeholder = f"[ID=]{placeholder or unit.upper() or 'N'}"
    return setting((default,), meaning, kind="app table", unit=unit, placeholder=placeholder, **definition)


@dataclass(slots=True, frozen=True, kw_only=True)
class Config(ServerSettings):
    """The settings of one server. Times are in seconds unless the meaning says otherwise, sizes in bytes."""

    pusher_apps: tuple[str, ...] = setting(
        (),
        "apps of Pusher clients, which connect to /app/KEY; further entries with the same ID add key pairs. Default: "
        "that in PUSHER_APP_ID, _KEY and _SECRET, REVERB_APP_… or SOKETI_DEFAULT_APP_…",
        kind="list",
        placeholder="ID:KEY:SECRET",
        secret=True,
        group="Pusher",
    )
    pusher_enabled: tuple[str, ...] = _by_app(
        "true", "false closes the connections of an app with 4003; ID=false for one app", scalar=bool
    )
    pusher_namespace: tuple[str, ...] = _by_app(
        "own",
        "own puts the channels of an app under pusher:ID:, shared gives one app the channels of all other clients",
        placeholder="NAMESPACE",
        choices=("own", "shared"),
    )
    pusher_client_events: tuple[str, ...] = _by_app(
        "false", "let clients send client-… events to private and presence channels", scalar=bool
    )
    pusher_client_event_rate: tuple[str, ...] = _by_app(
        "10",
        "client events per second and connection; a burst of as many passes; 0 means no limit",
        scalar=float,
        minimum=0,
    )
    pusher_activity_timeout: tuple[str, ...] = _by_app(
        "120",
        "silence after which clients ask whether the server is alive",
        scalar=int,
        unit="seconds",
        minimum=1,
        maximum=86_400,
    )
    pusher_auth_timeout: tuple[str, ...] = _by_app(
        "0",
        "time in which a client must have signed in or joined a private or presence channel; 0 means no limit",
        scalar=float,
        unit="seconds",
        minimum=0,
        maximum=86_400,
    )
    pusher_max_connections: tuple[str, ...] = _by_app(
        "0", "connections of an app, all processes together; 0 means no limit", scalar=int, minimum=0
    )
    pusher_max_event_bytes: tuple[str, ...] = _by_app(
        "102400", "maximum size of the data of an event", scalar=int, unit="bytes", minimum=1, maximum=1 << 22
    )
    pusher_max_batch: tuple[str, ...] = _by_app(
        "10", "events in one request to batch_events", scalar=int, minimum=1, maximum=10_000
    )
    pusher_max_presence_members: tuple[str, ...] = _by_app(
        "1000", "users in a presence channel; 0 means no limit", scalar=int, minimum=0
    )
    pusher_max_member_bytes: tuple[str, ...] = _by_app(
        "10240", "maximum size of the user_info of a member; 0 means no limit", scalar=int, unit="bytes", minimum=0
    )
    pusher_cache_ttl: tuple[str, ...] = _by_app(
        "1800",
        "time for which a cache channel remembers its last event",
        scalar=int,
        unit="seconds",
        minimum=1,
        maximum=31_536_000,
    )
    pusher_subscription_count: tuple[str, ...] = _by_app(
        "false", "tell the subscribers of a channel how many they are", scalar=bool
    )
    pusher_webhooks: tuple[str, ...] = setting(
        (), "URLs that get the events of all apps; ID=URL for one app", kind="list", placeholder="[ID=]URL"
    )
    pusher_webhook_events: tuple[str, ...] = _by_app(
        "channel_occupied+channel_vacated+member_added+member_removed+client_event+cache_miss+subscription_count",
        "events that pusher_webhooks get, joined by +",
        placeholder="EVENTS",
    )
    pusher_webhook_batch: tuple[str, ...] = _by_app(
        "0",
        "time over which events are gathered into one request; 0 means one event in a request",
        scalar=int,
        unit="ms",
        minimum=0,
        maximum=60_000,
    )
    pusher_webhook_grace: tuple[str, ...] = _by_app(
        "3",
        "time after the last connection in which a new one prevents channel_vacated and member_removed",
        scalar=float,
        unit="seconds",
        minimum=0,
        maximum=3600,
    )
    event_hook: str | None = setting(
        None,
        "application hook for connection events: package.module:function or HTTP URL",
        group="Hooks and metrics",
        placeholder="FUNCTION|URL",
    )
    metrics_hook: str | None = setting(
        None,
        "package.module:function(workspace, metric_type) that answers request_metrics. Default: the last update",
        placeholder="FUNCTION",
    )
    webhooks: tuple[str, ...] = setting(
        (),
        "URLs that get an event when a channel has its first subscriber or has lost its last one, over all processes",
        kind="list",
        placeholder="URL",
    )
    webhook_secret: str | None = setting(
        None, "secret that signs the requests to webhooks", placeholder="SECRET", secret=True
    )
    webhook_channels: tuple[str, ...] = setting(
        (), "patterns of the channels with events for webhooks. Default: all", kind="list", placeholder="PATTERN"
    )
    webhook_grace: float = setting(
        3.0,
        "time after the last subscriber in which a new one prevents the event",
        unit="seconds",
        minimum=0,
        maximum=3600,
    )
    metrics_address: str | None = setting(
        None, "separate address for /metrics. Default: the public port", placeholder="HOST:PORT"
    )
    log_format: str = setting(
        "auto", "auto means text on a terminal, JSON otherwise", group="Logging", choices=("auto", "json", "text")
    )
    log_level: str = setting("info", "minimum log level", choices=("debug", "info", "warning", "error"))


SETTINGS: Final[dict[str, Setting]] = {definition.name: definition for definition in read_definitions(Config)}
