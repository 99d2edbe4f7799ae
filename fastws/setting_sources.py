"""Reads settings from the environment, from files with secrets, and from a TOML file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from fastws.config import SETTINGS
from fastws.errors import ConfigError
from fastws.mistakes import Mistakes
from fastws.secret_file import FILE_SUFFIX, secret_from_file
from fastws.setting_definition import Setting
from fastws.setting_values import parse

PREFIX: Final = "FASTWS_"
# Read where the FASTWS_ variable is not set.
_OTHER_VARIABLES: Final = (("REDIS_URL", "redis_url"), ("ENABLE_REALTIME", "enable_realtime"))
# Before APP_ID, APP_KEY and APP_SECRET, in Laravel's .env and in that of Soketi.
_PUSHER_PREFIXES: Final = ("PUSHER_", "REVERB_", "SOKETI_DEFAULT_")
_PUSHER_PARTS: Final = ("APP_ID", "APP_KEY", "APP_SECRET")
# Variables of backends and of the load test, which the server does not read.
_NOT_SETTINGS: Final = re.compile(r"FASTWS_(?:URL|LOAD_\w+)")
# Kubernetes sets these for a Service named fastws (or fastws-…), unless enableServiceLinks is false.
_SERVICE_LINK: Final = re.compile(r"FASTWS_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT\w*|PORT(?:_\d+_\w+)?)")
_SERVICE_LINK_REMEDY: Final = (
    "Kubernetes sets it for a Service named fastws: set `enableServiceLinks: false` in the pod, or rename the Service"
)


def from_toml(path: Path, mistakes: Mistakes) -> dict[str, object]:
    """Return the settings in a TOML file. Collects a mistake for each unknown name and unusable value."""
    values: dict[str, object] = {}
    document: dict[str, object] = {}
    with mistakes.collect():
        document = _read_toml(path)
    for name, value in document.items():
        with mistakes.collect(name):
            if name not in SETTINGS:
                raise ConfigError(f"{path}: {name}: unknown setting{suggestion(name, SETTINGS)}")
            values[name] = parse(SETTINGS[name], value, f"{path}: {name}")
    return values


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the file: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def from_environment(environment: Mapping[str, str], mistakes: Mistakes) -> dict[str, object]:
    """Return the settings in `environment`. An empty variable counts as not set: compose sets those that are unset."""
    given = {name: value for name, value in environment.items() if value.strip()}
    values: dict[str, object] = {}
    variables = [(f"{PREFIX}{name.upper()}", name) for name in SETTINGS]
    for variable, name in (*variables, *_OTHER_VARIABLES):
        if name in values or name in mistakes.settings:
            continue
        with mistakes.collect(name):
            ours = f"{PREFIX}{name.upper()}"
            secret = secret_from_file(given, ours) if SETTINGS[name].is_secret else None
            if secret is not None:
                values[name] = _from_secret_file(SETTINGS[name], secret, ours + FILE_SUFFIX)
            elif variable in given:
                values[name] = _from_variable(SETTINGS[name], given[variable], variable)
    if "pusher_apps" not in values and "pusher_apps" not in mistakes.settings:
        with mistakes.collect("pusher_apps"):
            values |= _pusher_app(given)
    return values


def _pusher_app(given: Mapping[str, str]) -> dict[str, object]:
    """Return the app that the variables of another server name; nothing unless all three of one are there."""
    for prefix in _PUSHER_PREFIXES:
        parts = [given.get(prefix + part, "").strip() for part in _PUSHER_PARTS]
        if all(parts):
            return {"pusher_apps": parse(SETTINGS["pusher_apps"], [":".join(parts)], f"{prefix}APP_ID, _KEY, _SECRET")}
    return {}


def _from_variable(setting: Setting, value: str, variable: str) -> object:
    try:
        return parse(setting, value, variable)
    except ConfigError as error:
        if value.startswith("tcp://") and _SERVICE_LINK.fullmatch(variable):
            raise ConfigError(f"{error.message}; {_SERVICE_LINK_REMEDY}") from None
        raise


def _from_secret_file(setting: Setting, text: str, variable: str) -> object:
    """Return the value in a file, lists one entry per line."""
    return parse(setting, text.replace("\n", ",") if setting.is_list else text, variable)


def environment_warnings(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return a sentence about each variable that begins with FASTWS_ and is not a setting."""
    known = {f"{PREFIX}{name.upper()}" for name in SETTINGS}
    known |= {f"{PREFIX}{name.upper()}{FILE_SUFFIX}" for name, setting in SETTINGS.items() if setting.is_secret}
    unknown = [
        name
        for name in sorted(environment)
        if name.startswith(PREFIX) and name not in known and not _NOT_SETTINGS.fullmatch(name)
    ]
    links = [name for name in unknown if _SERVICE_LINK.fullmatch(name)]
    warnings = [f"{name}: unknown variable, ignored{suggestion(name, known)}" for name in unknown if name not in links]
    if links:
        warnings.append(f"{links[0]}: ignored; {_SERVICE_LINK_REMEDY}")
    return tuple(warnings)


def suggestion(name: str, known: Collection[str]) -> str:
    """Return "; did you mean …?" with the known name that is most similar to `name`, if any is."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
