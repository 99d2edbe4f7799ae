"""X-Forwarded-For is believed from trusted proxies only, and from the right only."""

from __future__ import annotations

import pytest

from fastws.access.proxies import TrustedProxies
from fastws.errors import ConfigError

PROXIES = TrustedProxies(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("10.1.1.1", None, "10.1.1.1"),
        ("10.1.1.1", "", "10.1.1.1"),
        ("10.1.1.1", "198.51.100.1", "198.51.100.1"),
        ("10.1.1.1", " 198.51.100.1 ", "198.51.100.1"),
        # A client writes what it likes on the left; the proxy appends whom it saw.
        ("10.1.1.1", "127.0.0.1, 198.51.100.1", "198.51.100.1"),
        ("10.1.1.1", "203.0.113.1, 198.51.100.1, 10.2.2.2, 192.0.2.7", "198.51.100.1"),
        # Everybody is a proxy: the farthest is the client.
        ("10.1.1.1", "10.3.3.3, 10.2.2.2", "10.3.3.3"),
        ("::ffff:10.1.1.1", "198.51.100.1", "198.51.100.1"),
        ("2001:db8::1", "2001:db9::1", "2001:db9::1"),
        ("10.1.1.1", "[2001:db9::1]:4711", "2001:db9::1"),
        ("10.1.1.1", "198.51.100.1:4711", "198.51.100.1"),
        # What is no address ends the way at the proxy that wrote it.
        ("10.1.1.1", "198.51.100.1, unknown", "10.1.1.1"),
        ("10.1.1.1", "198.51.100.1, evil, 10.2.2.2", "10.2.2.2"),
        ("10.1.1.1", "198.51.100.1,", "10.1.1.1"),
        # Not a proxy: its word is worth nothing.
        ("198.51.100.9", "127.0.0.1", "198.51.100.9"),
        ("192.0.2.8", "127.0.0.1", "192.0.2.8"),
        ("unix", "127.0.0.1", "unix"),
    ],
)
def test_the_client_is_the_rightmost_address_that_no_proxy_has(
    peer: str, forwarded_for: str | None, client: str
) -> None:
    assert PROXIES.client_address(peer, forwarded_for) == client


def test_a_chain_without_end_is_not_followed() -> None:
    chain = ", ".join(["198.51.100.1"] + ["10.2.2.2"] * 5000)
    assert PROXIES.client_address("10.1.1.1", chain) == "10.2.2.2"


def test_the_unix_socket_is_a_proxy_where_the_setting_says_so() -> None:
    assert TrustedProxies(["unix"]).client_address("unix", "198.51.100.1") == "198.51.100.1"


def test_without_proxies_nobody_is_believed() -> None:
    assert not TrustedProxies([])
    assert TrustedProxies(["unix"])
    assert PROXIES
    assert TrustedProxies([]).client_address("127.0.0.1", "198.51.100.1") == "127.0.0.1"


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "proxy.example", "10.0.0.1/8", "", "*"])
def test_an_entry_that_is_no_network_is_named(entry: str) -> None:
    with pytest.raises(ConfigError, match="trusted_proxies"):
        TrustedProxies([entry])
