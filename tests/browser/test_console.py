"""The console page in Chromium, used as people use it: by labels, buttons and keys."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, expect
from websockets.asyncio.client import connect

from tests.browser.conftest import KEY, ServerProcess, token

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
OwnServer = Callable[..., ServerProcess]
DIALECTS = {
    "channels": ("news", "hello"),
    "rooms": ("user:ada", "note"),
    "workspaces": ("workspace:w", "alert"),
    "jobs": ("botrix:jobs:updates", "job_update"),
}


async def visit(page: Page, server: ServerProcess, dialect: str = "channels", format_: str = "json") -> None:
    """Open the console and connect."""
    await page.goto(server.url)
    await page.get_by_label("Dialect").select_option(dialect)
    await page.get_by_label("Codec").select_option(format_)
    if dialect in ("rooms", "workspaces"):
        await page.get_by_label("Token").fill(token())
    await page.get_by_role("button", name="Connect", exact=True).click()
    await expect(page.get_by_role("status").first).to_contain_text(f"Connected · {dialect}")


async def subscribe(page: Page, name: str) -> None:
    await page.locator("#subscribe-name").fill(name)
    await page.get_by_role("button", name="Subscribe", exact=True).click()
    await expect(page.get_by_role("list", name="Subscribed to")).to_contain_text(name)


def lines(page: Page, text: str) -> Any:
    """The lines of the log that contain `text`."""
    return page.get_by_role("option").filter(has_text=text)


async def test_a_newcomer_connects_subscribes_sends_and_sees_it_arrive(server: ServerProcess, page: Page) -> None:
    await page.goto(server.url)
    await expect(page.get_by_text("see it arrive")).to_be_visible()
    await page.get_by_role("button", name="Connect", exact=True).click()
    await page.get_by_role("button", name="Subscribe", exact=True).click()
    await expect(page.get_by_role("list", name="Subscribed to")).to_contain_text("news")
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(lines(page, '"data":{"text":"world"},"from"')).to_have_count(1)
    await expect(lines(page, '"type":"send_success","channel":"news","sent":1')).to_have_count(1)
    server.publish("news", "by http", {"n": 1})
    await expect(lines(page, "by http")).to_have_count(1)
    await expect(page.locator("#count")).to_have_text("5")
    await page.get_by_role("button", name="Unsubscribe from news").click()
    await expect(lines(page, "unsubscribe_succeeded")).to_have_count(1)
    await expect(page.locator("#subscriptions")).to_be_empty()


@pytest.mark.parametrize("format_", ["json", "msgpack"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_dialect_and_codec_shows_what_is_published_with_the_key(
    server: ServerProcess, page: Page, dialect: str, format_: str
) -> None:
    channel, event = DIALECTS[dialect]
    await visit(page, server, dialect, format_)
    if dialect == "channels":
        await subscribe(page, channel)
    await page.get_by_label("Broadcast key").fill(KEY)
    await page.locator("#send-how").select_option("http")
    await page.locator("#target").fill(channel)
    await page.get_by_label("Event", exact=True).fill(event)
    await page.get_by_label("Data, JSON").fill('{"job_id": "77", "status": "failed"}')
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(page.locator(".line[data-kind=delivery]").filter(has_text='"job_id":"77"')).to_have_count(1)
    await expect(lines(page, f"POST /broadcast {channel}: sent 1")).to_have_count(1)


async def test_one_connection_is_sent_to_with_a_request_id(server: ServerProcess, page: Page) -> None:
    await visit(page, server)
    async with connect(f"ws://127.0.0.1:{server.port}/", proxy=None) as other:
        other_id = re.search(r'"connection_id":"([^"]+)"', str(await other.recv()))
        assert other_id is not None
        await page.locator("#send-how").select_option("connection")
        await page.get_by_label("Connection id").fill(other_id[1])
        await page.get_by_label("id", exact=True).fill("req-1")
        await page.get_by_role("button", name="Send", exact=True).click()
        assert '"text":"world"' in str(await other.recv())
    await expect(lines(page, '"sent":1,"failed":0,"id":"req-1"')).to_have_count(1)


async def test_a_message_as_written_is_sent_so_and_bad_json_is_not_sent(server: ServerProcess, page: Page) -> None:
    await visit(page, server)
    await page.locator("#send-how").select_option("raw")
    await page.get_by_label("Message, JSON").fill('{"action":"dance"')
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(page.get_by_role("alert")).not_to_be_empty()
    await expect(lines(page, "dance")).to_have_count(0)
    await page.get_by_label("Message, JSON").fill('{"action":"dance"}')
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(lines(page, "unknown action 'dance'")).to_have_count(1)


async def test_the_log_is_searched_filtered_paused_copied_and_cleared(
    server: ServerProcess, page: Page, context: BrowserContext
) -> None:
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    await visit(page, server)
    await subscribe(page, "news")
    for number in range(3):
        server.publish("news", f"event-{number}", {"text": "x"})
    await expect(lines(page, "event-")).to_have_count(3)
    await page.keyboard.press("Escape")
    await page.locator("#log").focus()
    await page.keyboard.press("/")
    await page.keyboard.type("EVENT-1")
    await expect(page.locator(".line:visible")).to_have_count(1)
    await page.get_by_role("button", name="Copy").first.click()
    await expect(page.get_by_role("button", name="1 copied")).to_be_visible()
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert copied == '{"channel":"news","event":"event-1","data":{"text":"x"}}'
    await page.get_by_label("Search the messages").fill("")
    await page.get_by_text("deliveries", exact=True).click()
    await expect(lines(page, "event-")).to_have_count(0)
    await page.get_by_text("deliveries", exact=True).click()
    await page.get_by_role("button", name="Pause").click()
    server.publish("news", "event-3", None)
    await expect(page.locator("#shown")).to_contain_text("1 new")
    await expect(lines(page, "event-3")).to_have_count(0)
    await page.get_by_role("button", name="Resume").click()
    await expect(lines(page, "event-3")).to_have_count(1)
    await page.get_by_role("button", name="Clear").click()
    await expect(page.locator(".line:visible")).to_have_count(0)


async def test_a_message_is_read_with_the_keys_alone(server: ServerProcess, page: Page) -> None:
    await visit(page, server)
    await subscribe(page, "news")
    server.publish("news", "deep", {"inner": {"value": 42}})
    await expect(lines(page, "deep")).to_have_count(1)
    await page.locator("#log").focus()
    await page.keyboard.press("End")
    await expect(page.get_by_label("Selected message")).to_contain_text('"value": 42')
    await expect(page.locator("#log")).to_have_attribute("aria-activedescendant", re.compile("line-"))
    active = await page.locator("#log").get_attribute("aria-activedescendant")
    await expect(page.locator(f"#{active}")).to_have_attribute("aria-selected", "true")
    await page.keyboard.press("Escape")
    await expect(page.get_by_label("Selected message")).to_be_hidden()
    await page.get_by_role("tab", name="Messages").focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("tab", name="Connections")).to_be_focused()
    await expect(page.get_by_role("tabpanel", name="Connections")).to_be_visible()


async def test_the_disconnect_button_closes_another_clients_connection(server: ServerProcess, page: Page) -> None:
    await visit(page, server)
    async with connect(f"ws://127.0.0.1:{server.port}/", proxy=None) as other:
        await other.recv()
        await other.send('{"action":"subscribe","channel":"only-here"}')
        await other.recv()
        await page.get_by_role("tab", name="Connections").click()
        await expect(page.locator("#people-note")).to_contain_text("enter the broadcast key")
        await page.get_by_label("Broadcast key").fill(KEY)
        await page.get_by_label("Filter by channel").fill("only-here")
        await page.get_by_role("button", name="Show", exact=True).click()
        row = page.locator("#people tr")
        await expect(row).to_have_count(1)
        await expect(row).to_contain_text("anonymous")
        button = row.get_by_role("button", name="Disconnect")
        await button.click()
        await expect(button).to_have_text("Sure?")
        await button.click()
        await expect(row).to_have_count(0)
        await other.wait_closed()
        assert other.close_code == 1000
    await expect(page.locator("#status")).to_contain_text("Connected")


async def test_more_connections_than_a_page_are_turned_over(own_server: OwnServer, page: Page) -> None:
    server = own_server()
    clients = [await connect(f"ws://127.0.0.1:{server.port}/", proxy=None) for _ in range(60)]
    await page.goto(server.url)
    await page.get_by_label("Broadcast key").fill(KEY)
    await page.get_by_role("tab", name="Connections").click()
    await expect(page.locator("#people tr")).to_have_count(50)
    await page.get_by_role("button", name="Next page").click()
    await expect(page.locator("#people tr")).to_have_count(10)
    await page.get_by_role("button", name="First page").click()
    await expect(page.locator("#people tr")).to_have_count(50)
    for client in clients:
        await client.close()


async def test_a_wrong_key_is_reported(server: ServerProcess, page: Page) -> None:
    await page.goto(server.url)
    await page.get_by_label("Broadcast key").fill("wrong")
    await page.get_by_role("tab", name="Channels").click()
    await expect(page.locator("#channels-note")).to_have_text("invalid broadcast key")


async def test_secrets_stay_in_the_page(server: ServerProcess, page: Page, context: BrowserContext) -> None:
    addresses: list[str] = []
    context.on("request", lambda request: addresses.append(request.url))
    page.on("websocket", lambda socket: addresses.append(socket.url))
    secret = token()
    await page.goto(server.url)
    await page.get_by_label("Dialect").select_option("rooms")
    await page.get_by_label("Token").fill(secret)
    await page.get_by_label("Broadcast key").fill(KEY)
    await page.get_by_role("button", name="Connect", exact=True).click()
    await expect(page.locator("#status")).to_contain_text("Connected")
    await page.get_by_role("tab", name="Connections").click()
    await expect(page.locator("#people tr").first).to_be_visible()
    kept = await page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    )
    everything = kept + " ".join(addresses)
    assert secret not in everything
    assert KEY not in everything


async def test_nothing_is_loaded_from_elsewhere_and_no_policy_is_broken(server: ServerProcess, page: Page) -> None:
    hosts: set[str] = set()
    words: list[str] = []
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.on("console", lambda message: words.append(message.text))
    await visit(page, server)
    await subscribe(page, "news")
    await page.wait_for_function("document.querySelector('#server-line').textContent.includes('Broker up')")
    assert hosts == {f"127.0.0.1:{server.port}"}
    assert words == []


async def test_messages_are_never_interpreted_as_markup(server: ServerProcess, page: Page) -> None:
    await visit(page, server)
    await subscribe(page, "<img src=x onerror=alert(1)>")
    server.publish("<img src=x onerror=alert(1)>", "<b>bold</b>", "<script>alert(2)</script>")
    await expect(lines(page, "<script>alert(2)</script>")).to_have_count(1)
    assert await page.locator("main img, main b:not(.empty b), aside img, main script").count() == 0


async def test_after_a_restart_the_page_is_back_and_tells_what_it_missed(own_server: OwnServer, page: Page) -> None:
    server = own_server()
    await visit(page, server)
    await subscribe(page, "news")
    server.restart(signal.SIGKILL)
    await expect(lines(page, "missed")).to_have_count(1)
    server.publish("news", "after the restart", 1)
    await expect(lines(page, "after the restart")).to_have_count(1)
    await page.get_by_role("button", name="Disconnect", exact=True).click()
    await expect(page.locator("#status")).to_have_text("Not connected")


async def test_a_refused_token_is_reported(server: ServerProcess, page: Page) -> None:
    await page.goto(server.url)
    await page.get_by_label("Token").fill("no.such.token")
    await page.get_by_label("Reconnect automatically").uncheck()
    await page.get_by_role("button", name="Connect", exact=True).click()
    await expect(lines(page, "connection refused: invalid token")).to_have_count(1)
    await expect(page.get_by_role("button", name="Connect", exact=True)).to_be_enabled()
    await expect(page.locator("#status")).to_have_text("Connection refused")


async def test_charts_show_what_the_server_does(server: ServerProcess, page: Page) -> None:
    await visit(page, server)
    await subscribe(page, "news")
    await expect(page.get_by_role("img", name=re.compile(r"^Connections: now [1-9]"))).to_be_visible()
    await expect(page.get_by_role("img", name=re.compile(r"^Round trip of this page: now [\d.]+ ms"))).to_be_visible()
    for _ in range(40):
        server.publish("news", "n", 1)
    await expect(page.get_by_role("img", name=re.compile(r"^Deliveries per second: .*maximum [1-9]"))).to_be_visible()
    await expect(page.locator("#server-line")).to_contain_text("memory")


async def test_five_thousand_messages_per_second_leave_it_responsive(server: ServerProcess, page: Page) -> None:
    await visit(page, server)
    await subscribe(page, "flood")
    await page.get_by_label("Search the messages").fill("flood")
    await page.evaluate(
        """() => {
            window.frames_ = 0; window.longest = 0; let last = performance.now();
            const count = (now) => {
                frames_ += 1; longest = Math.max(longest, now - last); last = now; requestAnimationFrame(count);
            };
            requestAnimationFrame(count);
        }"""
    )
    batch = [{"channel": "flood", "event": "flood", "data": {"n": number, "text": "x" * 60}} for number in range(250)]
    for _ in range(100):
        server.call("broadcast", {"messages": batch})
    await expect(page.locator("#shown")).to_have_text(re.compile("^20,000 shown"), timeout=30_000)
    await expect(page.locator("#count")).to_have_text("25,002", timeout=30_000)
    frames, longest, rows = await page.evaluate("[frames_, longest, document.querySelectorAll('.line').length]")
    assert rows < 100
    # A quarter of a second without a frame is where people begin to wait; a shared machine gets some more.
    assert longest < 1000, f"{longest:.0f} ms without a frame, {frames} frames"
    await page.keyboard.press("Escape")
    await expect(lines(page, '"n":249').last).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_has_contrast_in_light_and_in_dark(server: ServerProcess, page: Page, scheme: str) -> None:
    """WCAG 2.1 AA requires 4.5 to 1. Checks each named colour against each background that it is used on."""
    await page.goto(server.url)
    button = page.locator("#theme")
    while scheme not in ((await button.get_attribute("aria-label")) or ""):
        await button.click()
    ratios = await page.evaluate(
        """() => {
            const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
            const rgb = (name) => {
                const probe = document.createElement("i");
                probe.style.color = `var(--${name})`;
                document.body.append(probe);
                canvas.fillStyle = getComputedStyle(probe).color;
                canvas.fillRect(0, 0, 1, 1);
                probe.remove();
                return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
            };
            const light = (name) => {
                const parts = rgb(name).map((part) => part / 255)
                    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
                return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
            };
            const ratio = (a, b) => {
                const [dark, bright] = [light(a), light(b)].sort((x, y) => x - y);
                return (bright + 0.05) / (dark + 0.05);
            };
            const inks = ["ink", "soft", "accent", "busy", "bad", "sent"];
            const pairs = inks.flatMap((ink) => ["card", "raised", "ground"].map((ground) => [ink, ground]));
            return [...pairs, ["accent-ink", "accent"]].map(([a, b]) => [`${a} on ${b}`, ratio(a, b)]);
        }"""
    )
    assert [pair for pair in ratios if pair[1] < 4.5] == []


@pytest.mark.parametrize(
    ("dialect", "address", "given", "words"),
    [
        ("rooms", None, "wrong", "connection refused: invalid token"),
        ("rooms", None, "broken in\ntwo", "the token contains characters that are not allowed in a JWT"),
        ("channels", "/nowhere", "", "the console is at /"),
        ("jobs", None, "", None),
    ],
)
async def test_a_refused_page_shows_the_reason(
    server: ServerProcess, page: Page, dialect: str, address: str | None, given: str, words: str | None
) -> None:
    await page.goto(server.url)
    await page.get_by_label("Dialect").select_option(dialect)
    if address is not None:
        await page.get_by_label("Address").fill(server.url.replace("http", "ws").rstrip("/") + address)
    await page.get_by_label("Token").fill(given)
    await page.get_by_role("button", name="Connect", exact=True).click()
    if words is None:
        await expect(lines(page, "connected to")).to_have_count(1)
    else:
        await expect(lines(page, words)).to_have_count(1)


async def test_a_server_that_does_not_answer_is_reported_as_such(own_server: OwnServer, page: Page) -> None:
    server = own_server()
    await visit(page, server)
    server.stop()
    await expect(lines(page, "the server does not answer")).to_have_count(1)


async def test_the_theme_is_remembered(server: ServerProcess, page: Page) -> None:
    await page.goto(server.url)
    await page.get_by_role("button", name="Colours").click()
    await page.reload()
    await expect(page.get_by_role("button", name="Colours: light")).to_be_visible()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
async def test_no_screen_is_too_narrow(server: ServerProcess, page: Page, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 800})
    await visit(page, server)
    await subscribe(page, "a-channel-with-a-name-that-is-longer-than-a-telephone-is-wide")
    server.publish("news", "x", "y" * 500)
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_every_field_and_button_has_a_name(server: ServerProcess, page: Page) -> None:
    await page.goto(server.url)
    nameless = await page.evaluate(
        """() => [...document.querySelectorAll("input, select, textarea, button")]
            .filter((element) => !(element.getAttribute("aria-label") || element.labels?.length || element.textContent))
            .map((element) => element.outerHTML)"""
    )
    assert nameless == []
