"""Reading settings from flags, environment and TOML file, in this order of precedence, and checking them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Final

from fastws.config import SETTINGS, Config
from fastws.errors import ConfigError
from fastws.setting_definition import Setting
from fastws.vocabulary.channels import compile_pattern

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
# Read where the FASTWS_ variable is not set.
_OTHER_VARIABLES: Final = (("REDIS_URL", "redis_url"), ("ENABLE_REALTIME", "enable_realtime"))


def load(
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    file: str | Path | None = None,
) -> Config:
    """Return the checked Config of these sources. Raises ConfigError, one line that names the setting."""
    values: dict[str, object] = {}
    if file is not None:
        values.update(_from_file(Path(file)))
    values.update(_from_environment(environment or {}))
    for name, value in (flags or {}).items():
        if value is not None:
            values[name] = _parse(SETTINGS[name], value, f"--{name.replace('_', '-')}")
    return _checked(values)


def load_config(file: str | Path | None = None, **settings: object) -> Config:
    """Return the Config for an application that embeds the server: `settings` over FASTWS_… variables over `file`.

    A setting that is None counts as not given. Raises ConfigError, one line that names the setting.
    """
    for name in settings:
        if name not in SETTINGS:
            raise ConfigError(f"{name}: unknown setting{_suggestion(name)}")
    given = {name: value for name, value in settings.items() if value is not None}
    values = {} if file is None else _from_file(Path(file))
    values |= _from_environment(os.environ)
    values |= {name: _parse(SETTINGS[name], value, name) for name, value in given.items()}
    return _checked(values)


def _checked(values: Mapping[str, object]) -> Config:
    config = Config(**values)  # type: ignore[arg-type] # every value went through its setting's parser
    check(config)
    return config


def _from_file(path: Path) -> dict[str, object]:
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the file: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    values = {}
    for name, value in document.items():
        if name not in SETTINGS:
            raise ConfigError(f"{path}: {name}: unknown setting{_suggestion(name)}")
        values[name] = _parse(SETTINGS[name], value, f"{path}: {name}")
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    variables = [(f"FASTWS_{name.upper()}", name) for name in SETTINGS]
    values: dict[str, object] = {}
    for variable, name in (*variables, *_OTHER_VARIABLES):
        if name not in values and variable in environment:
            values[name] = _parse(SETTINGS[name], environment[variable], variable)
    return values


def _suggestion(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, SETTINGS, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _parse(setting: Setting, value: object, where: str) -> object:
    """Return `value` as the setting's type. `where` names the source in errors."""
    return _parse_list(setting, value, where) if setting.is_list else _parse_scalar(setting, value, where)


def _parse_list(setting: Setting, value: object, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, Mapping) and setting.kind in ("pattern table", "path table"):
        value = [f"{key}={item}" for key, item in value.items()]
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = [str(value)]
    if not isinstance(value, Sequence) or not all(isinstance(item, str | int | float) for item in value):
        raise ConfigError(f"{where}: must be a list of strings{_but_not(setting, value)}")
    return tuple(text for item in value if (text := str(item).strip()))


def _parse_scalar(setting: Setting, value: object, where: str) -> bool | int | float | str:
    """Return `value` as the setting's scalar type, within its range and choices. Raises ConfigError."""
    parsed: bool | int | float | str | None
    if setting.scalar is bool:
        parsed = _to_bool(value)
    elif setting.scalar is str:
        parsed = value if isinstance(value, str) else None
    else:
        parsed = _to_number(value, int if setting.scalar is int else float)
    if parsed is None or not _is_allowed(setting, parsed):
        raise ConfigError(f"{where}: must be {setting.expected}{_but_not(setting, value)}")
    return parsed


def _to_bool(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    return word in _TRUE if word in _TRUE | _FALSE else None


def _to_number(value: object, kind: type[int] | type[float]) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | str | kind):
        return None
    try:
        number = kind(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def _is_allowed(setting: Setting, value: object) -> bool:
    if setting.choices:
        return value in setting.choices
    if not isinstance(value, int | float):
        return True
    is_too_small = setting.minimum is not None and value < setting.minimum
    is_too_large = setting.maximum is not None and value > setting.maximum
    return not is_too_small and not is_too_large


def _but_not(setting: Setting, value: object) -> str:
    """The wrong value, for the end of an error; nothing for secrets."""
    return "" if setting.is_secret else f", not {value!r}"


def check(config: Config) -> None:
    """Raise ConfigError for values and combinations that cannot work."""
    for setting in SETTINGS.values():
        _check_value(setting, getattr(config, setting.name))
    slow_policies(config)
    flush_intervals(config)
    if config.metrics_address is not None:
        host_and_port(config.metrics_address)
    for pair in config.aws_credentials:
        if not all(pair.partition(":")[::2]):
            raise ConfigError("aws_credentials: each entry must have the form KEY_ID:SECRET")
    if "{workspace_id}" not in config.workspace_channel or config.workspace_channel == "{workspace_id}":
        raise ConfigError(
            f"workspace_channel: must be {{workspace_id}} with a prefix or suffix, not {config.workspace_channel!r}"
        )
    _check_combinations(config)


def _check_value(setting: Setting, value: object) -> None:
    """Check a value that may not have been read by `load`: applications and tests create a Config directly."""
    if setting.is_list:
        if isinstance(value, str):
            # Each character would count as one entry: of a broadcast_key, as a key.
            raise ConfigError(f"{setting.name}: must be a tuple of strings, not one string")
    elif value != setting.default:
        _parse_scalar(setting, value, setting.name)


def _check_combinations(config: Config) -> None:
    if (config.tls_cert is None) != (config.tls_key is None):
        missing, given = ("tls_key", "tls_cert") if config.tls_key is None else ("tls_cert", "tls_key")
        raise ConfigError(f"{missing}: must be set together with {given}")
    if config.workers > 1 and config.redis_url is None:
        raise ConfigError(
            f"workers: {config.workers} processes need Redis to exchange messages: set --redis-url embedded to let "
            "fastws start one, or start one (apt install redis-server, or docker run -p 6379:6379 redis:7) and set "
            "--redis-url redis://127.0.0.1:6379"
        )
    if 0 < config.idle_timeout < config.ping_interval:
        raise ConfigError(
            f"idle_timeout: must be at least ping_interval ({config.ping_interval:g} s), not {config.idle_timeout:g} s"
        )


def slow_policies(config: Config) -> list[tuple[str | None, str]]:
    """Return slow_policy as (pattern or None, policy)."""
    setting = SETTINGS["slow_policy"]
    table = _table(setting, config.slow_policy)
    return [(pattern, str(_parse_scalar(setting, policy, "slow_policy"))) for pattern, policy in table]


def flush_intervals(config: Config) -> list[tuple[str | None, float]]:
    """Return flush_interval as (pattern or None, seconds)."""
    setting = SETTINGS["flush_interval"]
    table = _table(setting, config.flush_interval)
    return [(pattern, float(_parse_scalar(setting, text, "flush_interval")) / 1000) for pattern, text in table]


def host_and_port(address: str) -> tuple[str, int]:
    """Return metrics_address as a host (without brackets) and a port."""
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare and bare == host) or not _is_port(port):
        raise ConfigError(f"metrics_address: must be HOST:PORT, for example 127.0.0.1:9100, not {address!r}")
    return bare, int(port)


def _is_port(text: str) -> bool:
    return text.isdecimal() and _is_allowed(SETTINGS["port"], int(text))


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
