import pytest

from fastws.client.client_dialect import CLIENT_DIALECTS
from fastws.client.connector import Connector, find_url
from fastws.client.formats import JSON
from fastws.errors import BadRequest


@pytest.mark.parametrize(
    ("url", "dialect", "address"),
    [
        ("ws://host:8000", "channels", "ws://host:8000/"),
        ("https://host/production", "channels", "wss://host/production"),
        ("http://host:8000/", "rooms", "ws://host:8000/api/v1/ws"),
        ("ws://host:8000/own", "rooms", "ws://host:8000/own"),
        ("ws://host", "jobs", "ws://host/ws"),
        ("ws://host/?a=1#part", "jobs", "ws://host/ws?a=1"),
    ],
)
def test_a_url_without_a_path_gets_the_one_of_the_dialect(url, dialect, address):
    assert find_url(url, CLIENT_DIALECTS[dialect], None) == address


def test_the_workspace_goes_into_the_query_once():
    address = find_url("ws://host/ws?token=t&workspace_id=old", CLIENT_DIALECTS["workspaces"], "w&1")
    assert address == "ws://host/ws?token=t&workspace_id=w%261"


@pytest.mark.parametrize("url", ["host:8000", "ws://", "redis://host", ""])
def test_an_invalid_url_is_refused_with_an_example(url):
    with pytest.raises(BadRequest, match="ws://host:8000"):
        find_url(url, CLIENT_DIALECTS["channels"], None)


def test_an_address_is_shown_without_its_query():
    connector = Connector("ws://host/ws?token=secret", JSON, CLIENT_DIALECTS["jobs"], 1, 1.0, {})
    assert connector.shown_url == "ws://host/ws"


async def test_further_keys_of_the_query_replace_those_of_the_url(peer):
    connector = Connector(f"{peer.url}/?a=1&offset=2", JSON, CLIENT_DIALECTS["channels"], 1000, 5.0, {})
    connection = await connector.connect(None, {"offset": "3", "epoch": "x&y"})
    await connection.close()
    assert peer.queries == [{"a": ["1"], "offset": ["3"], "epoch": ["x&y"]}]
