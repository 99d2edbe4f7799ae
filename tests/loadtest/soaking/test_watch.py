"""The samples of a soak: when a server counts as started, and when its memory has grown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import soaking.watch
from soaking.watch import Watch, has_grown


@pytest.fixture
def descriptors() -> list[int]:
    """What the server reports, one sample after the other; the last for ever."""
    return [9, 9, 21, 42]


@pytest_asyncio.fixture
async def url(descriptors: list[int]) -> AsyncIterator[str]:
    left = list(descriptors)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        number = left.pop(0) if len(left) > 1 else left[0]
        body = f"process_open_fds {number}\n".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    server.close()
    await server.wait_closed()


async def test_server_has_started_when_its_descriptors_no_longer_change(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soaking.watch, "STABLE_SECONDS", 0.0)
    sample = await Watch(url).wait_until_started()
    assert sample is not None
    assert sample.descriptors == 42


async def test_server_that_is_away_has_no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soaking.watch, "START_SECONDS", 0.0)
    watch = Watch("ws://127.0.0.1:1/")
    assert await watch.wait_until_started() is None
    assert watch.unanswered == 1


@pytest.mark.parametrize(
    ("before", "after", "grown"), [(50e6, 75e6, False), (50e6, 76e6, True), (500e6, 600e6, False), (500e6, 601e6, True)]
)
def test_growth_counts_beyond_a_fifth_and_24_mebibytes(before: float, after: float, grown: bool) -> None:
    assert has_grown(before, after) is grown
