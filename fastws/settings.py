"""Reading settings from flags, environment and TOML file, in this order of precedence, and checking them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from fastws.config import SETTINGS, Config
from fastws.errors import ConfigError
from fastws.mistakes import Mistakes
from fastws.pusher_settings import PUSHER_SETTINGS, check_url, pusher_apps
from fastws.setting_definition import Setting
from fastws.setting_sources import from_environment, from_toml, suggestion
from fastws.setting_values import check_secret, is_allowed, parse, parse_scalar
from fastws.vocabulary.channels import compile_pattern
from fastws.vocabulary.presence import PresenceMode

# Host and port of a URL, without a user.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# A year: keys in Redis live that long at most, and a timer of the loop can wait for it.
MAX_HISTORY_SECONDS: Final = 31_536_000.0


def load(
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    file: str | Path | None = None,
    *,
    defaults: Mapping[str, object] | None = None,
) -> Config:
    """Return the checked Config of these sources. `defaults` replace those of some settings.

    Raises ConfigError with all mistakes, each one line that names the setting.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    named = {name: f"--{name.replace('_', '-')}" for name in given}
    return _read(given, named, environment or {}, file, defaults or {})


def load_config(file: str | Path | None = None, **settings: object) -> Config:
    """Return the Config for an application that embeds the server: `settings` over FASTWS_… variables over `file`.

    A setting that is None counts as not given. Raises ConfigError, one line that names the setting.
    """
    for name in settings:
        if name not in SETTINGS:
            raise ConfigError(f"{name}: unknown setting{suggestion(name, SETTINGS)}")
    given = {name: value for name, value in settings.items() if value is not None}
    return _read(given, {name: name for name in given}, os.environ, file, {})


def _read(
    given: Mapping[str, object],
    named: Mapping[str, str],
    environment: Mapping[str, str],
    file: str | Path | None,
    defaults: Mapping[str, object],
) -> Config:
    """Return the Config of all sources. `named` is how errors name the settings in `given`."""
    mistakes = Mistakes()
    values: dict[str, object] = dict(defaults)
    if file is not None:
        values |= from_toml(Path(file), mistakes)
    values |= from_environment(environment, mistakes)
    for name, value in given.items():
        with mistakes.collect(name):
            values[name] = parse(SETTINGS[name], value, named[name])
    config = Config(**values)  # type: ignore[arg-type] # every value went through its setting's parser
    _collect(config, mistakes)
    mistakes.raise_all()
    return config


def check(config: Config) -> None:
    """Raise ConfigError for values and combinations that cannot work."""
    mistakes = Mistakes()
    _collect(config, mistakes)
    mistakes.raise_all()


def _collect(config: Config, mistakes: Mistakes) -> None:
    """Collect the mistakes in `config`. Checks only settings that have a usable value."""
    for setting in SETTINGS.values():
        with mistakes.collect(setting.name):
            _check_value(setting, getattr(config, setting.name))
    for settings, check_settings in _CHECKS:
        if mistakes.settings.isdisjoint(settings):
            with mistakes.collect():
                check_settings(config)


def _check_value(setting: Setting, value: object) -> None:
    """Check a value that may not have been read by `load`: applications and tests create a Config directly."""
    if setting.is_list and setting.kind != "url list":
        if isinstance(value, str):
            # Each character would count as one entry: of a broadcast_key, as a key.
            raise ConfigError(f"{setting.name}: must be a tuple of strings, not one string")
        for entry in value if isinstance(value, tuple) else ():
            check_secret(setting, entry, setting.name)
    elif value != setting.default:
        parse_scalar(setting, value, setting.name)


def public_host(config: Config) -> str | None:
    """Return host and port of `public_url`, None if it is not set. Raises ConfigError."""
    if config.public_url is None:
        return None
    url = config.public_url.rstrip("/")
    scheme, separator, host = url.partition("://")
    if scheme not in ("http", "https", "ws", "wss") or not separator or _HOST.fullmatch(host) is None:
        raise ConfigError(
            f"public_url: must be a URL without a path, such as https://live.example.com, not {config.public_url!r}"
        )
    return host


def _check_metrics_address(config: Config) -> None:
    if config.metrics_address is not None:
        host_and_port(config.metrics_address)


def _check_aws_credentials(config: Config) -> None:
    for pair in config.aws_credentials:
        if not all(pair.partition(":")[::2]):
            raise ConfigError("aws_credentials: each entry must have the form KEY_ID:SECRET")


def _check_workspace_channel(config: Config) -> None:
    if "{workspace_id}" not in config.workspace_channel or config.workspace_channel == "{workspace_id}":
        raise ConfigError(
            f"workspace_channel: must be {{workspace_id}} with a prefix or suffix, not {config.workspace_channel!r}"
        )


def _check_tls(config: Config) -> None:
    if (config.tls_cert is None) != (config.tls_key is None):
        missing, given = ("tls_key", "tls_cert") if config.tls_key is None else ("tls_cert", "tls_key")
        raise ConfigError(f"{missing}: must be set together with {given}")


def _check_workers(config: Config) -> None:
    if config.workers > 1 and config.redis_url is None:
        raise ConfigError(
            f"workers: {config.workers} processes need Redis to exchange messages: set --redis-url embedded to let "
            "fastws start one, or start one (apt install redis-server, or docker run -p 6379:6379 redis:7) and set "
            "--redis-url redis://127.0.0.1:6379"
        )


def _check_webhooks(config: Config) -> None:
    for url in config.webhooks:
        check_url(url, "webhooks")
    if config.webhooks and config.webhook_secret is None:
        raise ConfigError("webhook_secret: must be set, because webhooks is; receivers check signatures with it")
    for pattern in config.webhook_channels:
        compile_pattern(pattern)


def _check_timeouts(config: Config) -> None:
    if 0 < config.idle_timeout < config.ping_interval:
        raise ConfigError(
            f"idle_timeout: must be at least ping_interval ({config.ping_interval:g} s), not {config.idle_timeout:g} s"
        )


def slow_policies(config: Config) -> list[tuple[str | None, str]]:
    """Return slow_policy as (pattern or None, policy)."""
    setting = SETTINGS["slow_policy"]
    table = _table(setting, config.slow_policy)
    return [(pattern, str(parse_scalar(setting, policy, "slow_policy"))) for pattern, policy in table]


def flush_intervals(config: Config) -> list[tuple[str | None, float]]:
    """Return flush_interval as (pattern or None, seconds)."""
    setting = SETTINGS["flush_interval"]
    table = _table(setting, config.flush_interval)
    return [(pattern, float(parse_scalar(setting, text, "flush_interval")) / 1000) for pattern, text in table]


def priorities(config: Config) -> list[tuple[str | None, str | None]]:
    """Return priority as (pattern or None, high or low, or None for the usual priority)."""
    setting = SETTINGS["priority"]
    table = _table(setting, config.priority)
    texts = [(pattern, str(parse_scalar(setting, text, "priority"))) for pattern, text in table]
    return [(pattern, None if text == "off" else text) for pattern, text in texts]


def history_rules(config: Config) -> list[tuple[str | None, tuple[int, float] | None]]:
    """Return history as (pattern or None, (count, seconds) or None for no history)."""
    return [(pattern, _history_rule(text)) for pattern, text in _table(SETTINGS["history"], config.history)]


def _history_rule(text: str) -> tuple[int, float] | None:
    if text == "off":
        return None
    count, _, seconds = text.partition("/")
    try:
        rule = (int(count), float(seconds))
    except ValueError:
        rule = (0, 0.0)
    if not (rule[0] >= 1 and 0 < rule[1] <= MAX_HISTORY_SECONDS):
        raise ConfigError(
            f"history: must be COUNT/SECONDS such as 100/300 (at least 1; at most {MAX_HISTORY_SECONDS:g} seconds) "
            f"or off, not {text!r}"
        )
    return rule


def presence_modes(config: Config) -> list[tuple[str | None, PresenceMode | None]]:
    """Return presence as (pattern or None, what such channels show or None for no presence)."""
    return [_presence_mode(entry) for entry in config.presence]


def _presence_mode(entry: str) -> tuple[str | None, PresenceMode | None]:
    pattern, equals, value = entry.rpartition("=")
    if not equals and value not in ("count", "off"):
        pattern, value = value, "members"
    elif value not in ("count", "off") or (equals and not pattern):
        raise ConfigError(f"presence: must be PATTERN, PATTERN=count or PATTERN=off, not {entry!r}")
    if pattern:
        compile_pattern(pattern)
    modes: dict[str, PresenceMode | None] = {"members": "members", "count": "count", "off": None}
    return pattern or None, modes[value]


def presence_intervals(config: Config) -> list[tuple[str | None, float | None]]:
    """Return presence_updates as (pattern or None, seconds or None for no updates)."""
    setting = SETTINGS["presence_updates"]
    table = _table(setting, config.presence_updates)
    return [
        (pattern, None if text == "off" else float(parse_scalar(setting, text, "presence_updates")))
        for pattern, text in table
    ]


def _check_presence(config: Config) -> None:
    is_wanted = any(seconds is not None for _, seconds in presence_intervals(config))
    if is_wanted and not any(mode for _, mode in presence_modes(config)):
        raise ConfigError("presence_updates: needs presence; set presence to the same patterns")


def host_and_port(address: str) -> tuple[str, int]:
    """Return metrics_address as a host (without brackets) and a port."""
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare and bare == host) or not _is_port(port):
        raise ConfigError(f"metrics_address: must be HOST:PORT, for example 127.0.0.1:9100, not {address!r}")
    return bare, int(port)


def _is_port(text: str) -> bool:
    return text.isdecimal() and is_allowed(SETTINGS["port"], int(text))


def _table(setting: Setting, entries: Sequence[str]) -> list[tuple[str | None, str]]:
    table: list[tuple[str | None, str]] = []
    for entry in entries:
        pattern, equals, value = entry.rpartition("=")
        if equals and not pattern:
            raise ConfigError(f"{setting.name}: must be {setting.metavar}, not {entry!r}")
        if equals and pattern != "default":
            compile_pattern(pattern)
            table.append((pattern, value))
        else:
            table.append((None, value))
    return table


# The settings that a check reads, and the check.
_CHECKS: Final[tuple[tuple[tuple[str, ...], Callable[[Config], object]], ...]] = (
    (("slow_policy",), slow_policies),
    (("flush_interval",), flush_intervals),
    (("priority",), priorities),
    (("history",), history_rules),
    (("presence",), presence_modes),
    (("presence_updates",), presence_intervals),
    (("presence", "presence_updates"), _check_presence),
    (("metrics_address",), _check_metrics_address),
    (("public_url",), public_host),
    (("aws_credentials",), _check_aws_credentials),
    (("webhooks", "webhook_secret", "webhook_channels"), _check_webhooks),
    (PUSHER_SETTINGS, pusher_apps),
    (("workspace_channel",), _check_workspace_channel),
    (("tls_cert", "tls_key"), _check_tls),
    (("workers", "redis_url"), _check_workers),
    (("ping_interval", "idle_timeout"), _check_timeouts),
)
