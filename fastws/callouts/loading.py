"""Loads the function, or checks the URL, that a setting such as `authorizer` names."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from fastws.errors import ConfigError


def is_url(where: str) -> bool:
    """Whether `where` is the URL of an HTTP callback and not the name of a function."""
    return where.startswith(("http://", "https://"))


def check_loads(where: str | None, *, setting: str) -> None:
    """Raise ConfigError, which names `setting`, unless `where` is None, a URL with a host, or a function."""
    if where is None:
        return
    if not is_url(where):
        load_function(where, setting=setting)
        return
    try:
        url = urlsplit(where)
        has_host = url.hostname is not None and url.port != 0
    except ValueError as error:
        raise ConfigError(f"{setting}: not a valid URL: {error}") from None
    if not has_host:
        raise ConfigError(f"{setting}: the URL must have a host, for example http://127.0.0.1:5000/path")


def load_function(where: str, *, setting: str) -> Callable[..., Any]:
    """Load the function "package.module:function". Raises ConfigError that names `setting` and what is missing."""
    module_name, colon, path = where.partition(":")
    if not colon or not module_name or not path:
        raise ConfigError(f"{setting}: must be package.module:function or an http(s) URL, not {where!r}")
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{setting}: cannot import {module_name!r}: {error}") from None
    for name in path.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        raise ConfigError(f"{setting}: module {module_name!r} has no function {path!r}")
    function: Callable[..., Any] = found
    return function


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling `function` returns an awaitable: a coroutine function, or an object with an async `__call__`."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
