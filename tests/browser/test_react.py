"""The hooks and components in Chromium, with React of npm, against servers that restart."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, expect

from fastws.client import connect
from tests.brokers.tcp_proxy import TcpProxy
from tests.browser.conftest import FrontEnd, ServerProcess, token
from tests.browser.react_bundle import modules
from tests.node_packages import packages

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(240),  # the first of them may have to wait for npm
]
OwnServer = Callable[..., ServerProcess]

PAGE = """<!doctype html><meta charset="utf-8"><title>front end</title><link rel="icon" href="data:,">
<script type="importmap">{"imports": {"react": "/react.js", "react-dom/client": "/react-dom-client.js"}}</script>
<div id="root"></div><script type="module" src="/app.js"></script>"""
IMPORTS = """
import * as React from "react";
import { createRoot } from "react-dom/client";
import { LiveExecutionCounter, RealtimeMetrics, WebSocketProvider, useChannel, usePresence, useTyping,
  useWebSocket, useWorkflowWebSocket } from "%(server)sclient/react.js";
const h = React.createElement;
const root = createRoot(document.getElementById("root"));
const url = "%(server)s";
window.heard = [];
window.root = root;
"""
WORKFLOW = """
function Workflow({ token, id }) {
  const { executionStatus, isConnected } = useWorkflowWebSocket(token, id, { url });
  return h("p", { id: "state" }, `${isConnected} ${executionStatus?.status} ${executionStatus?.progress_percentage}`);
}
window.show = (token, id) => root.render(h(React.StrictMode, null, h(Workflow, { token, id })));
"""
WORKSPACE = """
function Listener({ name, ...options }) {
  const socket = useWebSocket({
    workspaceId: "w", autoReconnect: true, maxReconnectAttempts: 50,
    onMessage: (event) => heard.push([name, JSON.parse(event.data).event]),
    ...options,
  });
  window[name] = socket;
  return h("p", { id: name }, socket.connectionStatus);
}
window.show = (token, names, options = {}) => root.render(h(React.StrictMode, null,
  h(WebSocketProvider, { url, token }, names.map((name) => h(Listener, { key: name, name, ...options })))));
"""
# Each listener makes its calls in an effect, which StrictMode runs twice; different settings are different connections.
ORDERS = """
function Caller({ number, calls }) {
  const { subscribe, unsubscribe, connectionStatus } = useWebSocket({
    workspaceId: "w", maxReconnectAttempts: 1000 + number,
    onMessage: ({ message: { event } }) => heard.push([number, event]),
  });
  window.statuses[number] = connectionStatus;
  React.useEffect(() => {
    calls.forEach((word) => promises.push((word === "s" ? subscribe : unsubscribe)("alert")));
  }, []);
}
window.statuses = [];
window.promises = [];
window.show = (token, orders) => root.render(h(React.StrictMode, null, h(WebSocketProvider, { url, token },
  orders.map((calls, number) => h(Caller, { key: number, number, calls })))));
"""
CHAT = """
function Chat({ name, history }) {
  const { connectionStatus, send } = useChannel("chat", ({ data }) => heard.push([name, data]), {
    history, onGap: (gap) => heard.push([name, "gap"]),
  });
  const { people, typing, stopped } = useTyping("chat", { name, seconds: 2 });
  window[name] = { send, typing, stopped };
  const state = `${connectionStatus} ${people.map((one) => one.name).join()}`;
  return h("p", { id: name, "data-heard": heard.length }, state.trim());
}
window.show = (people, server = url) => root.render(h(React.StrictMode, null, h(WebSocketProvider, { url: server },
  people.map(([name, history]) => h(Chat, { key: name, name, history })))));
"""
MEMBERS = """
function Members({ channel, limit }) {
  const onError = ({ code }) => heard.push(code);
  const { count, users, members, isComplete, connectionStatus } = usePresence(channel, { limit, onError });
  const names = members.map(({ user }) => user).sort().join();
  const text = `${connectionStatus} ${count} ${users} ${names}`.trim();
  return h("p", { id: "members", "data-complete": String(isComplete) }, text);
}
window.show = (token, channel, server = url, limit = undefined) => root.render(h(React.StrictMode, null,
  h(WebSocketProvider, { url: server, token }, h(Members, { channel, limit }))));
"""
MAILBOX = """
function Phone() {
  const { connectionStatus } = useChannel("client:ada:phone", ({ data }) => heard.push(["channel", data]), {
    history: 2,
  });
  const { connectionStatus: other } = useWebSocket({
    workspaceId: "w", eventTypes: ["alert"], onMessage: ({ message: { data } }) => heard.push(["workspace", data]),
  });
  return h("p", { id: "phone" }, `${connectionStatus} ${other}`);
}
window.show = (token, server, clientId) => root.render(h(React.StrictMode, null,
  h(WebSocketProvider, { url: server, token, clientId }, h(Phone))));
"""
DASHBOARD = """
window.show = (token) => root.render(h(React.StrictMode, null, h(WebSocketProvider, { url, token },
  h(LiveExecutionCounter, { workspaceId: "w" }),
  h(RealtimeMetrics, { workspaceId: "w", metricType: "executions", labels: { active_agents: "Agents" } }))));
"""


async def visit(page: Page, front_end: FrontEnd, server: ServerProcess, script: str) -> None:
    """Open the front end with `script` as its application."""
    for path, source in modules(packages()).items():
        front_end.put(path, source)
    front_end.put("/app.js", IMPORTS % {"server": server.url} + script)
    front_end.put("/", PAGE, "text/html")
    await page.goto(front_end.url)
    await page.wait_for_function("Boolean(window.show)")


async def connections(server: ServerProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.call("connections")["connections"]
    return found


async def test_a_workflow_is_followed_over_a_restart(own_server: OwnServer, front_end: FrontEnd, page: Page) -> None:
    server = own_server()
    await visit(page, front_end, server, WORKFLOW)
    await page.evaluate("([token, id]) => show(token, id)", [token(), "1"])
    state = page.locator("#state")
    await expect(state).to_have_text("true undefined undefined")
    await wait_for_subscribers(server, "execution:1", 1)
    server.publish(
        "execution:1", "status_changed", {"execution_id": "1", "status": "running", "progress_percentage": 5}
    )
    await expect(state).to_have_text("true running 5")
    server.stop(signal.SIGKILL)
    await expect(state).to_have_text("false running 5")
    server.start()
    await expect(state).to_have_text("true running 5")
    await wait_for_subscribers(server, "execution:1", 1)
    server.publish("execution:1", "done", {"execution_id": "1", "status": "completed", "progress_percentage": 100})
    await expect(state).to_have_text("true completed 100")


async def test_another_execution_is_another_state_and_a_newer_token_keeps_the_connection(
    own_server: OwnServer, front_end: FrontEnd, page: Page
) -> None:
    server = own_server()
    await visit(page, front_end, server, WORKFLOW)
    show = "([token, id]) => show(token, id)"
    await page.evaluate(show, [token(), "1"])
    await wait_for_subscribers(server, "execution:1", 1)
    before = [each["id"] for each in await connections(server)]
    await page.evaluate(show, [token(n=2), "1"])
    server.publish("execution:1", "e", {"execution_id": "1", "status": "running"})
    await expect(page.locator("#state")).to_have_text("true running undefined")
    assert [each["id"] for each in await connections(server)] == before
    await page.evaluate(show, [token(), "2"])
    await expect(page.locator("#state")).to_have_text("true undefined undefined")
    await wait_for_subscribers(server, "execution:2", 1)
    await wait_for_subscribers(server, "execution:1", 0)
    await page.evaluate(show, [None, "2"])
    await expect(page.locator("#state")).to_have_text("false undefined undefined")
    await wait_for_subscribers(server, "execution:2", 0)


async def test_components_of_one_workspace_share_a_connection_and_each_gets_its_event_types(
    own_server: OwnServer, front_end: FrontEnd, page: Page
) -> None:
    server = own_server()
    await visit(page, front_end, server, WORKSPACE)
    await page.evaluate("([token, names]) => show(token, names)", [token(), ["one", "two"]])
    await expect(page.locator("#one")).to_have_text("connected")
    await expect(page.locator("#two")).to_have_text("connected")
    assert len(await connections(server)) == 1
    await page.evaluate("() => one.subscribe(['alert', 'execution_started'])")
    server.publish("workspace:w", "alert", {"message": "x"})
    server.publish("workspace:w", "other", {})
    await page.wait_for_function("heard.length === 3")
    assert sorted(await page.evaluate("heard")) == [["one", "alert"], ["two", "alert"], ["two", "other"]]
    await page.evaluate("() => Promise.all([two.subscribe('other'), one.unsubscribe(['alert'])])")
    await page.evaluate("() => { heard.length = 0; }")
    for event in ("alert", "execution_started", "other"):
        server.publish("workspace:w", event, {})
    await page.wait_for_function("heard.length === 2")
    assert sorted(await page.evaluate("heard")) == [["one", "execution_started"], ["two", "other"]]
    server.restart(signal.SIGKILL)
    await expect(page.locator("#one")).to_have_text("connected")
    assert await page.evaluate("() => one.requestMetrics('connections')")
    await page.evaluate("() => { heard.length = 0; }")
    for event in ("alert", "execution_started", "other"):
        server.publish("workspace:w", event, {})
    await page.wait_for_function("heard.length === 2")
    assert sorted(await page.evaluate("heard")) == [["one", "execution_started"], ["two", "other"]]
    assert await page.evaluate("() => one.sendMessage({ type: 'ping' })") is True
    await page.evaluate("() => root.unmount()")
    await wait_for_subscribers(server, "workspace:w", 0)


async def test_without_a_token_nothing_is_opened_and_with_one_it_is(
    own_server: OwnServer, front_end: FrontEnd, page: Page
) -> None:
    server = own_server()
    await visit(page, front_end, server, WORKSPACE)
    await page.evaluate("() => show(null, ['one'])")
    await expect(page.locator("#one")).to_have_text("disconnected")
    assert await connections(server) == []
    await page.evaluate("(token) => show(token, ['one'])", token())
    await expect(page.locator("#one")).to_have_text("connected")


async def test_without_reconnecting_the_end_is_the_end(own_server: OwnServer, front_end: FrontEnd, page: Page) -> None:
    server = own_server()
    await visit(page, front_end, server, WORKSPACE)
    await page.evaluate("(token) => show(token, ['one'], { autoReconnect: false })", token())
    await expect(page.locator("#one")).to_have_text("connected")
    server.restart(signal.SIGKILL)
    await expect(page.locator("#one")).to_have_text("disconnected")
    assert await connections(server) == []
    await page.evaluate("(token) => show(token, ['one'], { autoReconnect: false })", token(n=2))
    await expect(page.locator("#one")).to_have_text("connected")


async def test_the_components_show_executions_and_metrics_live(
    own_server: OwnServer, front_end: FrontEnd, page: Page
) -> None:
    server = own_server()
    server.publish("workspace:w", "metrics_update", {"metric_type": "executions", "total_executions": 1234})
    await visit(page, front_end, server, DASHBOARD)
    await page.evaluate("(token) => show(token)", token())
    await expect(page.locator(".fastws-executions")).to_have_attribute("data-status", "connected")
    metrics = page.get_by_role("region", name="Metrics")
    executions = page.get_by_role("region", name="Executions")
    await wait_for_subscribers(server, "workspace:w", 1)
    await page.wait_for_function("document.querySelector('.fastws-metrics').dataset.status === 'connected'")
    server.publish("workspace:w", "execution_started", {"agent_id": "a", "run_id": "1"})
    server.publish("workspace:w", "execution_started", {"agent_id": "b", "run_id": "2"})
    server.publish("workspace:w", "execution_completed", {"agent_id": "a", "run_id": "1", "success": True})
    server.publish("workspace:w", "metrics_update", {"metric_type": "executions", "active_agents": 5})
    server.publish("workspace:w", "metrics_update", {"metric_type": "other", "active_agents": 99})
    await expect(executions.locator("dl")).to_have_text("running1started2completed1failed0")
    await expect(executions.get_by_role("listitem")).to_have_count(3)
    await expect(executions.get_by_role("listitem").first).to_contain_text("completed a · 1")
    await expect(metrics).to_contain_text("Agents5")
    server.restart(signal.SIGKILL)
    await expect(page.locator(".fastws-metrics")).to_have_attribute("data-status", "connected")
    await wait_for_subscribers(server, "workspace:w", 1)
    server.publish("workspace:w", "execution_completed", {"agent_id": "b", "run_id": "2", "success": False})
    await expect(executions.locator("dl")).to_have_text("running0started2completed1failed1")


def heard_after(calls: tuple[str, ...]) -> set[str]:
    """Which of `alert` and `other` a listener gets after these calls if it got everything before them."""
    everything = {"alert", "other"}
    heard, is_muted = everything, False
    for word in calls:
        if word == "u":
            is_muted = heard == everything or is_muted
            heard = heard - {"alert"}
        elif is_muted:  # takes the `unsubscribe` back
            heard, is_muted = everything, False
        else:
            heard = {"alert"}
    return heard


async def test_subscribe_and_unsubscribe_in_every_order_by_effects_that_run_twice(
    own_server: OwnServer, front_end: FrontEnd, page: Page
) -> None:
    server = own_server()
    orders = [order for length in range(1, 5) for order in itertools.product("su", repeat=length)]
    await visit(page, front_end, server, ORDERS)
    await page.evaluate("([token, orders]) => show(token, orders)", [token(), orders])
    all_connected = f"statuses.filter((each) => each === 'connected').length === {len(orders)}"
    wanted = sorted([number, event] for number, order in enumerate(orders) for event in heard_after(order * 2))
    for _ in range(2):
        await page.wait_for_function(all_connected)
        await page.evaluate("() => Promise.all(promises)")
        assert len(await connections(server)) == len(orders)
        await page.evaluate("() => { heard.length = 0; }")
        for event in ("alert", "other", "alert"):
            server.publish("workspace:w", event, {})
        twice = [each for each in wanted for _ in range(1 + (each[1] == "alert"))]
        await page.wait_for_function(f"heard.length >= {len(twice)}")
        assert sorted(await page.evaluate("heard")) == twice
        server.stop(signal.SIGKILL)
        await page.wait_for_function("statuses.every((each) => each === 'reconnecting')")
        server.start()
    await page.evaluate("() => root.unmount()")
    await wait_for_subscribers(server, "workspace:w", 0)


async def wait_for_subscribers(server: ServerProcess, channel: str, count: int) -> None:
    """Until `channel` has `count` of them."""
    for _ in range(300):
        if len([None for each in await connections(server) if channel in each["channels"]]) == count:
            return
        await asyncio.sleep(0.02)  # the server offers no event for this
    pytest.fail(f"{channel} does not have {count} subscribers: {json.dumps(await connections(server))}")


async def test_a_channel_begins_with_its_history_and_goes_on_over_lost_connections(
    own_server: OwnServer, front_end: FrontEnd, page: Page
) -> None:
    server = own_server("--history", "**=100/60")
    await visit(page, front_end, server, CHAT)
    async with TcpProxy(server.port) as proxy:
        for number in range(5):
            server.publish("chat", "said", number)
        show = "([people, url]) => show(people, url)"
        url = f"http://127.0.0.1:{proxy.port}/"
        await page.evaluate(show, [[["ada", 3]], url])
        await page.wait_for_function("heard.length === 3")
        server.publish("chat", "said", 5)
        await page.wait_for_function("heard.length === 4")
        for number in range(6, 12, 2):
            proxy.cut()
            server.publish("chat", "said", number)
            server.publish("chat", "said", number + 1)
            await page.wait_for_function(f"heard.length === {number}")
        await page.evaluate(show, [[["ada", 3], ["bob", 2]], url])
        await page.wait_for_function("heard.length === 12")
        (connection,) = await connections(server)
        assert connection["channels"] == ["chat"]
    heard = await page.evaluate("heard")
    assert heard == [*(["ada", number] for number in range(2, 12)), ["bob", 10], ["bob", 11]]


async def test_a_connection_that_is_lost_before_the_history_has_come_costs_no_history(
    own_server: OwnServer, front_end: FrontEnd, page: Page
) -> None:
    server = own_server("--history", "**=100/60")
    for number in range(3):
        server.publish("chat", "said", number)
    await page.add_init_script("""
        const send = WebSocket.prototype.send;
        WebSocket.prototype.send = function (data) {
          if (!data.includes('"history"') || window.isCut) send.call(this, data);
          else this.close(3000 + (window.isCut = 1));
        };
    """)
    await visit(page, front_end, server, CHAT)
    await page.evaluate("show([['ada', 2]])")
    await page.wait_for_function("heard.length === 2")
    server.publish("chat", "said", 3)
    await page.wait_for_function("heard.length === 3")
    assert await page.evaluate("isCut") == 1
    assert await page.evaluate("heard") == [["ada", 1], ["ada", 2], ["ada", 3]]


async def test_people_who_type_are_shown_until_they_send_stop_or_say_nothing_more(
    server: ServerProcess, front_end: FrontEnd, page: Page, context: BrowserContext
) -> None:
    other = await context.new_page()
    for each, name in ((page, "ada"), (other, "bob")):
        await visit(each, front_end, server, CHAT)
        await each.evaluate("name => show([[name, 0]])", name)
        await expect(each.locator(f"#{name}")).to_have_text("connected")
    await wait_for_subscribers(server, "chat", 2)
    ada = page.locator("#ada")
    for end in ("bob.stopped()", "bob.send('said', 1)", "null"):
        await other.evaluate("bob.typing()")
        await expect(ada).to_have_text("connected bob")
        await other.evaluate(end)
        await expect(ada).to_have_text("connected")
        await other.evaluate("bob.stopped()")
    await expect(other.locator("#bob")).to_have_text("connected")
    assert await page.evaluate("heard") == [["ada", 1]]


async def test_the_mailbox_of_a_client_id_is_a_channel_that_misses_nothing(
    own_server: OwnServer, front_end: FrontEnd, page: Page
) -> None:
    server, mailbox = own_server("--history", "client:**=100/60"), "client:ada:phone"
    for number in range(3):
        server.publish(mailbox, "note", number)
    await visit(page, front_end, server, MAILBOX)
    async with TcpProxy(server.port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/"
        await page.evaluate("([token, url]) => show(token, url, 'phone')", [token(), url])
        await page.wait_for_function("heard.length === 2")
        await expect(page.locator("#phone")).to_have_text("connected connected")
        await wait_for_subscribers(server, mailbox, 2)
        server.publish(mailbox, "note", 3)
        await page.wait_for_function("heard.length === 4")
        proxy.cut()
        server.publish(mailbox, "note", 4)
        await page.wait_for_function("heard.length === 6")
        # Another id is another client.
        await page.evaluate("([token, url]) => show(token, url, 'tablet')", [token(), url])
        await wait_for_subscribers(server, mailbox, 0)
        await wait_for_subscribers(server, "client:ada:tablet", 2)
    heard = await page.evaluate("heard")
    assert [number for kind, number in heard if kind == "channel"] == [1, 2, 3, 4]
    assert [number for kind, number in heard if kind == "workspace"] == [3, 4]


async def test_a_channel_that_is_no_longer_shown_is_left(
    server: ServerProcess, front_end: FrontEnd, page: Page
) -> None:
    await visit(page, front_end, server, CHAT)
    await page.evaluate("show([['ada', 0], ['bob', 0]])")
    await wait_for_subscribers(server, "chat", 1)
    await page.evaluate("show([['bob', 0]])")
    server.publish("chat", "said", 1)
    await page.wait_for_function("heard.length === 1")
    await page.evaluate("show([])")
    await wait_for_subscribers(server, "chat", 0)


async def test_the_members_of_a_channel_are_listed_also_after_a_lost_connection(
    own_server: OwnServer, front_end: FrontEnd, page: Page, context: BrowserContext
) -> None:
    server = own_server("--presence", "**", "--presence-updates", "**=0")
    other = await context.new_page()
    show = "([token, channel, url]) => show(token, channel, url)"
    members, theirs = page.locator("#members"), other.locator("#members")
    async with TcpProxy(server.port) as proxy:
        await visit(page, front_end, server, MEMBERS)
        await page.evaluate(show, [token(sub="ada", channels=["**"]), "chat", f"http://127.0.0.1:{proxy.port}/"])
        await expect(members).to_have_text("connected 1 1 ada")
        await visit(other, front_end, server, MEMBERS)
        await other.evaluate(show, [token(sub="bob", channels=["**"]), "chat", server.url])
        await expect(theirs).to_have_text("connected 2 2 ada,bob")
        await expect(members).to_have_text("connected 2 2 ada,bob")
        proxy.cut()
        await expect(theirs).to_have_text("connected 2 2 ada,bob")
        await expect(members).to_have_text("connected 2 2 ada,bob")
        await other.evaluate(show, [token(sub="bob", channels=["**"]), "elsewhere", server.url])
        await expect(theirs).to_have_text("connected 1 1 bob")
        await expect(members).to_have_text("connected 1 1 ada")


async def test_a_channel_without_presence_is_an_error_and_one_with_figures_has_no_members(
    own_server: OwnServer, front_end: FrontEnd, page: Page
) -> None:
    server = own_server("--presence", "plain=off", "--presence", "counted=count", "--presence", "**")
    await visit(page, front_end, server, MEMBERS)
    show, given = "([token, channel]) => show(token, channel)", token(sub="ada", channels=["**"])
    for channel, shown in (("plain", "connected 0 0"), ("counted", "connected 1 1"), ("chat", "connected 1 1 ada")):
        await page.evaluate(show, [given, channel])
        await expect(page.locator("#members")).to_have_text(shown)
        await page.wait_for_function("heard.length === 1")
    # StrictMode runs an effect twice, but only the one that stays reports its error.
    assert await page.evaluate("heard") == ["bad_request"]


@pytest.mark.parametrize("limit", [1000, 2])
async def test_members_who_come_and_go_together_are_asked_for_up_to_the_limit(
    own_server: OwnServer, front_end: FrontEnd, page: Page, limit: int
) -> None:
    """Their updates have more than 100 changes, and so only the figures."""
    server = own_server("--presence", "**", "--presence-updates", "**=1")
    members = page.locator("#members")
    await visit(page, front_end, server, MEMBERS)
    show = "([token, url, limit]) => show(token, 'chat', url, limit)"
    await page.evaluate(show, [token(sub="ada", channels=["**"]), server.url, limit])
    await expect(members).to_have_text("connected 1 1 ada")
    names = [f"u{number}" for number in range(120)]
    async with AsyncExitStack() as stack:
        url = server.url.replace("http", "ws", 1)
        crowd = [connect(url, ["chat"], token=token(sub=name, channels=["**"]), proxy=None) for name in names]
        await asyncio.gather(*(stack.enter_async_context(client) for client in crowd))
        everybody = " " + ",".join(["ada", *sorted(names)])
        await expect(members).to_have_text(re.compile(f"connected 121 121{everybody if limit > 121 else ''}"))
        await expect(members).to_have_attribute("data-complete", str(limit > 121).lower())
    await expect(members).to_have_text("connected 1 1 ada")
    await expect(members).to_have_attribute("data-complete", "true")
