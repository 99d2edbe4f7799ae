"""The browser client's connection: never more than one, given up in time when it is dead, and not when it is slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.static.virtual import printed

TOKEN = """
const token = (seconds, name = "t") =>
  `x.${btoa(JSON.stringify({ exp: 1800000000 + clock.now / 1000 + seconds, name })).replace(/=/g, "")}.y`;
"""


def test_the_network_that_comes_back_amid_an_attempt_leaves_one_connection(tmp_path: Path) -> None:
    source = """
    const server = reset();
    const client = open({ channels: ["a"] });
    await clock.advance(5);
    page.fire("online");
    await settled();
    const during = [FakeSocket.all.length, FakeSocket.alive.length];
    FakeSocket.all[0].open();  // hooks of the one that was given up do nothing
    FakeSocket.all[0].receive({ type: "connection_id", connection_id: "old" });
    await clock.advance(100);
    server.publish("a");
    const after = [client.status, client.connectionId, seen.message.length, FakeSocket.alive.length];
    await clock.advance(60000);  // the browser reports the end of the first one only now
    client.close();
    report([during, after, FakeSocket.alive.length, seen.status.map(({ status }) => status)]);
    """
    during, after, alive, statuses = printed(source, tmp_path)
    assert during == [2, 1]
    assert after == ["connected", "c1", 1, 1]
    assert alive == 0
    assert statuses == ["connecting", "connecting", "connected", "disconnected"]


def test_an_abandoned_socket_is_not_heard_whatever_it_does(tmp_path: Path) -> None:
    source = """
    reset("jobs");
    const traffic = [];
    const client = open({ dialect: "jobs", onTraffic: (...all) => traffic.push(all) });
    await clock.advance(5);
    page.fire("online");
    await settled();
    const [old] = FakeSocket.all;
    old.readyState = 0;
    old.open();
    for (const frame of ['{"data":1}', "{"]) old.receive(frame);
    old.drop(1000);
    const before = [client.status, traffic.length, seen.message.length, seen.error.length];
    await clock.advance(100);
    report([before, client.status, FakeSocket.all.length]);
    """
    assert printed(source, tmp_path) == [["connecting", 0, 0, 0], "connected", 2]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_there_is_one_connection_at_most_and_none_after_the_close(tmp_path: Path, seed: int) -> None:
    """Random events of the network, the page, the server and the application, in random order."""
    source = (
        TOKEN
        + f"""
    let state = {seed + 1};
    const random = () => ((state = (state * 48271) % 2147483647) / 2147483647);
    const pick = (items) => items[Math.floor(random() * items.length)];
    const wrong = [];
    for (let run = 0; run < 60; run++) {{
      const server = reset();
      const answers = [];
      const ask = () => new Promise((resolve, reject) => answers.push([resolve, reject]));
      const getToken = random() < 0.5 ? ask : undefined;
      const client = open({{ channels: ["a"], getToken, token: token(50), firstDelay: 50, longestDelay: 400 }});
      const events = {{
        online: () => page.fire("online"),
        hide: () => show("hidden"),
        show: () => show("visible"),
        drop: () => FakeSocket.alive.at(-1)?.drop(pick([1006, 1012, 1013, getToken ? 4401 : 1001])),
        dropOld: () => FakeSocket.all[0]?.drop(),
        mute: () => (server.isAway = true),
        back: () => (server.isAway = false),
        token: () => answers.shift()?.[0](token(pick([20, 600]), String(random()))),
        noToken: () => answers.shift()?.[1](new Error("no token")),
        refresh: () => void client.refresh(token(600, String(random()))).catch(() => {{}}),
        change: () => void client[pick(["subscribe", "unsubscribe"])](pick(["a", "b"])).catch(() => {{}}),
        wait: () => clock.advance(pick([1, 12, 30, 300, 12000, 70000])),
        send: () => void client.send("a", "e").catch(() => {{}}),
      }};
      const path = [];
      for (let step = 0; step < 40; step++) {{
        const event = pick(Object.keys(events));
        path.push(event);
        await events[event]();
        await settled();
        if (FakeSocket.alive.length > 1) wrong.push(["two", run, path]);
      }}
      server.isAway = false;
      for (let round = 0; round < 40 && client.status !== "connected"; round++) {{
        events.token();
        await clock.advance(4000);
      }}
      client.subscribe("a").catch(() => {{}});
      await clock.advance(1000);
      const before = seen.message.length;
      server.publish("a");
      const heard = seen.message.length - before;
      if (heard !== 1) wrong.push(["heard", run, heard, client.status, path]);
      const sockets = FakeSocket.all.length;
      client.close();
      answers.forEach(([resolve]) => resolve(token(600)));
      page.fire("online"), show("visible");
      await clock.advance(300000);
      const left = [FakeSocket.alive.length, FakeSocket.all.length - sockets, clock.pending, page.count(), tab.count()];
      if (left.some(Boolean)) wrong.push(["left", run, left, path]);
    }}
    report(wrong.slice(0, 2));
    """
    )
    assert printed(source, tmp_path) == []


@pytest.mark.parametrize("when", ["at once", "amid the token", "amid the upgrade", "before the greeting", "between"])
def test_a_close_at_any_time_leaves_nothing_behind(tmp_path: Path, when: str) -> None:
    source = f"""
    const server = reset();
    let give;
    const isAmid = "{when}" === "amid the token";
    const client = open({{ getToken: () => new Promise((resolve) => (isAmid ? (give = resolve) : resolve("t"))) }});
    const until = {{ "amid the token": 0, "amid the upgrade": 5, "before the greeting": 15, between: 50 }};
    if ("{when}" in until) await clock.advance(until["{when}"]);
    if ("{when}" === "between") FakeSocket.last.drop();
    client.close(4001, "ü".repeat(100));
    give?.("late");
    await clock.advance(100000);
    const closed = FakeSocket.all.filter((socket) => socket.closedWith).map((socket) => socket.closedWith[0]);
    report([client.status, FakeSocket.alive.length, FakeSocket.all.length, closed, clock.pending]);
    """
    sockets = 0 if when in ("at once", "amid the token") else 1
    closed = [4001] if when in ("amid the upgrade", "before the greeting") else []
    assert printed(source, tmp_path) == ["disconnected", 0, sockets, closed, 0]


def test_a_listener_may_close_the_client_at_every_status(tmp_path: Path) -> None:
    source = """
    const results = [];
    for (const status of ["connecting", "connected", "reconnecting"]) {
      reset();
      const client = open();
      client.on("status", (change) => change.status === status && client.close());
      await clock.advance(50);
      FakeSocket.last?.drop();
      await clock.advance(100000);
      results.push([client.status, FakeSocket.alive.length, clock.pending, seen.gap.length]);
    }
    report(results);
    """
    assert printed(source, tmp_path) == [["disconnected", 0, 0, 0]] * 3


@pytest.mark.parametrize(("accepts", "status"), [("nothing", 0), ("the upgrade", 1)])
def test_an_attempt_without_a_greeting_is_given_up_and_the_next_is_made(
    tmp_path: Path, accepts: str, status: int
) -> None:
    source = f"""
    const server = reset();
    server.isAway = true;
    const client = open({{ firstDelay: 100 }});
    await clock.advance(50);
    if ({status}) FakeSocket.last.open();
    await clock.advance(9940);
    const before = [client.status, FakeSocket.alive.length];
    await clock.advance(200);
    const given_up = seen.status.find(({{ code }}) => code);
    server.isAway = false;
    await clock.advance(10100);
    report([before, given_up.code, given_up.reason, FakeSocket.all.length > 1, client.status, FakeSocket.alive.length]);
    """
    reason = "not connected within 10 s"
    assert printed(source, tmp_path) == [["connecting", 1], 1006, reason, True, "connected", 1]


def test_the_deadline_is_an_option_and_ends_with_the_greeting(tmp_path: Path) -> None:
    source = """
    const server = reset();
    server.latency = 900;
    const client = open({ connectTimeout: 2 });
    await clock.advance(60000);
    const patient = [client.status, FakeSocket.all.length];
    client.close();
    reset().latency = 900;
    const hasty = open({ connectTimeout: 1, maxReconnectAttempts: 1, firstDelay: 0 });
    await clock.advance(60000);
    report([patient, hasty.status, FakeSocket.all.length]);
    """
    assert printed(source, tmp_path) == [["connected", 1], "disconnected", 2]


def test_jobs_have_no_greeting_to_wait_for(tmp_path: Path) -> None:
    source = """
    reset("jobs");
    const client = open({ dialect: "jobs" });
    await clock.advance(30000);
    report([client.status, FakeSocket.all.length]);
    """
    assert printed(source, tmp_path) == ["connected", 1]


def test_an_attempt_that_was_not_answered_says_nothing_about_the_token(tmp_path: Path) -> None:
    source = """
    const server = reset();
    const asked = [];
    server.isAway = true;
    open({ getToken: ({ reason }) => (asked.push(reason), null), firstDelay: 0 });
    await clock.advance(10010);
    FakeSocket.last.drop();  // this one is refused
    await clock.advance(2000);
    report(asked);
    """
    assert printed(source, tmp_path) == ["start", "start", "refused"]


@pytest.mark.parametrize("event", ['page.fire("online")', 'show("visible")'])
def test_a_live_link_is_tested_at_once_and_left_when_it_is_dead(tmp_path: Path, event: str) -> None:
    source = f"""
    const server = reset();
    const client = open({{ firstDelay: 100 }});
    await clock.advance(1000);
    {event};
    const pings = () => FakeSocket.all[0].sent.filter(({{ action }}) => action === "ping").length;
    const first = pings();
    await clock.advance(60000);
    const alive = [client.status, FakeSocket.all.length];
    server.isAway = true;
    {event};
    await clock.advance(9990);
    {event};  // once more does not put the decision off
    const before = client.status;
    await clock.advance(20);
    report([first, alive, before, client.status, seen.status.at(-1).reason]);
    """
    assert printed(source, tmp_path) == [1, ["connected", 1], "connected", "reconnecting", "no answer to a ping"]


def test_a_page_that_is_hidden_tests_nothing(tmp_path: Path) -> None:
    source = """
    reset();
    open();
    await clock.advance(1000);
    show("hidden");
    await clock.advance(100);
    report(FakeSocket.last.sent);
    """
    assert printed(source, tmp_path) == []


@pytest.mark.parametrize(("code", "hurries"), [(1006, True), (1012, False), (1013, False), (1008, False)])
def test_the_network_that_comes_back_shortens_the_wait_unless_the_server_asked_for_it(
    tmp_path: Path, code: int, hurries: bool
) -> None:
    source = f"""
    reset();
    open({{ firstDelay: 5000 }});
    await clock.advance(1000);
    FakeSocket.last.drop({code}, "restart; reconnect in 3-4 s");
    await clock.advance(10);
    page.fire("online");
    await settled();
    report(FakeSocket.all.length);
    """
    assert printed(source, tmp_path) == (2 if hurries else 1)


def test_a_message_of_a_megabyte_on_a_slow_link_is_waited_for(tmp_path: Path) -> None:
    """128 kbit/s: nothing arrives for 66 s, whenever the pings are due, and then everything that waited behind it."""
    source = """
    const results = [];
    for (let begun = 0; begun <= 50000; begun += 5000) {
      const server = reset();
      const client = open({ channels: ["a"] });
      await clock.advance(1000 + begun);
      server.isAway = true;
      await clock.advance(65600);
      results.push(client.status);
      FakeSocket.last.receive({ channel: "a", event: "e", data: "x".repeat(2 ** 20) });
      server.isAway = false;
      await clock.advance(100000);
      results.push(client.status, FakeSocket.all.length, seen.message.length);
    }
    report([...new Set(results)]);
    """
    assert printed(source, tmp_path) == ["connected", 1]


def test_a_tab_that_is_shown_amid_a_large_message_waits_for_it_too_if_it_has_heard_one(tmp_path: Path) -> None:
    source = """
    const server = reset();
    const client = open({ channels: ["a"] });
    await clock.advance(1000);
    FakeSocket.last.receive({ channel: "a", event: "e", data: "x".repeat(2 ** 20) });
    server.isAway = true;
    show("visible");
    await clock.advance(65600);
    const slow = client.status;
    await clock.advance(20000);
    report([slow, client.status]);
    """
    assert printed(source, tmp_path) == ["connected", "reconnecting"]


def test_a_mute_connection_is_given_up_after_the_time_that_the_options_say(tmp_path: Path) -> None:
    source = """
    const ended = [];
    for (const options of [{}, { pingInterval: 5, pongTimeout: 20 }]) {
      const server = reset();
      open(options);
      await clock.advance(20);
      server.isAway = true;
      const begun = clock.now;
      while (!seen.status.some(({ code }) => code)) await clock.advance(1000);
      ended.push((clock.now - begun) / 1000);
    }
    report(ended);
    """
    slow, fast = printed(source, tmp_path)
    assert 50 + 90 <= slow <= 50 + 91
    assert 10 + 20 <= fast <= 10 + 21


def test_a_large_message_that_the_page_sends_on_a_slow_link_keeps_the_connection(tmp_path: Path) -> None:
    source = """
    const server = reset();
    const client = open({ pongTimeout: 20 });
    await clock.advance(1000);
    server.isAway = true;
    FakeSocket.last.bufferedAmount = 1_000_000;
    for (let second = 0; second < 120; second++) {
      await clock.advance(1000);
      FakeSocket.last.bufferedAmount -= 8000;
    }
    const sending = client.status;
    await clock.advance(60000);  // and now nothing is taken any more
    report([sending, client.status]);
    """
    assert printed(source, tmp_path) == ["connected", "reconnecting"]


def test_a_token_given_amid_an_attempt_reaches_the_server(tmp_path: Path) -> None:
    source = """
    reset();
    const client = open({ token: "old" });
    await clock.advance(5);
    await client.refresh("new");
    await clock.advance(100);
    report([FakeSocket.last.protocols, FakeSocket.last.sent.map(({ id, ...rest }) => rest)]);
    """
    assert printed(source, tmp_path) == [
        ["fastws.json", "fastws.token.old"],
        [{"action": "refresh", "token": "new"}],
    ]


def test_a_token_given_amid_get_token_is_the_newer_one(tmp_path: Path) -> None:
    source = """
    reset();
    let give;
    const client = open({ getToken: () => new Promise((resolve) => (give = resolve)) });
    await settled();
    client.refresh("newer");
    give("older");
    await clock.advance(100);
    report(FakeSocket.last.protocols[1]);
    """
    assert printed(source, tmp_path) == "fastws.token.newer"


def test_get_token_is_asked_one_thing_at_a_time(tmp_path: Path) -> None:
    source = (
        TOKEN
        + """
    const server = reset();
    const asked = [];
    const answers = [];
    const getToken = ({ reason }) => (asked.push(reason), new Promise((resolve) => answers.push(resolve)));
    const client = open({ getToken, firstDelay: 10 });
    await settled();
    answers.shift()(token(8));
    await clock.advance(6500);  // due for its renewal
    FakeSocket.last.drop();
    await clock.advance(5000);  // and for a new connection
    const during = [...asked];
    answers.shift()(token(600, "second"));
    await clock.advance(1000);
    report([during, asked, FakeSocket.all.length, client.status, FakeSocket.last.sent]);
    """
    )
    both = ["start", "expiring"]
    assert printed(source, tmp_path) == [both, both, 2, "connected", []]


def test_get_token_has_a_time_limit(tmp_path: Path) -> None:
    source = """
    reset();
    let asked = 0;
    const client = open({ getToken: () => (asked++ ? "t" : new Promise(() => {})), firstDelay: 100 });
    await clock.advance(119000);
    page.fire("online");
    const before = [client.status, asked];
    await clock.advance(2000);
    report([before, client.status, asked, seen.error.map(({ code }) => code)]);
    """
    assert printed(source, tmp_path) == [["connecting", 1], "connected", 2, ["timeout"]]
