"""A request's path, query and headers."""

from __future__ import annotations

import pytest

from fastws.wire.request import Request, tokens


def request(target: str) -> Request:
    return Request("GET", target, "1.1", {"origin": "https://a.example"})


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", {}),
        ("/ws?token=a.b-c_d&workspace_id=w%201", "/ws", {"token": "a.b-c_d", "workspace_id": "w 1"}),
        ("/a%2Fb%20c/d", "/a/b c/d", {}),
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


def test_a_header_is_found_by_its_lower_case_name() -> None:
    assert request("/").header("origin") == "https://a.example"
    assert request("/").header("host") is None


def test_the_members_of_a_list_header() -> None:
    assert tokens("Keep-Alive , Upgrade,,\t x") == ["keep-alive", "upgrade", "x"]
    assert tokens("") == tokens(None) == []
