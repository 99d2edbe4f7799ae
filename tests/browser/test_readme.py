"""The page and the Python program of the README, run unchanged but for the port."""

from __future__ import annotations

import asyncio
import re
import sys

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.conftest import KEY, FrontEnd, ServerProcess
from tests.readme.reading import README

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


def block(language: str, beginning: str) -> str:
    """The block of code of the README in `language` that begins so."""
    (found,) = [text for text in re.findall(rf"(?s)```{language}\n(.*?)```", README) if text.startswith(beginning)]
    return str(found)


async def test_two_pages_hear_each_other_and_a_backend(
    page: Page, context: BrowserContext, server: ServerProcess, front_end: FrontEnd
) -> None:
    shown = block("html", "<!doctype html>").replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    front_end.put("/page.html", shown, "text/html")
    other = await context.new_page()
    for each in (page, other):
        await each.goto(f"{front_end.url}/page.html")
    while server.call("channels?prefix=news")["channels"] != [{"channel": "news", "subscribers": 2}]:
        await asyncio.sleep(0.02)
    await page.get_by_role("button").click()
    for each in (page, other):
        await expect(each.get_by_role("listitem")).to_contain_text('hello: {"at":"')

    program = block("python", "from fastws.backend").replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program.replace('"secret"', repr(KEY)), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert printed.decode() == "{'sent': 2, 'failed': 0, 'stale': 0}\n"
    await expect(other.get_by_role("listitem").last).to_have_text('hello: {"text":"hi"}')
