import pytest
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from fastws.backend.redis_connection import check_redis_url, redacted_url, translated_error
from fastws.errors import BrokerUnavailable, ConfigError, Unauthorized


@pytest.mark.parametrize("url", ["redis://host:6379/0", "rediss://host", "unix:///run/redis.sock?db=1"])
def test_every_kind_of_address_that_redis_has_is_taken(url):
    assert check_redis_url(url) == url


def test_another_kind_of_address_is_refused_with_those_that_are_right():
    with pytest.raises(ConfigError, match="redis://host:6379"):
        check_redis_url("http://host")


def test_an_address_is_shown_without_user_password_and_options():
    assert redacted_url("redis://me:secret@host:6379/0?password=secret") == "redis://host:6379/0"
    assert redacted_url("unix:///run/redis.sock?password=secret") == "unix:///run/redis.sock"


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
    failure = translated_error("redis://:secret@host:6379", error)
    assert type(failure) is kind
    assert "host:6379" in str(failure)
    assert "secret" not in str(failure)
