"""A request's path, query and headers."""

from __future__ import annotations

import pytest

from fastws.errors import BadRequest
from fastws.wire.request import Request, check_path, tokens


def request(target: str) -> Request:
    return Request("GET", target, "1.1", {"origin": "https://a.example"})


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", {}),
        ("/ws?token=a.b-c_d&workspace_id=w%201", "/ws", {"token": "a.b-c_d", "workspace_id": "w 1"}),
        ("/a%2Bb%20c/d", "/a+b c/d", {}),
        ("/a?b=%2Fws%77", "/a", {"b": "/wsw"}),
        ("/%40connections/x%3D", "/@connections/x=", {}),
        ("/?a=1&a=2&b=&c", "/", {"a": "1", "b": "", "c": ""}),
        ("/a?x=%C3%A9%FF", "/a", {"x": "é\ufffd"}),
        ("/%ff%0d%0a?", "/\ufffd\r\n", {}),
        ("/a?b?c=1", "/a", {"b?c": "1"}),
    ],
)
def test_path_and_query_are_decoded(target: str, path: str, query: dict[str, str]) -> None:
    assert request(target).path == path
    assert request(target).query == query


@pytest.mark.parametrize(
    "escaped", ["%77s", "%57S", "a%2Fb", "a%2fb", "%2e%2E/ws", "w%73?a", "%7Ea", "a%2d", "%5F", "%30"]
)
def test_escapes_that_proxies_may_or_may_not_decode_are_refused(escaped: str) -> None:
    """A rule of a proxy on /ws does not apply to /%77s, which would mean the same here."""
    with pytest.raises(BadRequest, match="percent-encode"):
        _ = request(f"/{escaped}").path


def test_every_unreserved_character_and_the_slash_must_not_be_encoded() -> None:
    refused = set()
    for code in range(256):
        try:
            check_path(f"/a%{code:02x}b")
        except BadRequest:
            refused.add(chr(code))
    assert refused == set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")


def test_a_header_is_found_by_its_lower_case_name() -> None:
    assert request("/").header("origin") == "https://a.example"
    assert request("/").header("host") is None


def test_the_members_of_a_list_header() -> None:
    assert tokens("Keep-Alive , Upgrade,,\t x") == ["keep-alive", "upgrade", "x"]
    assert tokens("") == tokens(None) == []
