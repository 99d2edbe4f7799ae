import pytest

from fastws.backend.address import find_address
from fastws.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ("http://host:8000", "http://host:8000/broadcast"),
        ("https://host/", "https://host/broadcast"),
        ("ws://host:8000/production", "http://host:8000/production/broadcast"),
        ("wss://host/production/", "https://host/production/broadcast"),
        ("http://host:8000/broadcast", "http://host:8000/broadcast"),
        (" http://[::1]:8000 ", "http://[::1]:8000/broadcast"),
    ],
)
def test_any_address_of_the_server_leads_to_its_broadcast_endpoint(given, endpoint):
    assert find_address(given, "k").url == endpoint


@pytest.mark.parametrize("wrong", ["localhost:8000", "redis://host", "http://", "host"])
def test_an_address_of_another_kind_is_refused_with_one_that_is_right(wrong):
    with pytest.raises(ConfigError, match="http://host:8000"):
        find_address(wrong, "k")


def test_address_and_key_come_from_the_environment_where_not_given(monkeypatch):
    with pytest.raises(ConfigError, match="FASTWS_URL"):
        find_address(None, None)
    monkeypatch.setenv("FASTWS_URL", "http://host:8000")
    monkeypatch.setenv("FASTWS_BROADCAST_KEY", "new-key, old-key")
    assert find_address(None, None).headers["Authorization"] == "Bearer new-key"
    assert find_address("http://other", "mine").headers["Authorization"] == "Bearer mine"


def test_the_key_is_never_shown_and_one_that_no_header_can_carry_is_refused():
    assert "secret" not in repr(find_address("http://host", "secret"))
    with pytest.raises(ConfigError, match="FASTWS_BROADCAST_KEY"):
        find_address("http://host", "a\nb")
    assert "Authorization" not in find_address("http://host", None).headers
