"""Backpressure: a bulk publisher is not read until its subscribers have taken what it published."""

from __future__ import annotations

import asyncio

import pytest

from fastws.transport import backpressure
from fastws.transport.backpressure import PublisherPause
from fastws.transport.outbox import Bounds, Outbox
from tests.serving import Serve
from tests.transport.pipes import connect


def outbox() -> Outbox:
    return Outbox(Bounds(100, 1_000_000))


async def test_reading_resumes_when_the_last_outbox_is_empty(serve: Serve) -> None:
    pipe, publisher = connect(await serve())
    pause = PublisherPause(publisher)
    first, second = outbox(), outbox()
    pause.wait_for(first)
    pause.wait_for(second)
    assert (first.publisher_pauses, second.publisher_pauses) == ([pause], [pause])
    assert not pipe.is_reading
    pause.drained()
    assert not pipe.is_reading
    pause.drained()
    assert pipe.is_reading
    assert publisher.publisher_pause is None


async def test_nothing_else_resumes_reading_during_the_pause(serve: Serve) -> None:
    pipe, publisher = connect(await serve())
    pause = PublisherPause(publisher)
    publisher.resume_reading()
    assert not pipe.is_reading
    pause.release()
    assert pipe.is_reading


async def test_a_pause_ends_by_its_time_limit(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backpressure, "MAX_SECONDS", 0.0)
    pipe, publisher = connect(await serve())
    PublisherPause(publisher).wait_for(outbox())
    assert not pipe.is_reading
    async with asyncio.timeout(10):
        while not pipe.is_reading:
            await asyncio.sleep(0)
    assert publisher.publisher_pause is None


async def test_the_end_of_an_old_pause_does_not_end_a_new_one(serve: Serve) -> None:
    pipe, publisher = connect(await serve())
    old = PublisherPause(publisher)
    new = PublisherPause(publisher)
    old.release()
    assert publisher.publisher_pause is new
    assert not pipe.is_reading
    new.release()
    assert pipe.is_reading


async def test_a_publisher_that_has_left_is_not_read_again(serve: Serve) -> None:
    pipe, publisher = connect(await serve())
    pause = PublisherPause(publisher)
    pipe.close()
    pause.release()
    assert not pipe.is_reading
