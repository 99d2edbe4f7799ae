"""Cross-site WebSocket hijacking: only the origins of the allow-list connect."""

from __future__ import annotations

import pytest

from fastws.access.origins import AllowedOrigins
from fastws.config import Config
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


@pytest.mark.parametrize("entry", ["file://", "FILE:///", "content://"])
def test_an_origin_without_a_host_is_taken_literally(entry: str) -> None:
    """Electron and Cordova send `file://`, Android's web views `content://`."""
    origins, scheme = AllowedOrigins([entry]), entry.lower().rstrip("/")
    assert origins.allows(f"{scheme}//")
    for other in ("null", "https://good.example", f"{scheme}//a", f"{scheme}///", "http://"):
        assert not origins.allows(other)


@pytest.mark.parametrize(
    ("entry", "origin", "allowed"),
    [
        ("https://*.*.example.com", "https://a.b.example.com", True),
        ("https://*.*.example.com", "https://a.b.c.example.com", True),
        ("https://*.*.example.com", "https://b.example.com", False),
        ("https://*-dev.*.example.com", "https://a-dev.b-dev.c.example.com", True),
        ("https://*-dev.*.example.com", "https://a-dev.example.com", False),
        ("https://*.example.com:*", "https://a.example.com:8443", True),
        ("https://*.example.com:*", "https://a.example.com", False),
        ("https://*.example.com:*", "https://a.example.com:8443x", False),
        ("http://[::1]:*", "http://[::1]:3000", True),
        ("http://[::1]:*", "http://[::2]:3000", False),
    ],
)
def test_several_wildcards_match_at_least_one_character_each(entry: str, origin: str, allowed: bool) -> None:
    assert AllowedOrigins([entry]).allows(origin) is allowed


def test_an_origin_of_any_length_is_matched_in_linear_time() -> None:
    """An Origin arrives before any token: with backtracking between the wildcards this would take minutes."""
    origins = AllowedOrigins(["https://" + "*." * 12 + "example.com", "http://*a*a*a*a*a*a*a*a.example:*"])
    for size in (300, 16_000):
        assert not origins.allows("https://" + "a." * (size // 2))
        assert not origins.allows("http://" + "a" * size)
    assert not origins.allows("https://" + "a." * 200 + "example.com")


@pytest.mark.parametrize(
    "entry", ["good.example", "https://", "wss:///", "://", "file:/", "https://a/b", "https://a b", "*.example.com", ""]
)
def test_an_entry_that_is_no_origin_is_named(entry: str) -> None:
    with pytest.raises(ConfigError, match="allowed_origins"):
        AllowedOrigins([entry])


LOOPBACK_ORIGINS = [
    None,
    "http://localhost:5173",
    "https://localhost",
    "http://app.localhost:3000",
    "http://127.0.0.1:8000",
    "http://[::1]:8000",
    "capacitor://localhost",
]
OTHER_ORIGINS = [
    "",
    "null",
    "file://",
    "https://evil.example",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example:8000",
    "http://localhost@evil.example",
    "http://evil.example/localhost",
    "http://evil.example, http://localhost",
    "localhost",
    "http://" + "a" * 16_000,
]


def test_on_loopback_with_nothing_set_only_pages_of_this_machine_connect() -> None:
    origins = AllowedOrigins.of(Config())
    assert not origins.is_open
    assert all(origins.allows(origin) for origin in LOOPBACK_ORIGINS)
    assert [origin for origin in OTHER_ORIGINS if origins.allows(origin)] == []


@pytest.mark.parametrize(
    "config",
    [
        Config(host="0.0.0.0"),
        Config(trusted_proxies=("127.0.0.1",)),
        Config(unix_socket="/run/fastws.sock"),
        Config(allowed_origins=("*",)),
    ],
)
def test_elsewhere_every_page_may_connect(config: Config) -> None:
    assert AllowedOrigins.of(config).is_open


@pytest.mark.parametrize("scheme", ["https", "wss", "http"])
def test_pages_of_public_url_are_our_own(scheme: str) -> None:
    origins = AllowedOrigins.of(Config(public_url=f"{scheme}://live.example"))
    assert origins.allows("https://live.example")
    assert origins.allows("http://localhost:5173")
    assert not origins.allows("https://evil.example")


def test_origins_that_are_set_replace_those_of_this_machine() -> None:
    origins = AllowedOrigins.of(Config(allowed_origins=("https://good.example",)))
    assert origins.allows("https://good.example")
    assert not origins.allows("http://localhost:5173")
