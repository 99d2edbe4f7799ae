"""Cross-site WebSocket hijacking: only the origins of the allow-list connect."""

from __future__ import annotations

import pytest

from fastws.access.origins import AllowedOrigins
from fastws.errors import ConfigError

GOOD = AllowedOrigins(
    ["https://good.example", "https://*.wild.example", "http://localhost:*", "https://p.example:8443"]
)


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "https://good.example",
        "https://a.wild.example",
        "https://a.b.wild.example",
        "http://localhost:3000",
        "https://p.example:8443",
    ],
)
def test_a_listed_origin_connects(origin: str | None) -> None:
    assert GOOD.allows(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "evil",
        "https://evil.example",
        "https://good.example.evil",
        "https://evilgood.example",
        "https://good.exampl",
        "https://good.example:444",
        "https://good.example:",
        "https://good.example/",
        "http://good.example",
        "HTTPS://GOOD.EXAMPLE",
        "https://Good.example",
        "https://good.example, https://evil.example",
        "https://evil.example, https://good.example",
        "https://good.example@evil.example",
        "https://wild.example",
        "https://.wild.example.evil",
        "https://evil/.wild.example",
        "https://evil@a.wild.example",
        "https://evil, https://a.wild.example",
        "https://evil#.wild.example",
        "https://evil\\.wild.example",
        "http://a.wild.example",
        "https://a.wild.example:8443",
        "http://localhost",
        "http://localhost:3000/x",
        "https://p.example",
        "https://good.example\n",
    ],
)
def test_any_other_does_not(origin: str) -> None:
    assert not GOOD.allows(origin)


def test_a_star_alone_lets_everyone_in() -> None:
    assert AllowedOrigins(["*"]).allows("https://evil.example")
    assert AllowedOrigins(["*"]).allows("null")


def test_null_is_allowed_only_by_name() -> None:
    assert AllowedOrigins(["null"]).allows("null")


def test_an_empty_list_leaves_only_clients_without_an_origin() -> None:
    assert AllowedOrigins([]).allows(None)
    assert not AllowedOrigins([]).allows("https://good.example")


@pytest.mark.parametrize(
    "entry",
    ["https://Good.Example", "https://good.example/", "https://good.example:443", "HTTPS://good.example:443/"],
)
def test_an_entry_means_the_origin_that_a_browser_writes(entry: str) -> None:
    assert AllowedOrigins([entry]).allows("https://good.example")


@pytest.mark.parametrize("entry", ["good.example", "https://", "https://a/b", "https://a b", "*.example.com", ""])
def test_an_entry_that_is_no_origin_is_named(entry: str) -> None:
    with pytest.raises(ConfigError, match="allowed_origins"):
        AllowedOrigins([entry])
