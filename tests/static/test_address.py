"""The address that the browser client connects to, and the subprotocols that it offers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.node_packages import run_module
from tests.static.virtual import printed


def address(options: dict[str, Any], token: str | None, folder: Path) -> list[Any]:
    given = {"format": "json", "auth": "subprotocol", "dialect": "channels", **options}
    source = f"""
    import {{ addressOf }} from "./client/address.js";
    import {{ DIALECTS }} from "./client/dialects.js";
    const options = {json.dumps(given)};
    console.log(JSON.stringify(addressOf(options, DIALECTS[options.dialect], {json.dumps(token)})));
    """
    found: list[Any] = json.loads(run_module(source, folder))
    return found


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({"url": "ws://host"}, "ws://host/"),
        ({"url": "https://host", "dialect": "rooms"}, "wss://host/api/v1/ws"),
        ({"url": "http://host/own", "dialect": "rooms"}, "ws://host/own"),
        ({"url": "ws://host/?a=1#part", "dialect": "jobs"}, "ws://host/ws?a=1"),
        ({"url": "ws://host", "dialect": "workspaces", "workspaceId": "w&1"}, "ws://host/ws?workspace_id=w%261"),
    ],
)
def test_a_url_without_a_path_gets_the_one_of_the_dialect(tmp_path: Path, options: dict[str, Any], url: str) -> None:
    assert address(options, None, tmp_path) == [url, ["fastws.json"]]


def test_the_token_travels_in_the_subprotocols_or_in_the_query(tmp_path: Path) -> None:
    options = {"url": "ws://host", "format": "msgpack"}
    assert address(options, "t", tmp_path) == ["ws://host/", ["fastws.msgpack", "fastws.token.t"]]
    assert address({**options, "auth": "query"}, "t", tmp_path) == ["ws://host/?token=t&format=msgpack", []]


def test_the_jobs_dialect_shows_no_token_where_one_would_select_workspaces(tmp_path: Path) -> None:
    options = {"url": "ws://host", "dialect": "jobs"}
    assert address(options, "t", tmp_path) == ["ws://host/ws", ["fastws.json"]]
    assert address({**options, "url": "ws://host/jobs"}, "t", tmp_path)[1] == ["fastws.json", "fastws.token.t"]


@pytest.mark.parametrize("auth", ["subprotocol", "query"])
def test_the_format_in_the_url_goes_before_the_option(tmp_path: Path, auth: str) -> None:
    source = f"""
    reset();
    const frames = [];
    const url = "ws://server.example/?format=msgpack";
    open({{ url, auth: "{auth}", onTraffic: (direction, message, frame) => frames.push(frame.constructor.name) }});
    while (!FakeSocket.last) await settled(); // msgpack.js is being loaded
    await clock.advance(15);
    FakeSocket.last.send = () => {{}};
    FakeSocket.last.receive({{ type: "connection_id", connection_id: "c" }});
    await clock.advance(60000); // until a ping
    let error;
    try {{ fastws.connect({{ url: "ws://server.example/?format=xml" }}); }} catch ({{ message }}) {{ error = message; }}
    report([FakeSocket.last.url, FakeSocket.last.protocols, frames.at(-1), error]);
    """
    url, protocols, kind, error = printed(source, tmp_path)
    assert url == "ws://server.example/?format=msgpack"
    assert protocols == (["fastws.msgpack"] if auth == "subprotocol" else [])
    assert kind == "Uint8Array"
    assert "json or msgpack" in error
