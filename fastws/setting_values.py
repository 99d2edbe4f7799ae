"""Parses the value of a setting: text of a flag or a variable, or a value of a TOML file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Final

from fastws.errors import ConfigError
from fastws.setting_definition import Setting

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
# Secrets of examples: alone, after the id of a pair, or as the password in a URL.
_PLACEHOLDER: Final = re.compile(r"(?:^|:)change-?me", re.IGNORECASE)


def parse(setting: Setting, value: object, where: str) -> object:
    """Return `value` as the setting's type. `where` names the source in errors. Raises ConfigError."""
    if setting.kind == "url list":
        return _parse_urls(setting, value, where)
    return _parse_list(setting, value, where) if setting.is_list else parse_scalar(setting, value, where)


def _parse_urls(setting: Setting, value: object, where: str) -> str:
    if isinstance(value, list | tuple):
        if not value or not all(isinstance(item, str) and item.strip() for item in value):
            raise ConfigError(f"{where}: must be a URL or a list of URLs, none of them empty")
        value = ",".join(value)
    return str(parse_scalar(setting, value, where))


def _parse_list(setting: Setting, value: object, where: str) -> tuple[str, ...]:
    is_text = isinstance(value, str)
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, Mapping) and setting.kind in ("pattern table", "path table", "app table"):
        value = [f"{key}={_text(item)}" for key, item in value.items()]
    if isinstance(value, int | float) and (setting.kind == "app table" or not isinstance(value, bool)):
        value = [_text(value)]
    if not isinstance(value, Sequence) or not all(isinstance(item, str | int | float) for item in value):
        raise ConfigError(f"{where}: must be a list of strings{_but_not(setting, value)}")
    entries = tuple(text for item in value if (text := _text(item).strip()))
    if value and not entries:
        remedy = "leave it out" if is_text else "leave it out, or set [] in the TOML file"
        raise ConfigError(f"{where}: must not be empty; {remedy}")
    for entry in entries:
        check_secret(setting, entry, where)
    return entries


def _text(value: object) -> str:
    """Return a value of a TOML file as in the environment."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_scalar(setting: Setting, value: object, where: str) -> bool | int | float | str:
    """Return `value` as the setting's scalar type, within its range and choices. Raises ConfigError."""
    parsed: bool | int | float | str | None
    if setting.count is not None and value == "auto":
        return setting.count()
    if setting.scalar is bool:
        parsed = _to_bool(value)
    elif setting.scalar is str:
        parsed = value if isinstance(value, str) else None
    else:
        parsed = _to_number(value, int if setting.scalar is int else float)
    if parsed is None or not is_allowed(setting, parsed):
        raise ConfigError(f"{where}: must be {setting.expected}{_but_not(setting, value)}")
    if isinstance(parsed, str):
        if not parsed.strip() and not setting.may_be_empty:
            raise ConfigError(f"{where}: must not be empty; leave it out")
        check_secret(setting, parsed, where)
    return parsed


def check_secret(setting: Setting, text: str, where: str) -> None:
    """Raise ConfigError if a secret is the placeholder of an example, which anyone can look up."""
    if setting.is_secret and _PLACEHOLDER.search(text):
        raise ConfigError(
            f"{where}: must not be a placeholder (change-me…); generate a secret, for example with "
            "`openssl rand -base64 48`"
        )


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


def is_allowed(setting: Setting, value: object) -> bool:
    """Whether `value` is one of the setting's choices, or within its range."""
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
