"""The view of channels in the console, with what the server keeps of them, in Chromium."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect
from websockets.asyncio.client import connect

from tests.browser.conftest import KEY, token
from tests.browser.test_console import OwnServer, ServerProcess, subscribe, visit

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_channels_are_listed_with_their_counts(server: ServerProcess, page: Page) -> None:
    await visit(page, server)
    await subscribe(page, "counted")
    async with connect(f"ws://127.0.0.1:{server.port}/", proxy=None) as other:
        await other.recv()
        await other.send('{"action":"subscribe","channel":"counted"}')
        await other.recv()
        await page.get_by_label("Broadcast key").fill(KEY)
        await page.get_by_role("tab", name="Channels").click()
        row = page.locator("#channels tr").filter(has_text="counted")
        await expect(row.locator(".number")).to_have_text(["2", "–", "–"])
        await row.get_by_role("button", name="Subscribers of counted").click()
        await expect(page.locator("#people tr")).to_have_count(2)
        await expect(page.locator("#people")).to_contain_text("this page")


async def test_the_history_and_the_members_of_a_channel_are_shown_where_the_server_keeps_them(
    own_server: OwnServer, page: Page
) -> None:
    server = own_server("--history", "kept:**=100/60", "--presence", "kept:**")
    await visit(page, server)
    await subscribe(page, "kept:silent")
    await subscribe(page, "live")
    await page.get_by_label("Broadcast key").fill(KEY)
    for number in range(1, 61):
        server.publish("kept:<b>", "numbered", {"n": number})
    address = f"ws://127.0.0.1:{server.port}/?client_id=phone&token={token(info={'name': 'Ada'})}"
    async with connect(address, proxy=None) as other:
        await other.recv()
        await other.send('{"action":"subscribe","channel":"kept:<b>"}')
        await other.recv()
        await page.get_by_role("tab", name="Channels").click()
        row = page.locator("#channels tr").filter(has_text="kept:<b>")
        await expect(row.locator(".number")).to_have_text(["1", "1", "60"])
        await row.get_by_role("button", name="Members of kept:<b>").click()
        await expect(page.locator("#kept-note")).to_have_text("1 connection, 1 user")
        await expect(page.locator("#kept-rows td").first).to_have_text("ada")
        await expect(page.locator("#kept-rows td").nth(1)).to_have_text("phone")
        await expect(page.locator("#kept-rows td").nth(2)).to_have_text('{"name":"Ada"}')
        await row.get_by_role("button", name="History of kept:<b>").click()
        offsets = page.locator("#kept-rows .number")
        await expect(offsets).to_have_text([str(number) for number in range(60, 10, -1)])
        await expect(page.locator("#kept-rows tr").first).to_contain_text('{"n":60}')
        await page.get_by_role("button", name="More").click()
        await expect(offsets).to_have_text([str(number) for number in range(60, 0, -1)])
        await expect(page.get_by_role("button", name="More")).to_be_hidden()
    live = page.locator("#channels tr").filter(has_text="live")
    await expect(live.locator(".number")).to_have_text(["1", "–", "–"])
    await expect(live.get_by_role("button")).to_have_text(["Subscribers", "Subscribe"])
    await page.get_by_role("button", name="Close").click()
    await expect(page.locator("#kept")).to_be_hidden()


async def test_an_older_page_of_a_history_that_was_deleted_meanwhile_is_an_error(
    own_server: OwnServer, page: Page
) -> None:
    server = own_server("--history", "kept=100/60")
    server.call("broadcast", {"messages": [{"channel": "kept", "event": "e", "data": number} for number in range(60)]})
    await page.goto(server.url)
    await page.get_by_label("Broadcast key").fill(KEY)
    await page.get_by_role("tab", name="Channels").click()
    await page.get_by_role("button", name="History of kept").click()
    await expect(page.locator("#kept-rows tr")).to_have_count(50)
    server.call("channels/kept/history", method="DELETE")
    await page.get_by_role("button", name="More").click()
    await expect(page.locator("#kept-note")).to_contain_text("epoch")
    await expect(page.locator("#kept-rows tr")).to_have_count(50)
