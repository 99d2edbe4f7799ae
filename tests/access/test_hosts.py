"""DNS rebinding: only the hosts of the allow-list are served."""

from __future__ import annotations

import pytest

from fastws.access.hosts import AllowedHosts
from fastws.errors import ConfigError

HOSTS = AllowedHosts(["live.example", "*.wild.example", "port.example:8443", "[::1]", "192.0.2.1"])


@pytest.mark.parametrize(
    "host",
    [
        "live.example",
        "LIVE.example",
        "live.example.",
        "live.example:8000",
        "a.wild.example",
        "a.b.wild.example:80",
        "port.example:8443",
        "[::1]:8000",
        "192.0.2.1",
    ],
)
def test_a_listed_host_is_served(host: str) -> None:
    assert HOSTS.allows(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "live.example.evil",
        "evillive.example",
        "live.example:8000:1",
        "live.example:x",
        "evil/.wild.example",
        "wild.example",
        "port.example",
        "port.example:8444",
        "[::2]",
        "192.0.2.12",
        "live.example\n",
    ],
)
def test_any_other_is_not(host: str | None) -> None:
    assert not HOSTS.allows(host)


def test_a_star_serves_every_host() -> None:
    assert AllowedHosts(["*"]).allows("evil.example")
    assert AllowedHosts(["*"]).allows(None)


def test_an_empty_list_serves_nobody() -> None:
    assert not AllowedHosts([]).allows("live.example")


@pytest.mark.parametrize("entry", ["https://a.example", "a.example/b", "a.example:x", "", "a b"])
def test_an_entry_that_is_no_host_is_named(entry: str) -> None:
    with pytest.raises(ConfigError, match="allowed_hosts"):
        AllowedHosts([entry])
