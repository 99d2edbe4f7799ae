"""Functions and URLs that settings name."""

from __future__ import annotations

import os.path

import pytest

from fastws.callouts.loading import check_loads, is_async, is_url, load_function
from fastws.errors import ConfigError


def test_a_function_is_loaded_by_module_and_path() -> None:
    assert load_function("os.path:join", setting="authorizer") is os.path.join
    assert load_function("collections:OrderedDict.fromkeys", setting="authorizer")("a") == {"a": None}


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("os.path", r"authorizer: must be package\.module:function or an http\(s\) URL, not 'os\.path'"),
        (":join", "must be package"),
        ("os.path:", "must be package"),
        ("no_such_module:f", "authorizer: cannot import 'no_such_module'"),
        ("os.path:nothing", "authorizer: module 'os.path' has no function 'nothing'"),
        ("os.path:sep", "has no function 'sep'"),
        ("http://", "authorizer: the URL must have a host, for example http://"),
        ("http://host:0/", "the URL must have a host"),
        ("http://host:port/", "authorizer: not a valid URL"),
    ],
)
def test_an_invalid_name_or_url_is_an_error_that_names_the_setting(where: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        check_loads(where, setting="authorizer")


@pytest.mark.parametrize("where", [None, "os.path:join", "http://127.0.0.1:5000/path", "https://host"])
def test_valid_values_pass(where: str | None) -> None:
    check_loads(where, setting="authorizer")


def test_urls_are_distinguished_from_functions() -> None:
    assert is_url("https://host")
    assert not is_url("http:function")


def test_async_functions_and_objects_are_recognized() -> None:
    async def function() -> None: ...

    class Callable:
        async def __call__(self) -> None: ...

    assert is_async(function)
    assert is_async(Callable())
    assert not is_async(len)
