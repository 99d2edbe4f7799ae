"""GET and PUT /log-level: access, answers, and the log lines that result."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.endpoints.conftest import Ask
from tests.serving import Serve


@pytest.fixture(autouse=True)
def _ours() -> Iterator[None]:
    logger = logging.getLogger("fastws")
    before = logger.level
    yield
    logger.setLevel(before)


async def test_the_level_is_changed_and_shown(serve: Serve, ask: Ask) -> None:
    server = await serve()
    answer = await ask(server, "PUT", "/log-level", {"level": "debug"})
    assert (answer.status, answer.json) == (200, {"level": "debug", "configured": "info"})
    assert (await ask(server, "GET", "/log-level")).json == {"level": "debug", "configured": "info"}
    assert server.log_level.is_debug
    assert logging.getLogger("fastws.connection").isEnabledFor(logging.DEBUG)


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_only_the_broadcast_key_may(serve: Serve, ask: Ask, method: str) -> None:
    server = await serve()
    for key in (None, "wrong"):
        assert (await ask(server, method, "/log-level", {"level": "debug"}, key=key)).status == 401
    assert not server.log_level.is_debug


@pytest.mark.parametrize("body", [{}, {"level": "DEBUG"}, {"level": ["debug"]}, {"level": None}])
async def test_another_word_is_400_and_names_those_there_are(serve: Serve, ask: Ask, body: dict[str, object]) -> None:
    server = await serve()
    answer = await ask(server, "PUT", "/log-level", body)
    assert answer.error[:2] == (400, "bad_request")
    assert "debug, info, warning, error" in answer.error[2]
