"""The documentation's projects on FastAPI, Django and Celery, created and run unchanged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.end_to_end.project import Example, Project, examples
from tests.readme.reading import lowered, page
from tests.redis_server import RedisServer
from tests.serving import PATIENCE_SECONDS

EXAMPLES = list(examples("\n".join(lowered(page(name)) for name in ("fastapi", "django", "celery"))))


def test_there_is_one_for_each_way() -> None:
    assert [example.title for example in EXAMPLES] == [
        "Embedding",
        "FastAPI and Starlette",
        "FastAPI and Starlette",
        "Django",
        "Celery",
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
async def test_a_project_does_what_its_page_says(example: Example, tmp_path: Path, redis_server: RedisServer) -> None:
    *steps, (_, program) = example.steps
    async with Project(tmp_path, redis_server.tcp_url) as project:
        await project.set_up(steps)
        assert await project.say("python", "-c", project.here(program)) == project.here(example.output)
        await project.stop()


@pytest.fixture
def shown() -> dict[str, list[tuple[str, str]]]:
    """The steps of the first example of each title, without the program."""
    return {example.title: example.steps[:-1] for example in reversed(EXAMPLES)}


async def test_uvicorn_lets_the_server_close_its_clients_at_shutdown(
    shown: dict[str, list[tuple[str, str]]], tmp_path: Path
) -> None:
    async with Project(tmp_path, "") as project:
        await project.set_up(shown["FastAPI and Starlette"])
        async with connect(f"ws://127.0.0.1:{project.live_port}/", proxy=None) as client:
            await client.recv()
            stopping = asyncio.create_task(project.stop())
            await asyncio.wait_for(client.wait_closed(), PATIENCE_SECONDS)
            assert (client.close_code, client.close_reason) == (1012, "restart; reconnect in 0-8 s")
            await stopping
        assert "Application shutdown complete" in project.running[0].said


async def test_of_several_workers_of_uvicorn_only_one_can_embed_the_server_and_the_others_say_so(
    shown: dict[str, list[tuple[str, str]]], tmp_path: Path
) -> None:
    *files, (_, commands) = shown["FastAPI and Starlette"]
    async with Project(tmp_path, "") as project:
        await project.set_up(files)
        export, serve = project.here(commands).splitlines()
        await project.command(export)
        running = await project.start(f"{serve} --workers 2")
        await running.has_said(f"cannot listen on 127.0.0.1:{project.live_port}: Address already in use; only one")
        await asyncio.wait_for(running.process.wait(), 6 * PATIENCE_SECONDS)


async def test_a_view_of_django_answers_although_fastws_is_away(
    shown: dict[str, list[tuple[str, str]]], tmp_path: Path
) -> None:
    async with Project(tmp_path, "") as project:
        await project.set_up(shown["Django"])
        (live, _) = project.running
        await live.stop()
        project.running.remove(live)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{project.web_port}", trust_env=False) as browser:
            await browser.get("/admin/login/")
            login = {"username": "ada", "password": "secret", "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
            await browser.post("/admin/login/", data=login)
            rename = {"name": "Ada", "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
            answer = await browser.post("/live/rename", data=rename, timeout=PATIENCE_SECONDS)
            assert (answer.status_code, answer.json()) == (200, {"user": 1, "name": "Ada"})
        await project.stop()
