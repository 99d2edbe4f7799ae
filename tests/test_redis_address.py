"""URLs of a Redis, as redis-py reads them."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.connection import parse_url

from fastws.errors import ConfigError
from fastws.redis_address import parse_address

GOOD = [
    "redis://",
    "redis://localhost",
    "redis://localhost:6380/3",
    "redis://127.0.0.1:7000?db=5",
    "redis://127.0.0.1:7000/2?db=5",
    "redis://user:pass@cache.example:6379/0",
    "redis://:p%40ss%2Fw%3Ard@cache.example/1",
    "redis://[::1]:6379/0",
    "unix:///run/redis.sock",
    "unix:///run/redis.sock?db=4",
    "unix://user:pass@/run/redis.sock",
    "unix:///with%20space/redis.sock",
]


@pytest.mark.parametrize("url", GOOD)
def test_address_is_what_redis_py_reads(url: str) -> None:
    theirs, ours = parse_url(url), parse_address(url)
    assert ours.host == theirs.get("host", "localhost")
    assert ours.port == theirs.get("port", 6379)
    assert ours.path == theirs.get("path")
    assert ours.username == theirs.get("username")
    assert ours.password == theirs.get("password")
    assert ours.database == theirs.get("db", 0)
    assert ours.tls is None


def test_tls_checks_certificate_and_name_unless_told_otherwise() -> None:
    strict = parse_address("rediss://cache.example").tls
    assert strict is not None
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    no_name = parse_address("rediss://cache.example?ssl_check_hostname=false").tls
    assert no_name is not None
    assert (no_name.verify_mode, no_name.check_hostname) == (ssl.CERT_REQUIRED, False)
    lax = parse_address("rediss://cache.example?ssl_cert_reqs=none").tls
    assert lax is not None
    assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_NONE, False)


def test_protocol_3_is_for_those_who_ask() -> None:
    assert parse_address("redis://").protocol == 2
    assert parse_address("redis://?protocol=3").protocol == 3


def test_options_of_redis_pys_pool_have_no_effect() -> None:
    assert parse_address("redis://?socket_timeout=5&max_connections=10") == parse_address("redis://")


@pytest.mark.parametrize("url", ["redis://u:secret@h:7/2", "unix://u:secret@/s?db=2", "redis://h?password=secret"])
def test_neither_text_nor_representation_of_an_address_tells_its_password(url: str) -> None:
    assert "secret" not in str(parse_address(url)) + repr(parse_address(url))


BAD = [
    "",
    "localhost:6379",
    "http://localhost",
    "redis+sentinel://localhost",
    "redis://host:secret",
    "redis://:secret/word@host:6379",
    "redis://:1234/secret@host",
    "redis://host:99999",
    "redis://host/one",
    "redis://host?db=secret",
    "redis://host?protocol=4",
    "redis://host?unknown=1",
    "redis://host?ssl_cert_reqs=none",
    "rediss://host?ssl_cert_reqs=maybe",
    "rediss://host?ssl_check_hostname=maybe",
    "rediss://host?ssl_ca_certs=/nowhere/ca.pem",
    "rediss://host?ssl_certfile=/nowhere/cert.pem",
    "unix://",
    "unix:///",
    "redis://[::1",
    "redis://:8#secret@host:6379",
    "redis://:8?secret@host:6379",
    "redis://:8/secret@host:6379",
    "redis://:8?secret=1@host:6379",
    "redis://:se#secret@host",
    "redis://:se?secret@host",
    "redis://user:secret#@host:6379/0",
    "redis://:sec\tret@host",
    "redis://:[secret@host",
    "redis://host/0#secret",
    "redis://host?socket_timeout=secret",
    "redis://host?max_connections=1.5",
]


@pytest.mark.parametrize("character", "#/?@:[]%&=+ é")
def test_encoded_password_is_read_as_it_was_meant(character: str) -> None:
    url = f"redis://user:{quote(f'a{character}b', safe='')}@cache.example:7000/1"
    assert parse_address(url).password == parse_url(url)["password"] == f"a{character}b"


@pytest.mark.parametrize("character", "#/?")
def test_raw_password_never_makes_its_rest_a_host(character: str) -> None:
    for rest in ("secret", "8", ""):
        with pytest.raises(ConfigError, match="percent-encode") as caught:
            parse_address(f"redis://:8{character}{rest}@cache.example:7000")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", BAD)
def test_bad_url_is_one_clear_line_without_the_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(url)
    text = str(caught.value)
    assert text.startswith("redis_url: ")
    assert "\n" not in text
    assert "secret" not in text


def test_certificate_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="ssl_ca_certs"):
        parse_address(f"rediss://host?ssl_ca_certs={tmp_path}/ca.pem")
