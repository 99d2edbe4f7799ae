"""The browser client in Chromium, imported by a page of another origin: servers stop, freeze and restart."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page

from tests.brokers.tcp_proxy import TcpProxy
from tests.browser.conftest import FrontEnd, ServerProcess, token
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
OwnServer = Callable[..., ServerProcess]

# `seen` has all events of the client by kind, in order.
PAGE = """<!doctype html><meta charset="utf-8"><title>front end</title><link rel="icon" href="data:,">
<script type="module">
import * as fastws from "%s/client/fastws.js";
window.fastws = fastws;
window.seen = { message: [], status: [], gap: [], lag: [], error: [], left: [], asked: [], reconnected: [] };
window.open_ = (options) => {
  if (options.asks) options.getToken = async ({ reason }) => (seen.asked.push(reason), await window.newToken(reason));
  window.client = fastws.connect({ url: "%s", firstDelay: 50, longestDelay: 500, ...options });
  const kinds = ["message", "status", "gap", "lag", "left", "reconnected"];
  for (const kind of kinds) client.on(kind, (value) => seen[kind].push(value));
  client.on("error", ({ code, message }) => seen.error.push({ code, message }));
  return client.ready.then(() => true);
};
window.isReady = true;
</script>"""


class FrontPage:
    """The page of the front end and its client."""

    def __init__(self, page: Page, front_end: FrontEnd) -> None:
        self.page = page
        self.front_end = front_end

    async def visit(self, server: ServerProcess) -> None:
        base = server.url.rstrip("/")
        self.front_end.put("/", PAGE % (base, base), "text/html")
        await self.page.goto(self.front_end.url)
        await self.until("window.isReady")

    async def connect(self, **options: Any) -> None:
        await self.run("options => open_(options)", options)

    async def run(self, script: str, argument: object = None) -> Any:
        return await self.page.evaluate(script, argument)

    async def until(self, expression: str) -> Any:
        return await (await self.page.wait_for_function(expression)).json_value()

    async def seen(self, kind: str) -> list[Any]:
        found: list[Any] = await self.run("kind => seen[kind]", kind)
        return found


@pytest_asyncio.fixture(loop_scope="session")
async def front(page: Page, front_end: FrontEnd) -> AsyncIterator[FrontPage]:
    yield FrontPage(page, front_end)
    await page.evaluate("window.client?.close()")


@pytest.mark.parametrize("format_", ["json", "msgpack"])
async def test_a_page_of_another_origin_gets_publications(
    server: ServerProcess, front: FrontPage, format_: str
) -> None:
    await front.visit(server)
    await front.connect(format=format_, channels=["news"])
    await front.run("() => client.subscribe('more')")
    server.publish("news", "hello", {"text": "Grüße 🎉", "big": 2**40, "list": [1.5, None, True]})
    server.publish("more", "again", "plain text")
    await front.until("seen.message.length === 2")
    assert await front.seen("message") == [
        {"channel": "news", "event": "hello", "data": {"text": "Grüße 🎉", "big": 2**40, "list": [1.5, None, True]}},
        {"channel": "more", "event": "again", "data": "plain text"},
    ]


@pytest.mark.parametrize("format_", ["json", "msgpack"])
async def test_msgpack_is_loaded_only_for_the_msgpack_format(
    server: ServerProcess, front: FrontPage, format_: str
) -> None:
    await front.visit(server)
    await front.connect(format=format_)
    loaded = await front.run("() => performance.getEntriesByType('resource').map(({ name }) => name)")
    assert any(name.endswith("/client/msgpack.js") for name in loaded) == (format_ == "msgpack")


@pytest.mark.parametrize("format_", ["json", "msgpack"])
async def test_requests_get_their_own_replies(server: ServerProcess, front: FrontPage, format_: str) -> None:
    await front.visit(server)
    await front.connect(format=format_, channels=["own"])
    result = await front.run(
        """async () => {
            const sent = await Promise.all([client.send("own", "a", 1), client.send("nobody", "b", 2), client.ping()]);
            const direct = await client.sendTo(client.connectionId, "to me", { x: 1 });
            const gone = await client.sendTo("no such connection", "e");
            const apart = await client.send("own", "c", 3, { excludeSelf: true });
            const refused = await client.request({ action: "dance" }).catch((error) => [error.name, error.code]);
            return [sent[0], sent[1], sent[2] > 0, direct, gone, apart, refused];
        }"""
    )
    one, none = {"sent": 1, "failed": 0}, {"sent": 0, "failed": 0}
    gone = {"sent": 0, "failed": 1}
    assert result == [one, none, True, one, gone, none, ["FastWSError", "bad_request"]]
    heard = [(message.get("channel"), message["event"]) for message in await front.seen("message")]
    assert heard == [("own", "a"), (None, "to me")]


async def test_bytes_dates_and_big_integers_travel_between_pages_by_msgpack(
    server: ServerProcess, front: FrontPage
) -> None:
    await front.visit(server)
    await front.connect(format="msgpack", channels=["types"])
    await front.run(
        "() => client.send('types', 'e', { bytes: new Uint8Array([0, 255]), when: new Date(1.5e12), big: 2n ** 63n })"
    )
    await front.until("seen.message.length === 1")
    assert await front.run(
        """() => {
            const { bytes, when, big } = seen.message[0].data;
            const isDate = when instanceof Date;
            return [bytes instanceof Uint8Array && [...bytes], isDate && when.getTime(), big === 2n ** 63n];
        }"""
    ) == [[0, 255], 1.5e12, True]


@pytest.mark.parametrize("format_", ["json", "msgpack"])
async def test_rooms_workspaces_and_jobs_are_supported(server: ServerProcess, front: FrontPage, format_: str) -> None:
    await front.visit(server)
    await front.connect(dialect="rooms", format=format_, token=token(), channels=["execution:7"])
    server.publish("execution:7", "status_changed", {"status": "running"})
    server.publish("user:ada", "note", {"text": "yours"})
    await front.until("seen.message.length === 2")
    await front.run("() => client.close()")
    await front.connect(dialect="workspaces", format=format_, token=token())
    await front.run("() => client.subscribe(['alert', 'metrics_update'])")
    await front.run("() => client.unsubscribe('metrics_update')")
    server.publish("workspace:w", "metrics_update", {"x": 1})
    server.publish("workspace:w", "alert", {"text": "look"}, priority="high")
    await front.until("seen.message.length === 3")
    assert await front.run("() => client.requestMetrics('connections')")
    await front.run("() => client.close()")
    await front.connect(dialect="jobs", format=format_)
    await front.run("() => client.subscribe({ jobIds: ['1'], statuses: ['failed'] })")
    for status in ("processing", "failed"):
        server.publish("botrix:jobs:updates", "job_update", {"job_id": "1", "status": status})
    await front.until("seen.message.length === 4")
    room, user, alert, job = await front.seen("message")
    assert (room["type"], room["data"]) == ("execution_update", {"status": "running"})
    assert (user["type"], user["event"]) == ("notification", "note")
    assert (alert["event"], alert["priority"]) == ("alert", "high")
    assert (job["type"], job["job_id"], job["status"]) == ("job_update", "1", "failed")


async def test_a_channel_that_the_token_does_not_allow_is_refused_and_not_retried(
    server: ServerProcess, front: FrontPage
) -> None:
    await front.visit(server)
    await front.connect(dialect="rooms", token=token(channels=["execution:1"]))
    refusal = await front.run("() => client.subscribe('execution:2').catch((error) => [error.message, error.channel])")
    assert refusal == ["Access denied to room", "execution:2"]
    assert await front.run("() => client.subscribe('execution:1').then(() => 'joined')") == "joined"


@pytest.mark.parametrize("format_", ["json", "msgpack"])
async def test_after_a_restart_it_is_back_with_its_subscriptions_and_says_so(
    own_server: OwnServer, front: FrontPage, format_: str
) -> None:
    server = own_server()
    await front.visit(server)
    await front.connect(format=format_, channels=["news"])
    await front.run("() => client.subscribe(['kept', 'left'])")
    await front.run("() => client.unsubscribe('left')")
    server.restart(signal.SIGKILL)
    await front.until("seen.gap.length === 1")
    for channel in ("left", "kept", "news"):
        server.publish(channel, "after", channel)
    await front.until("seen.message.length >= 2")
    assert [message["channel"] for message in await front.seen("message")] == ["kept", "news"]
    assert await front.seen("gap") == [{"channel": None, "source": "reconnect"}]
    statuses = [change["status"] for change in await front.seen("status")]
    assert statuses[0] == "connecting"
    assert statuses[-1] == "connected"
    assert set(statuses[2:-1]) == {"reconnecting"}


@pytest.mark.parametrize("format_", ["json", "msgpack"])
async def test_what_was_published_while_it_was_away_arrives_once_and_in_order(
    own_server: OwnServer, front: FrontPage, format_: str
) -> None:
    server = own_server("--history", "**=100/60")
    await front.visit(server)
    async with TcpProxy(server.port) as proxy:
        await front.connect(format=format_, channels=["news"], url=f"http://127.0.0.1:{proxy.port}")
        await front.run("() => client.subscribe('more')")
        for cut in range(5):
            server.publish("news", "e", 2 * cut)
            await front.until(f"seen.message.length === {2 * cut + 1}")
            proxy.cut()
            server.publish("news", "e", 2 * cut + 1)
            await front.until(f"seen.reconnected.length === {cut + 1} && seen.message.length === {2 * cut + 2}")
        assert [message["data"] for message in await front.seen("message")] == list(range(10))
        assert {tuple(each["recovered"].values()) for each in await front.seen("reconnected")} == {(True, True)}
        assert await front.seen("gap") == []
        await front.run("() => { window.kept = JSON.parse(JSON.stringify(client.positions)); client.close(); }")
        server.publish("news", "e", 10)
        await front.run("() => open_({ channels: ['news'], positions: kept })")
        await front.until("seen.message.length === 11")


async def test_a_narrowed_workspace_is_narrow_after_a_restart_too(own_server: OwnServer, front: FrontPage) -> None:
    server = own_server()
    await front.visit(server)
    await front.connect(dialect="workspaces", token=token())
    await front.run("() => client.unsubscribe('noise')")
    server.restart(signal.SIGKILL)
    await front.until("seen.gap.length === 1")
    server.publish("workspace:w", "noise", 1)
    server.publish("workspace:w", "alert", 2)
    await front.until("seen.message.length >= 1")
    assert [message["event"] for message in await front.seen("message")] == ["alert"]


async def test_requests_made_while_it_is_away_wait_for_it(own_server: OwnServer, front: FrontPage) -> None:
    server = own_server()
    await front.visit(server)
    await front.connect(channels=["news"])
    server.stop(signal.SIGKILL)
    await front.until("client.status === 'reconnecting'")
    await front.run("() => { window.later = Promise.all([client.subscribe('late'), client.send('news', 'e', 1)]); }")
    server.start()
    assert (await front.run("() => window.later"))[1] == {"sent": 1, "failed": 0}
    server.publish("late", "e", 2)
    await front.until("seen.message.length === 2")


async def test_a_draining_server_is_come_back_to_within_the_time_that_it_names(
    own_server: OwnServer, front: FrontPage
) -> None:
    server = own_server("--drain-timeout", "3")
    await front.visit(server)
    await front.connect(channels=["news"])
    server.restart(signal.SIGTERM)
    await front.until("seen.gap.length === 1")
    ended = next(change for change in await front.seen("status") if change.get("code"))
    assert (ended["code"], ended["reason"]) == (1012, "restart; reconnect in 0-3 s")
    assert 0 <= ended["delay"] <= 3000


async def test_a_page_of_an_origin_that_is_not_allowed_gets_the_reason_and_stops(
    own_server: OwnServer, front: FrontPage
) -> None:
    await front.visit(own_server("--allowed-origins", "https://elsewhere.example"))
    await front.run("() => { open_({ channels: ['news'] }).catch(() => null); }")
    await front.until("client.status === 'refused'")
    (error,) = await front.seen("error")
    assert error["code"] == "forbidden"
    assert "allowed_origins" in error["message"]
    first, *_, last = [change for change in await front.seen("status") if change.get("code")]
    assert (first["code"], first["status"]) == (1006, "reconnecting")
    assert (last["code"], last["reason"]) == (4403, error["message"])


async def test_a_wrong_path_is_reported_and_the_client_keeps_trying(server: ServerProcess, front: FrontPage) -> None:
    await front.visit(server)
    await front.run("url => { open_({ url }).catch(() => null); }", f"{server.url}nowhere")
    await front.until("seen.error.length === 1 && client.status === 'reconnecting'")
    assert (await front.seen("error"))[0]["code"] == "not_found"


@pytest.mark.parametrize("auth", ["subprotocol", "query"])
async def test_a_refused_token_is_reported_and_the_client_stops(
    server: ServerProcess, front: FrontPage, auth: str
) -> None:
    await front.visit(server)
    await front.run("auth => { open_({ auth, token: 'a.b.c' }).catch(({ code }) => (window.why = code)); }", auth)
    await front.until("window.why")
    assert await front.run("() => [why, client.status]") == ["unauthorized", "refused"]
    assert [error["code"] for error in await front.seen("error")] == ["unauthorized"]


async def test_after_a_refused_token_a_better_one_of_get_token_connects(
    server: ServerProcess, front: FrontPage, context: BrowserContext
) -> None:
    await context.expose_function("newToken", lambda reason: token() if reason == "refused" else token(ttl=-60))
    await front.visit(server)
    await front.connect(dialect="rooms", asks=True)
    assert await front.seen("asked") == ["start", "refused"]
    assert [error["code"] for error in await front.seen("error")] in ([], ["unauthorized"])


async def test_a_connection_that_is_mute_is_given_up(own_server: OwnServer, front: FrontPage) -> None:
    server = own_server()
    await front.visit(server)
    await front.connect(channels=["news"], pingInterval=0.1, pongTimeout=1)
    server.signal(signal.SIGSTOP)
    await front.until("client.status === 'reconnecting'")
    server.signal(signal.SIGCONT)
    await front.until("seen.gap.length === 1")
    ended = next(change for change in await front.seen("status") if change.get("code"))
    assert (ended["code"], ended["reason"]) == (1006, "no answer to a ping")


async def test_the_network_that_comes_back_amid_an_attempt_leaves_one_connection(
    server: ServerProcess, front: FrontPage
) -> None:
    await front.visit(server)
    await front.run(
        """() => {
            open_({ channels: ["once"] });
            queueMicrotask(() => setTimeout(() => window.dispatchEvent(new Event("online"))));
        }"""
    )
    await front.until("client.status === 'connected'")
    await front.run("() => client.subscribe('once')")
    ids = [each["id"] for each in server.call("connections?channel=once")["connections"]]
    assert ids == [await front.run("() => client.connectionId")]
    server.publish("once", "e", 1)
    await front.until("seen.message.length > 0")
    await front.run("() => client.ping()")
    assert len(await front.seen("message")) == 1
    await front.run("() => client.close()")
    assert await front.run("() => client.status") == "disconnected"


async def test_a_frozen_server_is_found_out_when_the_page_is_shown(own_server: OwnServer, front: FrontPage) -> None:
    server = own_server()
    await front.visit(server)
    await front.connect(channels=["news"], requestTimeout=1, connectTimeout=1)
    await front.run("() => client.subscribe('news')")
    server.signal(signal.SIGSTOP)
    await front.run("() => document.dispatchEvent(new Event('visibilitychange'))")
    await front.until("client.status === 'reconnecting'")
    # The kernel still accepts connections: attempts that get no answer end as well.
    await front.until("seen.status.some(({ reason }) => reason === 'not connected within 1 s')")
    server.signal(signal.SIGCONT)
    await front.until("seen.gap.length === 1")
    server.publish("news", "e", 1)
    await front.until("seen.message.length === 1")


async def test_verbatim_messages_to_the_connection_arrive(server: ServerProcess, front: FrontPage) -> None:
    await front.visit(server)
    await front.connect(channels=["news"])
    bodies = [{"text": "without data"}, {"id": 1, "data": 5}, {"type": "pong"}]
    connection_id = await front.run("() => client.connectionId")
    for body in bodies:
        server.post_to_connection(connection_id, body)
    await front.until("seen.message.length === 3")
    assert await front.seen("message") == bodies


async def test_it_gives_up_after_max_reconnect_attempts(own_server: OwnServer, front: FrontPage) -> None:
    server = own_server()
    await front.visit(server)
    await front.connect(maxReconnectAttempts=2, channels=["news"])
    server.stop(signal.SIGKILL)
    await front.until("client.status === 'disconnected'")
    assert [change["attempt"] for change in await front.seen("status") if change.get("delay") is not None] == [1, 2]
    assert await front.run("() => client.ready.catch((error) => error.code)") == "closed"
    assert await front.run("() => client.send('news', 'e').catch((error) => error.code)") == "closed"


async def test_it_does_not_return_after_an_operator_has_disconnected_it(
    server: ServerProcess, front: FrontPage
) -> None:
    await front.visit(server)
    await front.connect(channels=["news"])
    server.call(f"connections/{await front.run('() => client.connectionId')}", method="DELETE")
    await front.until("client.status === 'disconnected'")
    assert (await front.seen("status"))[-1]["code"] == 1000


async def test_a_token_is_replaced_before_it_ends_and_the_connection_stays(
    server: ServerProcess, front: FrontPage, context: BrowserContext
) -> None:
    await context.expose_function("newToken", lambda reason: token(ttl=2.5 if reason == "start" else 600))
    await front.visit(server)
    await front.connect(dialect="rooms", asks=True, channels=["execution:1"])
    before = await front.run("() => client.connectionId")
    await front.until("seen.asked.length === 2")
    assert await front.seen("asked") == ["start", "expiring"]
    await front.run("() => client.ping()")
    assert await front.run("() => client.connectionId") == before
    assert [change["status"] for change in await front.seen("status")] == ["connecting", "connected"]


async def test_after_a_revocation_a_new_token_is_asked_for(
    server: ServerProcess, front: FrontPage, context: BrowserContext
) -> None:
    ids = iter(["first", "second"])
    await context.expose_function("newToken", lambda reason: token(jti=next(ids)))
    await front.visit(server)
    await front.connect(dialect="rooms", asks=True, channels=["execution:1"])
    server.call("revocations", {"jti": "first"})
    await front.until("seen.gap.length === 1")
    assert await front.seen("asked") == ["start", "refused"]
    assert next(change["code"] for change in await front.seen("status") if change.get("code")) == 4401


async def test_without_a_way_to_a_new_token_a_revoked_client_ends(server: ServerProcess, front: FrontPage) -> None:
    await front.visit(server)
    await front.connect(dialect="rooms", token=token(jti="only"), channels=["execution:1"])
    server.call("revocations", {"jti": "only"})
    await front.until("client.status === 'disconnected'")
    assert (await front.seen("error"))[-1]["code"] == "unauthorized"


async def test_a_narrower_token_makes_it_leave_and_it_stays_away(own_server: OwnServer, front: FrontPage) -> None:
    server = own_server()
    await front.visit(server)
    await front.connect(dialect="rooms", token=token(), channels=["execution:1", "execution:2"])
    await front.run("(token) => client.refresh(token)", token(channels=["execution:1"]))
    await front.until("seen.left.length === 1")
    assert (await front.seen("left"))[0]["channel"] == "execution:2"
    server.restart(signal.SIGKILL)
    await front.until("seen.gap.length === 1")
    assert await front.seen("error") == []


async def test_a_broker_that_was_away_is_a_gap(
    own_server: OwnServer, front: FrontPage, own_redis_server: RedisServer
) -> None:
    server = own_server("--redis-url", own_redis_server.url)
    await front.visit(server)
    await front.connect(channels=["news"])
    own_redis_server.restart_empty()
    await front.until("seen.gap.length >= 1")
    assert {"channel": "news", "source": "server"} in await front.seen("gap")


async def test_an_error_in_a_listener_is_the_pages_and_the_next_message_still_comes(
    server: ServerProcess, front: FrontPage
) -> None:
    await front.visit(server)
    await front.run(
        """() => {
            window.addEventListener("error", (event) => { seen.error.push(event.message); event.preventDefault(); });
            window.addEventListener("unhandledrejection", (event) => seen.error.push(String(event.reason)));
        }"""
    )
    await front.connect(channels=["news"])
    await front.run("() => { client.on('message', () => { throw new Error('mine'); }); }")
    server.publish("news", "one", 1)
    server.publish("news", "two", 2)
    await front.until("seen.message.length === 2 && seen.error.length === 2")
    assert all("mine" in error for error in await front.seen("error"))


async def test_five_thousand_messages_per_second_are_received(server: ServerProcess, front: FrontPage) -> None:
    await front.visit(server)
    await front.connect(format="msgpack", channels=["flood"])
    batch = [{"channel": "flood", "event": "n", "data": {"n": number}} for number in range(250)]
    begun = time.monotonic()
    for _ in range(20):
        server.call("broadcast", {"messages": batch})
    assert time.monotonic() - begun < 10
    await front.until("seen.message.length === 5000")
    numbers = await front.run("() => seen.message.map((message) => message.data.n)")
    assert numbers == json.loads(json.dumps([*range(250)] * 20))
