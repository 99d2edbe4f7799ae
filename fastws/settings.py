"""Where settings come from: flag over environment over TOML file over default, all by config.py's definition."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import Field
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from fastws.config import SETTINGS, Config
from fastws.errors import ConfigError
from fastws.vocabulary.channels import compile_pattern

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
_HINTS: Final = get_type_hints(Config)
# name: (least, most); None = unbounded
_RANGES: Final[Mapping[str, tuple[float, float | None]]] = {
    "port": (0, 65535),
    "workers": (1, 512),
    "jwt_leeway": (0, 60),
    "authorizer_timeout": (0.01, 60),
    "max_connections": (0, None),
    "max_connections_per_user": (0, None),
    "max_connections_per_ip": (0, None),
    "max_channels_per_connection": (1, 100_000),
    "max_channels": (1, None),
    "max_message_bytes": (125, 1 << 30),
    "max_fragments": (1, None),
    "max_queue_messages": (1, None),
    "max_queue_bytes": (1, None),
    "ping_interval": (0, None),
    "idle_timeout": (0, None),
    "handshake_timeout": (0.1, 3600),
    "keep_alive_timeout": (0, 86_400),
    "message_rate": (0, None),
    "message_burst": (1, None),
    "broadcast_rate": (0, None),
    "connect_rate": (0, None),
    "drain_timeout": (0, 86_400),
    "compression_min_bytes": (0, None),
    "compression_level": (1, 9),
}


def load(
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    file: str | Path | None = None,
) -> Config:
    """The Config of these sources, checked. Raises ConfigError: one line that names the setting."""
    values: dict[str, object] = {}
    if file is not None:
        values.update(_from_file(Path(file)))
    values.update(_from_environment(environment or {}))
    for name, value in (flags or {}).items():
        if value is not None:
            values[name] = _parse(name, value, f"--{name.replace('_', '-')}")
    return _checked(values)


def load_config(file: str | Path | None = None, **settings: object) -> Config:
    """The Config of an application that embeds the server: `settings` over FASTWS_… in the environment over `file`.

    A setting that is None counts as not given. Raises ConfigError: one line that names the setting.
    """
    for name in settings:
        if name not in SETTINGS:
            raise ConfigError(f"{name}: there is no such setting{_suggestion(name)}")
    given = {name: value for name, value in settings.items() if value is not None}
    values = {} if file is None else _from_file(Path(file))
    values |= _from_environment(os.environ)
    values |= {name: _parse(name, value, name) for name, value in given.items()}
    return _checked(values)


def is_list(name: str) -> bool:
    """Whether a setting takes several values."""
    return "tuple" in str(_HINTS[name])


def _checked(values: Mapping[str, object]) -> Config:
    config = Config(**values)  # type: ignore[arg-type] # every value went through its setting's parser
    check(config)
    return config


def _from_file(path: Path) -> dict[str, object]:
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"--config: {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config: {path} is not valid TOML: {error}") from None
    values = {}
    for name, value in document.items():
        if name not in SETTINGS:
            raise ConfigError(f"{path}: unknown setting {name!r}{_suggestion(name)}")
        values[name] = _parse(name, value, f"{path}: {name}")
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    values = {}
    for name in SETTINGS:
        variable = f"FASTWS_{name.upper()}"
        if variable in environment:
            values[name] = _parse(name, environment[variable], variable)
    for variable, name in (("REDIS_URL", "redis_url"), ("ENABLE_REALTIME", "enable_realtime")):
        if name not in values and variable in environment:
            values[name] = _parse(name, environment[variable], variable)
    return values


def _suggestion(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, SETTINGS, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _parse(name: str, value: object, where: str) -> object:
    """`value` as the setting's type. `where` names the source in errors."""
    kind = _HINTS[name]
    if is_list(name):
        return _parse_list(value, where, SETTINGS[name])
    kinds = [k for k in get_args(kind) if k is not type(None)] or [kind]
    parser = {bool: _parse_bool, int: _parse_int, float: _parse_float, str: _parse_text}[kinds[0]]
    parsed = parser(value, where)
    choices: tuple[str, ...] = SETTINGS[name].metadata["choices"]
    if choices and parsed not in choices:
        raise ConfigError(f"{where}: {parsed!r} is none of {', '.join(choices)}")
    return parsed


def _parse_list(value: object, where: str, setting: Field[Any]) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, Mapping) and setting.metadata["kind"] in ("pattern table", "path table"):
        value = [f"{key}={item}" for key, item in value.items()]
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = [str(value)]
    if not isinstance(value, Sequence) or not all(isinstance(item, str | int | float) for item in value):
        raise ConfigError(f"{where}: a list of strings is needed")
    return tuple(text for item in value if (text := str(item).strip()))


def _parse_bool(value: object, where: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    raise ConfigError(f"{where}: {value!r} is neither true nor false")


def _parse_int(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ConfigError(f"{where}: {value!r} is no whole number")
    try:
        return int(value)
    except ValueError:
        raise ConfigError(f"{where}: {value!r} is no whole number") from None


def _parse_float(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ConfigError(f"{where}: {value!r} is no number")
    try:
        number = float(value)
    except ValueError:
        raise ConfigError(f"{where}: {value!r} is no number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise ConfigError(f"{where}: {value!r} is no finite number")
    return number


def _parse_text(value: object, where: str) -> str:
    if isinstance(value, str):
        return value
    raise ConfigError(f"{where}: {value!r} must be text in quotes")


def check(config: Config) -> None:
    """Raise ConfigError for values and combinations that cannot work."""
    for name in SETTINGS:
        if isinstance(getattr(config, name), str) and is_list(name):
            # Each character would count as one: of a broadcast_key, as a key.
            raise ConfigError(f"{name}: a tuple of strings is needed, not one string")
    for name, (least, most) in _RANGES.items():
        value = getattr(config, name)
        if value < least or (most is not None and value > most):
            bounds = f"{least} to {most}" if most is not None else f"{least} or more"
            raise ConfigError(f"{name}: {value} is out of range; it must be {bounds}")
    if (config.tls_cert is None) != (config.tls_key is None):
        missing = "tls_key" if config.tls_key is None else "tls_cert"
        raise ConfigError(f"{missing} is missing: TLS needs both tls_cert and tls_key")
    if config.workers > 1 and config.redis_url is None:
        raise ConfigError(
            f"workers: {config.workers} processes need a Redis that joins them; start one (apt install redis-server, "
            "or docker run -p 6379:6379 redis:7) and give --redis-url redis://127.0.0.1:6379; "
            "or let fastws start its own: --redis-url embedded"
        )
    if 0 < config.idle_timeout < config.ping_interval:
        raise ConfigError(
            f"idle_timeout: {config.idle_timeout:g} s is shorter than ping_interval ({config.ping_interval:g} s)"
        )
    if "{workspace_id}" not in config.workspace_channel or config.workspace_channel == "{workspace_id}":
        raise ConfigError("workspace_channel: it must contain {workspace_id} and a word beside it")
    slow_policies(config)
    flush_intervals(config)
    if config.metrics_address is not None:
        host_and_port(config.metrics_address)
    for pair in config.aws_credentials:
        if not all(pair.partition(":")[::2]):
            raise ConfigError("aws_credentials: each must be KEY_ID:SECRET")


def slow_policies(config: Config) -> list[tuple[str | None, str]]:
    """slow_policy as (pattern or None, policy)."""
    choices = SETTINGS["slow_policy"].metadata["choices"]
    table = _table("slow_policy", config.slow_policy)
    for _, policy in table:
        if policy not in choices:
            raise ConfigError(f"slow_policy: {policy!r} is none of {', '.join(choices)}")
    return table


def flush_intervals(config: Config) -> list[tuple[str | None, float]]:
    """flush_interval as (pattern or None, seconds)."""
    table = []
    for pattern, text in _table("flush_interval", config.flush_interval):
        milliseconds = _parse_float(text, "flush_interval")
        if not 0 <= milliseconds <= 60_000:
            raise ConfigError(f"flush_interval: {text} is out of range; it must be 0 to 60000 (milliseconds)")
        table.append((pattern, milliseconds / 1000))
    return table


def host_and_port(address: str) -> tuple[str, int]:
    """metrics_address as a host (without brackets) and a port."""
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare and bare == host) or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"metrics_address: {address!r} is no HOST:PORT such as 127.0.0.1:9100")
    return bare, int(port)


def _table(name: str, entries: Sequence[str]) -> list[tuple[str | None, str]]:
    table: list[tuple[str | None, str]] = []
    for entry in entries:
        pattern, equals, value = entry.rpartition("=")
        if equals and not pattern:
            raise ConfigError(f"{name}: {entry!r} is neither VALUE nor PATTERN=VALUE")
        if equals and pattern != "default":
            compile_pattern(pattern)
            table.append((pattern, value))
        else:
            table.append((None, value))
    return table
