"""Who counts as local: a direct peer on this machine, with nothing that hints at a proxy."""

from __future__ import annotations

import pytest

from fastws.access.local_peers import (
    FORWARDING_HEADERS,
    LocalPeers,
    is_anonymous_by_default,
    is_loopback,
    is_loopback_host,
)
from fastws.access.proxies import UNIX
from fastws.config import Config
from fastws.wire.request import Request


def request_with(is_proxied: bool = False, **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in {"host": "localhost:8000", **headers}.items()}
    return Request("GET", "/", "1.1", named, is_proxied=is_proxied)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_a_direct_peer_on_loopback_is_local(address: str) -> None:
    assert LocalPeers(Config()).includes(request_with(), address)


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "::2", "::ffff:192.0.2.1", "fe80::1%lo", "", UNIX])
def test_whoever_comes_from_elsewhere_is_not(address: str) -> None:
    assert not LocalPeers(Config()).includes(request_with(), address)


@pytest.mark.parametrize("allow_anonymous", [None, False, True])
def test_peers_on_the_unix_socket_are_local_only_where_allow_anonymous_is_set(allow_anonymous: bool | None) -> None:
    peers = LocalPeers(Config(unix_socket="/s", allow_anonymous=allow_anonymous))
    assert peers.includes(request_with(), UNIX) is (allow_anonymous is True)
    assert not peers.includes(request_with(via="1.1 a"), UNIX)
    assert not peers.includes(request_with(host="live.example"), UNIX)


@pytest.mark.parametrize(
    "name",
    [
        *sorted(FORWARDING_HEADERS),
        *(f"x-forwarded-{what}" for what in ("for", "host", "proto", "port", "prefix", "by")),
    ],
)
def test_a_forwarding_header_of_any_kind_makes_it_remote(name: str) -> None:
    for value in ("127.0.0.1", ""):
        assert not LocalPeers(Config()).includes(request_with(**{name.replace("-", "_"): value}), "127.0.0.1")


def test_other_headers_do_not() -> None:
    headers = {"user_agent": "x", "origin": "http://localhost", "x_request_id": "1", "x_requested_with": "y"}
    assert LocalPeers(Config()).includes(request_with(**headers), "127.0.0.1")


def test_the_names_that_every_guide_to_proxies_has_are_in_the_table() -> None:
    assert {"forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip", "x-client-ip"} <= FORWARDING_HEADERS
    assert all(name == name.lower() for name in FORWARDING_HEADERS)


def test_behind_trusted_proxies_and_the_proxy_protocol_nobody_is_local() -> None:
    for entry in ("127.0.0.1", "192.0.2.1", UNIX):
        assert not LocalPeers(Config(trusted_proxies=(entry,))).includes(request_with(), "127.0.0.1")
    assert not LocalPeers(Config(trusted_proxies=(UNIX,), allow_anonymous=True)).includes(request_with(), UNIX)
    assert not LocalPeers(Config()).includes(request_with(is_proxied=True), "127.0.0.1")


def test_a_request_without_a_host_is_not_local() -> None:
    assert not LocalPeers(Config()).includes(Request("GET", "/", "1.0", {}), "127.0.0.1")


LOOPBACK_HOSTS = (
    "localhost localhost:8000 LocalHost localhost. localhost.:80 app.localhost app.localhost:8000 a.b.localhost "
    "127.0.0.1 127.0.0.1:1 127.255.0.3 [::1] [::1]:8000 [::ffff:127.0.0.1] localhost:"
)
OTHER_HOSTS = (
    "ws.example.com ws.example.com:80 localhost.example.com notlocalhost localhost@example.com localhost:80:90 "
    "127.0.0.1.example.com 127.0.0.1%x 128.0.0.1 0.0.0.0 10.0.0.1 192.168.0.1:80 [::] [::2] [fe80::1] ::1 [::1 ::1] "
    "127.1 2130706433 0x7f.1 localhost:a localhost/a .. :80"
)


@pytest.mark.parametrize("host", LOOPBACK_HOSTS.split())
def test_loopback_names(host: str) -> None:
    assert is_loopback_host(host)
    assert LocalPeers(Config()).includes(request_with(host=host), "127.0.0.1")


@pytest.mark.parametrize("host", ["", " localhost", "localhost ", "localhost, a", *OTHER_HOSTS.split()])
def test_other_names(host: str) -> None:
    assert not is_loopback_host(host)
    assert not LocalPeers(Config()).includes(request_with(host=host), "127.0.0.1")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_loopback_addresses(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    assert is_anonymous_by_default(Config(host=host)) is loopback


def test_anonymous_use_is_off_by_default_where_a_proxy_may_stand_before_the_server() -> None:
    assert not is_anonymous_by_default(Config(unix_socket="/s"))
    assert not is_anonymous_by_default(Config(trusted_proxies=("127.0.0.1",)))
