import pytest
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from fastws.backend import AsyncRedisBroadcaster, RedisBroadcaster
from fastws.backend.redis_connection import shown_address, translated_error
from fastws.errors import BrokerUnavailable, ConfigError, Unauthorized


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://me:secret@host:6379/0?password=secret", "redis://host:6379/0"),
        ("rediss://host", "rediss://host:6379/0"),
        ("unix:///run/redis.sock?db=1&password=secret", "unix:///run/redis.sock?db=1"),
    ],
)
def test_an_address_is_shown_without_user_password_and_options(url, place):
    assert shown_address(url) == place


@pytest.mark.parametrize(
    "url", ["http://host", "redis://:8#secret@host", "redis://:8/secret@host", "redis://host:secret"]
)
@pytest.mark.parametrize("kind", [RedisBroadcaster, AsyncRedisBroadcaster])
def test_an_address_that_the_server_would_refuse_is_refused_in_the_same_way(kind, url):
    with pytest.raises(ConfigError, match=r"^`redis_url`: ") as refused:
        kind(url)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AuthenticationError("WRONGPASS"), Unauthorized),
        (NoPermissionError("NOPERM"), Unauthorized),
        (ResponseError("NOAUTH Authentication required."), Unauthorized),
        (RedisError("refused"), BrokerUnavailable),
    ],
)
def test_a_failure_says_whether_it_is_the_password_or_the_redis(error, kind):
    failure = translated_error("redis://host:6379/0", error)
    assert type(failure) is kind
    assert "host:6379" in str(failure)
