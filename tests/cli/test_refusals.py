"""What a running server refuses is one clear line on stderr, exit code 1, and nothing secret in it."""

from __future__ import annotations

import asyncio

import pytest

from fastws.cli import main
from tests.serving import KEY, Serve

REFUSED_LISTENERS = [
    (("/", "--token", "hunter2"), "(401): give one with --token"),
    (("/", "news "), "white space"),
    (("/", "user:somebody"), "fastws token --channel"),
    (("/nowhere",), "404"),
    (("", "--dialect", "rooms"), "401"),
    (("", "--dialect", "workspaces", "--token", "hunter2"), "401"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED_LISTENERS)
async def test_a_listener_that_is_refused_is_told_why(
    serve: Serve, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    server = await serve()
    path, *options = words
    code = await asyncio.to_thread(main, ["listen", f"ws://127.0.0.1:{server.port}{path}", *options])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert err.startswith("fastws: ")
    assert err.count("\n") == 1
    assert said in err
    assert "hunter2" not in err


async def test_a_publisher_with_a_bad_channel_is_told_why(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = await serve()
    url = f"http://127.0.0.1:{server.port}"
    assert await asyncio.to_thread(main, ["publish", "news ", "e", "1", "--url", url, "--key", KEY]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "fastws: `channel` begins or ends with white space\n"


async def test_a_listener_over_tls_to_a_plain_port_is_told_so(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = await serve()
    url = f"wss://127.0.0.1:{server.port}/"
    assert await asyncio.to_thread(main, ["listen", url, "news"]) == 1
    assert capsys.readouterr().err == f"fastws: {url}: the server speaks ws:// at this address, not wss://\n"


async def test_a_listener_at_a_path_of_another_dialect_is_pointed_to_the_option(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await serve()
    assert await asyncio.to_thread(main, ["listen", f"ws://127.0.0.1:{server.port}/ws", "news"]) == 1
    assert "add --dialect" in capsys.readouterr().err


def test_workspaces_need_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listen", "ws://127.0.0.1:9", "--dialect", "workspaces"]) == 2
    assert capsys.readouterr().err.startswith("fastws: --token: ")


@pytest.mark.parametrize("words", [("--url", "nonsense"), ("--redis-url", "http://x")])
def test_an_address_that_is_none_is_exit_code_2(capsys: pytest.CaptureFixture[str], words: tuple[str, str]) -> None:
    assert main(["publish", "news", "e", "1", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
