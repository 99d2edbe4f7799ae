"""A starting worker learns the revocations of the others, and waits for none that hangs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastws.access.revocation import PAGE, Revocations
from fastws.server import sibling_revocations
from fastws.server.sibling_revocations import known_revocations, learn_revocations
from fastws.wire.request import Request

DAY = 24 * 3600.0
REQUEST = Request("GET", "/known-revocations", "1.1", {})
Sibling = Callable[[Revocations | bytes | None], Awaitable[None]]


async def answer_of(revocations: Revocations) -> bytes:
    application: Any = SimpleNamespace(revocations=revocations)
    body = (await known_revocations(application, REQUEST)).body
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.fixture
async def sibling(tmp_path: Path) -> AsyncIterator[Sibling]:
    """Start another worker: it knows these revocations, or answers with these bytes, or never answers (None)."""
    servers: list[asyncio.Server] = []
    stopped = asyncio.Event()

    async def start(knows: Revocations | bytes | None) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            if knows is None:
                await stopped.wait()
            else:
                writer.write(knows if isinstance(knows, bytes) else await answer_of(knows))
            writer.close()

        path = tmp_path / f"{os.getpid() + 1 + len(servers)}.sock"
        servers.append(await asyncio.start_unix_server(serve, str(path)))

    yield start
    stopped.set()
    for server in servers:
        server.close()
        await server.wait_closed()


def knowing(tokens: list[str], users: list[str]) -> Revocations:
    revocations = Revocations()
    now = time.time()
    revocations.merge({"tokens": dict.fromkeys(tokens, now + DAY), "users": dict.fromkeys(users, now)})
    return revocations


async def test_what_any_sibling_knows_is_learned(sibling: Sibling, tmp_path: Path) -> None:
    names = ["t1", 'quote " \\', "line\nbreak", "\u2028 \x85 \x1c", "naïve", "t2"]
    one, other, own = knowing(names, ["u1"]), knowing(["t2", "t3"], []), Revocations()
    await sibling(one)
    await sibling(other)
    await learn_revocations(tmp_path, own)
    tables = own.snapshot()
    assert {table: set(found) for table, found in tables.items()} == {"tokens": {*names, "t3"}, "users": {"u1"}}
    assert tables["tokens"]["t1"] == one.snapshot()["tokens"]["t1"]


async def test_a_hundred_thousand_are_learned(
    sibling: Sibling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sibling_revocations, "LEARN_SECONDS", 60.0)  # the machine may be busy with other things
    count = 100_000
    one, own = knowing([f"{number:032x}" for number in range(count)], []), Revocations()
    await sibling(one)
    await learn_revocations(tmp_path, own)
    assert own.snapshot() == one.snapshot()
    assert len(own) == count > 50 * PAGE


async def test_siblings_that_hang_exit_or_do_not_know_the_request_delay_nothing(
    sibling: Sibling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sibling_revocations, "LEARN_SECONDS", 0.2)
    (tmp_path / "1.sock").touch()
    await sibling(None)
    await sibling(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")
    await sibling((await answer_of(knowing(["half"], [])))[:-5])
    await sibling(knowing(["t1"], []))
    own = Revocations()
    await learn_revocations(tmp_path, own)
    assert set(own.snapshot()["tokens"]) == {"t1"}
