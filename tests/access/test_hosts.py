"""DNS rebinding: only the hosts of the allow-list are served."""

from __future__ import annotations

import pytest

from fastws.access.hosts import AllowedHosts, scrape_hosts
from fastws.config import Config
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


def test_a_host_of_any_length_is_matched_in_linear_time() -> None:
    """A Host arrives before any token: with backtracking between the wildcards this would take minutes."""
    hosts = AllowedHosts(["*." * 12 + "example.com"])
    assert hosts.allows("a." * 12 + "example.com:8000")
    assert not hosts.allows("a." * 11 + "example.com")
    for size in (300, 16_000):
        assert not hosts.allows("a." * (size // 2))
    assert not hosts.allows("a." * 200 + "example.com")


def test_a_star_serves_every_host() -> None:
    assert AllowedHosts(["*"]).allows("evil.example")
    assert AllowedHosts(["*"]).allows(None)


def test_an_empty_list_serves_nobody() -> None:
    assert not AllowedHosts([]).allows("live.example")


@pytest.mark.parametrize("entry", ["https://a.example", "a.example/b", "a.example:x", "", "a b"])
def test_an_entry_that_is_no_host_is_named(entry: str) -> None:
    with pytest.raises(ConfigError, match="allowed_hosts"):
        AllowedHosts([entry])


LOOPBACK_HOSTS = [
    "localhost",
    "localhost:8000",
    "app.localhost",
    "127.0.0.1:8000",
    "127.8.0.1",
    "[::1]:8000",
    "LOCALHOST.",
]
OTHER_HOSTS = [
    None,
    "",
    "rebound.example:8000",
    "localhost.evil.example",
    "10.0.0.5:8000",
    "a" * 16_000,
    "127.0.0.1.evil",
]


@pytest.mark.parametrize("bound_to", ["127.0.0.1", "localhost", "::1"])
def test_on_loopback_with_nothing_set_only_names_of_this_machine_are_served(bound_to: str) -> None:
    """A page whose name is rebound to 127.0.0.1 could otherwise read /metrics and GET /@connections."""
    hosts = AllowedHosts.of(Config(host=bound_to))
    assert not hosts.is_open
    assert all(hosts.allows(host) for host in LOOPBACK_HOSTS)
    assert not any(hosts.allows(host) for host in OTHER_HOSTS)


@pytest.mark.parametrize(
    "config",
    [
        Config(host="0.0.0.0"),
        Config(trusted_proxies=("127.0.0.1",)),
        Config(unix_socket="/run/fastws.sock"),
        Config(allowed_hosts=("*",)),
    ],
)
def test_elsewhere_every_host_is_served(config: Config) -> None:
    assert AllowedHosts.of(config).is_open


def test_the_host_of_public_url_is_our_own() -> None:
    hosts = AllowedHosts.of(Config(public_url="https://live.example:8443"))
    assert hosts.allows("live.example:8443")
    assert hosts.allows("localhost")
    assert not hosts.allows("rebound.example")


def test_hosts_that_are_set_replace_the_names_of_this_machine() -> None:
    hosts = AllowedHosts.of(Config(allowed_hosts=("live.example",)))
    assert hosts.allows("live.example")
    assert not hosts.allows("localhost")


def test_a_metrics_address_on_loopback_is_for_names_of_this_machine() -> None:
    hosts = scrape_hosts(Config(host="0.0.0.0", metrics_address="127.0.0.1:9100", allowed_hosts=("live.example",)))
    assert hosts.allows("localhost:9100")
    assert hosts.allows("live.example")
    assert not hosts.allows("rebound.example:9100")
    assert scrape_hosts(Config(metrics_address="0.0.0.0:9100")).is_open
