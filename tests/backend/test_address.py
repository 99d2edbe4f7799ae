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


def test_the_key_may_be_in_a_file_with_one_key_per_line(monkeypatch, tmp_path):
    secret = tmp_path / "key"
    secret.write_text("new-key\nold-key\n")
    monkeypatch.setenv("FASTWS_BROADCAST_KEY_FILE", str(secret))
    assert find_address("http://host", None).key == "new-key"
    assert find_address("http://host", "mine").key == "mine"
    monkeypatch.setenv("FASTWS_BROADCAST_KEY", "another")
    with pytest.raises(ConfigError, match="FASTWS_BROADCAST_KEY_FILE: FASTWS_BROADCAST_KEY is set as well"):
        find_address("http://host", None)


@pytest.mark.parametrize(("content", "word"), [(None, "cannot read"), (b" \n", "is empty"), (b"\xff", "UTF-8")])
def test_a_file_without_a_key_is_an_error_and_not_a_request_without_a_key(monkeypatch, tmp_path, content, word):
    secret = tmp_path / "key"
    if content is not None:
        secret.write_bytes(content)
    monkeypatch.setenv("FASTWS_BROADCAST_KEY_FILE", str(secret))
    with pytest.raises(ConfigError, match=f"FASTWS_BROADCAST_KEY_FILE: .*{word}"):
        find_address("http://host", None)
