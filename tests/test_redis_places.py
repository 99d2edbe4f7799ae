"""`redis_url` as a list, and URLs of Redis Sentinel."""

from __future__ import annotations

import pytest

from fastws.errors import ConfigError
from fastws.redis_address import RedisAddress
from fastws.redis_places import ClusterAddress, SentinelAddress, identity_of, parse_place, parse_places, split_urls


def test_a_sentinel_url_with_everything() -> None:
    place = parse_place(
        "redis+sentinel://user:p%40ss@a:26379,b,[::1]:7000/main/3?sentinel_username=s&sentinel_password=t&protocol=3"
    )
    assert isinstance(place, SentinelAddress)
    assert place.service == "main"
    assert [
        (one.host, one.port, one.username, one.password, one.database, one.protocol) for one in place.sentinels
    ] == [
        ("a", 26379, "s", "t", 0, 3),
        ("b", 26379, "s", "t", 0, 3),
        ("::1", 7000, "s", "t", 0, 3),
    ]
    assert place.at("h", 1) == RedisAddress("h", 1, None, "user", "p@ss", 3, 3)
    assert str(place) == "redis+sentinel://a:26379,b:26379,[::1]:7000/main/3"
    assert "p@ss" not in repr(place)
    assert identity_of(place) == "sentinel://main/3"


def test_sentinels_get_no_credentials_of_the_primary() -> None:
    place = parse_place("redis+sentinel://:secret@a/main")
    assert isinstance(place, SentinelAddress)
    assert [(one.username, one.password) for one in place.sentinels] == [(None, None)]
    assert place.primary.password == "secret"


def test_rediss_uses_tls_for_both() -> None:
    place = parse_place("rediss+sentinel://a/main?ssl_cert_reqs=CERT_NONE")
    assert isinstance(place, SentinelAddress)
    assert place.primary.tls is not None
    assert place.sentinels[0].tls is place.primary.tls
    assert str(place) == "rediss+sentinel://a:26379/main/0"


def test_a_cluster_url_with_everything() -> None:
    (place,) = parse_places("redis+cluster://user:p%40ss@a:7000,b,[::1]:7001/0?protocol=3")
    assert isinstance(place, ClusterAddress)
    assert [(one.host, one.port) for one in place.seeds] == [("a", 7000), ("b", 6379), ("::1", 7001)]
    assert {(one.username, one.password, one.database, one.protocol) for one in place.seeds} == {("user", "p@ss", 0, 3)}
    assert str(place) == "redis+cluster://a:7000,b:6379,[::1]:7001"
    assert "p@ss" not in repr(place)


@pytest.mark.parametrize("tail", ["", "/", "?ssl_cert_reqs=CERT_NONE", "/?ssl_cert_reqs=none"])
def test_a_cluster_url_over_tls(tail: str) -> None:
    place = parse_place(f"rediss+cluster://a{tail}")
    assert isinstance(place, ClusterAddress)
    assert place.seeds[0].tls is not None
    assert str(place) == "rediss+cluster://a:6379"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis+cluster://a/1", "only database 0"),
        ("redis+cluster://a?db=2", "only database 0"),
        ("redis+cluster://a,redis://b", "must be the only URL"),
        ("redis://b,redis+cluster://a", "must be the only URL"),
        ("redis+cluster://", "host:6379,host2:6379"),
        ("redis+cluster://a,,b", "host:6379,host2:6379"),
        ("redis+cluster://a:99999", "host:6379,host2:6379"),
        ("redis+cluster://a:secret", "host:6379,host2:6379"),
        ("redis+cluster://:sec/ret@a", "percent-encode"),
        ("redis+cluster://:sec?ret@a", "percent-encode"),
        ("redis+cluster://a/main", "must be a number"),
        ("redis+cluster://a?nonsense=secret", "unknown option"),
        ("redis+cluster://a?ssl_cert_reqs=none", "needs rediss://"),
    ],
)
def test_mistakes_in_a_cluster_url(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        parse_places(url)
    assert str(error.value).startswith("redis_url: ")
    assert "secret" not in str(error.value)


def test_commas_between_urls_and_between_sentinels() -> None:
    text = "redis://a, redis+sentinel://b,c:26379/main ,unix:///d.sock,rediss://e/1"
    assert split_urls(text) == ["redis://a", "redis+sentinel://b,c:26379/main", "unix:///d.sock", "rediss://e/1"]
    assert [identity_of(place) for place in parse_places(text)] == [
        *("redis://a:6379/0", "sentinel://main/0", "unix:///d.sock?db=0", "rediss://e:6379/1"),
    ]


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a:26379",
        "redis+sentinel://a:26379/",
        "redis+sentinel:///main",
        "redis+sentinel://a:secret/main",
        "redis+sentinel://a:99999/main",
        "redis+sentinel://a:0/main",
        "redis+sentinel://a,,b/main",
        "redis+sentinel://a/main/secret",
        "redis+sentinel://a/main?nonsense=secret",
        "redis+sentinel://a/main?ssl_cert_reqs=none",
        "redis+sentinel://:sec/ret@a/main",
        "redis://a,redis://b,redis://a:6379/0",
        "redis://a,embedded",
        "redis://a,http://secret",
    ],
)
def test_mistakes_name_the_setting_and_no_secret(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_places(url)
    assert str(error.value).startswith("redis_url: ")
    assert "secret" not in str(error.value)
