"""Background tasks."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from fastws.server.tasks import Tasks


async def test_a_task_is_waited_for_and_ends_with_the_server() -> None:
    tasks = Tasks()
    done = asyncio.Event()

    async def work() -> None:
        done.set()

    async def endless() -> None:
        await asyncio.Event().wait()

    tasks.spawn(work())
    await tasks.until_done()
    assert done.is_set()
    tasks.spawn(endless())
    tasks.cancel()
    async with asyncio.timeout(1):
        await tasks.until_done()


async def test_an_error_in_a_task_is_logged_and_touches_no_other() -> None:
    tasks = Tasks()
    done = asyncio.Event()

    async def fails() -> None:
        raise ValueError("a bug")

    async def work() -> None:
        done.set()

    with capture_logs() as logs:
        tasks.spawn(fails())
        tasks.spawn(work())
        await tasks.until_done()
        await asyncio.sleep(0)
    assert done.is_set()
    assert [(entry["event"], str(entry["exc_info"])) for entry in logs] == [("internal error in a task", "a bug")]
