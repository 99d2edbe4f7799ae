"""Mistakes of clients and backends against a running server: the exact text of each answer."""

from __future__ import annotations

import argparse
import http.client
import json
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Run
from tests.cli.test_mistakes import MISTAKES, table
from tests.hostile.server_process import BROADCAST_KEY, ServerProcess, token_of

CLIENT_MISTAKES = table("client_mistakes.txt")


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess() as running:
        yield running


def filled(text: str, server: ServerProcess) -> str:
    """`text` with the values of this run in place of {port}, {key} and the tokens."""
    values = {
        "{port}": str(server.port),
        "{key}": BROADCAST_KEY,
        "{token}": token_of("ada"),
        "{token_of_a}": token_of("ada", workspace_id="a"),
    }
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def curl(server: ServerProcess, words: list[str]) -> str:
    """Status, code and text of the answer to a request that is written as for curl."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-X", default="GET")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d")
    parser.add_argument("path")
    options = parser.parse_args(words)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        headers = dict(header.split(": ", 1) for header in options.H)
        connection.request(options.X, options.path, options.d, headers)
        answer = connection.getresponse()
        error = json.loads(answer.read())["error"]
    finally:
        connection.close()
    return f"{answer.status} {error['code']}: {error['message']}"


@pytest.mark.parametrize(("words", "text"), CLIENT_MISTAKES, ids=[" ".join(words) for words, _ in CLIENT_MISTAKES])
def test_an_answer_says_what_was_wrong_and_what_to_do(
    server: ServerProcess, run: Run, words: list[str], text: str
) -> None:
    program, *typed = [filled(word, server) for word in words]
    if program == "curl":
        assert curl(server, typed) == filled(text, server)
        return
    outcome = run(*typed)
    assert (outcome.code in (1, 2), outcome.out, outcome.err) == (True, "", f"fastws: {filled(text, server)}\n")


def test_there_are_more_than_sixty_of_each_other() -> None:
    typed = {tuple(words) for words, _ in (*MISTAKES, *CLIENT_MISTAKES)}
    assert len(typed) == len(MISTAKES) + len(CLIENT_MISTAKES) > 100
