"""HTTP requests to a real server. These tests run on uvloop, as the server does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import pytest_asyncio

from fastws.server.server import Server
from tests.serving import KEY, pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error(self) -> tuple[int, str, str]:
        """Status, code and message, of an error in the one shape that all errors have."""
        document = self.json
        assert set(document) == {"error"}
        assert set(document["error"]) == {"code", "message"}
        assert self.headers["Content-Type"] == "application/json"
        return self.status, document["error"]["code"], document["error"]["message"]


Ask = Callable[..., Awaitable[Answer]]


@pytest_asyncio.fixture
async def ask() -> AsyncIterator[Ask]:
    """Sends a request: `await ask(server, "POST", "/broadcast", {…})`, by default with the broadcast key."""
    async with aiohttp.ClientSession(auto_decompress=False) as http:

        async def sent(
            server: Server, method: str, path: str, body: object = None, *, key: str | None = KEY, **headers: str
        ) -> Answer:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            if key is not None:
                fields["Authorization"] = f"Bearer {key}"
            data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
            url = f"http://127.0.0.1:{server.port}{path}"
            async with http.request(method, url, data=data, headers=fields) as answer:
                return Answer(answer.status, answer.headers, await answer.read())

        yield sent
