"""The positions of the browser client: what it asks for after a lost connection, and what the page gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.static.virtual import printed

# `said` are the requests of the last socket without their ids; `standing` is the answer of the server to subscriptions.
HELPERS = """
const said = () => FakeSocket.last.sent.map(({ id, ...request }) => request);
const queryOf = () => Object.fromEntries(new URL(FakeSocket.last.url).searchParams);
const answering = (server, standing) =>
  (server.answers = (request) => standing[request.channel ?? request.room_id ?? request.action ?? request.type]);
const hear = (...offsets) => offsets.forEach((offset) =>
  FakeSocket.last.receive({ channel: "c", event: "e", data: offset, offset }));
const numbers = () => seen.message.map(({ data }) => data);
const back = async () => { FakeSocket.last.drop(); await clock.advance(2000); };
const at = (offset, epoch, more = {}) => ({ type: "done", offset, epoch, ...more });
"""


def result_of(source: str, folder: Path) -> Any:
    return printed(HELPERS + source, folder)


def test_a_channel_is_continued_without_repetitions_and_without_a_gap(tmp_path: Path) -> None:
    source = """
    const server = reset();
    answering(server, { c: at(2, "x") });
    const client = open({ channels: ["c"] });
    await clock.advance(100);
    hear(3);
    const before = client.positions;
    answering(server, { c: at(5, "x", { recovered: true, replayed: 2 }) });
    await back();
    hear(4, 5, 5, 3, 6);
    report([before, said(), numbers(), seen.gap, seen.reconnected, client.positions]);
    """
    assert result_of(source, tmp_path) == [
        {"c": {"offset": 3, "epoch": "x"}},
        [{"action": "subscribe", "channel": "c", "offset": 3, "epoch": "x"}],
        [3, 4, 5, 6],
        [],
        [{"connectionId": "c2", "recovered": {"c": True}}],
        {"c": {"offset": 6, "epoch": "x"}},
    ]


def test_what_was_not_recovered_is_a_gap_before_anything_newer(tmp_path: Path) -> None:
    source = """
    const server = reset();
    answering(server, { c: at(2, "x") });
    const order = [];
    const client = open({ channels: ["c", "plain"], onMessage: () => order.push("m") });
    client.on("gap", (gap) => order.push(gap));
    await clock.advance(100);
    answering(server, { c: at(1, "y", { recovered: false, replayed: 0 }) });
    FakeSocket.last.drop();
    await clock.advance(500);
    hear(2);
    await clock.advance(500);
    report([order, seen.reconnected, client.positions]);
    """
    assert result_of(source, tmp_path) == [
        [
            {"channel": "c", "source": "reconnect", "offset": 1, "epoch": "y"},
            {"channel": "plain", "source": "reconnect"},
            "m",
        ],
        [{"connectionId": "c2", "recovered": {"c": False, "plain": False}}],
        {"c": {"offset": 2, "epoch": "y"}},
    ]


def test_where_no_channel_has_a_history_one_gap_stands_for_all(tmp_path: Path) -> None:
    source = """
    reset();
    open({ channels: ["a", "b"] });
    await clock.advance(100);
    await back();
    report([seen.gap, seen.reconnected]);
    """
    recovered = {"a": False, "b": False}
    assert result_of(source, tmp_path) == [
        [{"channel": None, "source": "reconnect"}],
        [{"connectionId": "c2", "recovered": recovered}],
    ]


def test_an_attempt_that_failed_half_way_is_not_forgotten(tmp_path: Path) -> None:
    source = """
    const server = reset();
    answering(server, { c: at(2, "x"), d: at(2, "x") });
    open({ channels: ["c", "d"] });
    await clock.advance(100);
    answering(server, { c: at(1, "y", { recovered: false, replayed: 0 }), d: null });
    FakeSocket.last.drop();
    await clock.advance(500);
    const recovered = { recovered: true, replayed: 0 };
    answering(server, { c: at(1, "y", recovered), d: at(2, "x", recovered) });
    await back();
    report([seen.gap.length, seen.reconnected]);
    """
    recovered = {"c": False, "d": True}
    assert result_of(source, tmp_path) == [1, [{"connectionId": "c3", "recovered": recovered}]]


def test_given_positions_are_continued_by_the_first_connection(tmp_path: Path) -> None:
    source = """
    const server = reset();
    answering(server, { c: at(5, "x", { recovered: true, replayed: 1 }), d: at(1, "y", { recovered: false }) });
    const positions = { c: { offset: 4, epoch: "x" }, d: { offset: 9, epoch: "x" } };
    const client = open({ channels: ["c"], positions });
    await clock.advance(100);
    hear(4, 5);
    client.subscribe("d");
    await clock.advance(100);
    report([said(), numbers(), seen.gap, seen.reconnected, client.positions]);
    """
    assert result_of(source, tmp_path) == [
        [
            {"action": "subscribe", "channel": "c", "offset": 4, "epoch": "x"},
            {"action": "subscribe", "channel": "d", "offset": 9, "epoch": "x"},
        ],
        [5],
        [{"channel": "d", "source": "reconnect", "offset": 1, "epoch": "y"}],
        [],
        {"c": {"offset": 5, "epoch": "x"}, "d": {"offset": 1, "epoch": "y"}},
    ]


@pytest.mark.parametrize("position", ["{}", "{ offset: 1 }", "{ offset: '1', epoch: 'x' }", "3"])
def test_a_given_position_that_is_none_is_refused(tmp_path: Path, position: str) -> None:
    source = f"""
    reset();
    try {{ open({{ positions: {{ c: {position} }} }}); report("no error"); }} catch ({{ code }}) {{ report(code); }}
    """
    assert result_of(source, tmp_path) == "bad_request"


def test_an_unsubscribed_channel_has_no_position_any_more(tmp_path: Path) -> None:
    source = """
    const server = reset();
    answering(server, { c: at(2, "x") });
    const client = open({ channels: ["c"] });
    await clock.advance(100);
    const calls = [client.unsubscribe("c"), client.subscribe("c")];
    hear(3);
    await clock.advance(100);
    const asked = said().slice(1);
    FakeSocket.last.drop();
    client.unsubscribe("c");
    report([asked, await outcomes(calls), client.positions, numbers()]);
    """
    assert result_of(source, tmp_path) == [
        [{"action": "unsubscribe", "channel": "c"}, {"action": "subscribe", "channel": "c"}],
        ["fulfilled", "fulfilled"],
        {},
        [3],
    ]


def test_a_gap_with_a_position_sets_it(tmp_path: Path) -> None:
    source = """
    const server = reset();
    answering(server, { c: at(7, "x") });
    const client = open({ channels: ["c"] });
    await clock.advance(100);
    FakeSocket.last.receive({ type: "gap", channel: "c", offset: 1, epoch: "y" });
    hear(1, 2);
    report([seen.gap, numbers(), client.positions]);
    """
    gap = {"channel": "c", "source": "server", "offset": 1, "epoch": "y"}
    assert result_of(source, tmp_path) == [[gap], [2], {"c": {"offset": 2, "epoch": "y"}}]


def test_rooms_continue_the_own_room_in_the_query(tmp_path: Path) -> None:
    source = """
    const server = reset("rooms");
    server.greets = (greeting) => ({ ...greeting, offset: 3, epoch: "x" });
    answering(server, { "execution:1": at(1, "z") });
    const token = `e30.${btoa(JSON.stringify({ sub: "u1" }))}.s`;
    const client = open({ dialect: "rooms", channels: ["execution:1"], token });
    await clock.advance(100);
    const first = queryOf();
    FakeSocket.last.receive({ type: "notification", event: "e", data: 4, room_id: "user:u1", offset: 4 });
    server.greets = (greeting) => ({ ...greeting, offset: 4, epoch: "x", recovered: true, replayed: 0 });
    answering(server, { "execution:1": at(1, "z", { recovered: true, replayed: 0 }) });
    await back();
    report([first, queryOf(), said(), seen.reconnected[0].recovered, seen.gap]);
    """
    assert result_of(source, tmp_path) == [
        {},
        {"offset": "4", "epoch": "x"},
        [{"type": "subscribe", "room_id": "execution:1", "offset": 1, "epoch": "z"}],
        {"user:u1": True, "execution:1": True},
        [],
    ]


def test_workspaces_continue_in_the_query_with_their_filter_and_by_pings(tmp_path: Path) -> None:
    source = """
    const server = reset("workspaces");
    const standing = { workspace_id: "w1", offset: 3, epoch: "x" };
    server.greets = (greeting) => ({ ...greeting, ...standing });
    answering(server, { ping: { event: "pong", offset: 6 } });
    const client = open({ dialect: "workspaces", token: "t", channels: ["alert", "e"] });
    await clock.advance(100);
    FakeSocket.last.receive({ event: "e", data: 4, channel: "space-w1", offset: 4 });
    const positions = [client.positions];
    client.ping();
    await clock.advance(100);
    positions.push(client.positions);
    server.greets = (greeting) => ({ ...greeting, ...standing, epoch: "y", recovered: false });
    await back();
    report([positions, queryOf(), seen.reconnected[0].recovered, seen.gap]);
    """
    assert result_of(source, tmp_path) == [
        [{"space-w1": {"offset": 4, "epoch": "x"}}, {"space-w1": {"offset": 6, "epoch": "x"}}],
        {"offset": "6", "epoch": "x", "event_types": "alert,e"},
        {"space-w1": False},
        [{"channel": "w1", "source": "reconnect", "offset": 3, "epoch": "y"}],
    ]


@pytest.mark.parametrize("greets", [True, False])
def test_jobs_ask_for_their_position_and_continue_there(tmp_path: Path, greets: bool) -> None:
    source = f"""
    const server = reset("jobs");
    server.greets = () => ({{ type: "subscribed", job_ids: [], offset: 3, epoch: "x", replayed: 0 }});
    const client = open({{ dialect: "jobs" }});
    await clock.advance(100);
    const first = queryOf();
    FakeSocket.last.receive({{ type: "job_update", data: 4, channel: "feed", offset: 4 }});
    const joined = {{ type: "subscribed", offset: 5, epoch: "x", recovered: true, replayed: 1 }};
    server.greets = () => ({"joined" if greets else "null"});
    await back();
    await clock.advance(11_000);
    report([first, queryOf(), seen.message.length, seen.reconnected[0].recovered, seen.gap.length, client.positions]);
    """
    known = {"feed": {"offset": 4, "epoch": "x"}}
    recovered, gaps = {"feed": greets}, 0 if greets else 1
    asked = {"offset": "4", "epoch": "x"}
    assert result_of(source, tmp_path) == [{"replay": "0"}, asked, 1, recovered, gaps, known if greets else {}]


@pytest.mark.parametrize(
    ("calls", "query"),
    [
        ("c.subscribe(['b', 'a'])", {"event_types": "b,a"}),
        ("c.unsubscribe('a')", {"except_event_types": "a"}),
        ("c.subscribe('a'), c.unsubscribe('a')", {"except_event_types": "*"}),
        ("c.subscribe('a'), c.subscribe('*')", {}),
        ("c.subscribe('a,b')", None),
        ("c.subscribe('x'.repeat(4001))", None),
    ],
)
def test_the_filter_of_a_workspace_in_a_query(tmp_path: Path, calls: str, query: dict[str, str] | None) -> None:
    source = f"""
    const server = reset("workspaces");
    server.greets = (greeting) => ({{ ...greeting, workspace_id: "w1", offset: 3, epoch: "x" }});
    const c = open({{ dialect: "workspaces", token: "t" }});
    await clock.advance(100);
    {calls};
    await clock.advance(100);
    await back();
    report([queryOf(), seen.gap.length]);
    """
    position = {"offset": "3", "epoch": "x"}
    assert result_of(source, tmp_path) == [{} if query is None else {**position, **query}, 1]


def test_the_first_subscription_gets_what_replay_asks_for_and_later_ones_continue(tmp_path: Path) -> None:
    source = """
    const server = reset();
    answering(server, { c: at(9, "x", { replayed: 2 }) });
    const client = open({ channels: ["c"], replay: 3 });
    await clock.advance(100);
    const first = said();
    hear(7, 9, 10);
    answering(server, { c: at(10, "x", { recovered: true, replayed: 0 }) });
    await back();
    report([first, numbers(), said(), seen.gap]);
    """
    subscribe = {"action": "subscribe", "channel": "c"}
    continued = [{**subscribe, "offset": 10, "epoch": "x"}]
    assert result_of(source, tmp_path) == [[{**subscribe, "replay": 3}], [7, 9, 10], continued, []]


def test_history_is_asked_for_by_channel_room_or_feed(tmp_path: Path) -> None:
    source = """
    const asked = [];
    for (const dialect of ["channels", "rooms", "workspaces"]) {
      const server = reset(dialect);
      answering(server, { c: at(2, "x", { messages: [1] }), history: at(2, "x", { messages: [1] }) });
      const client = open({ dialect, token: "t" });
      await clock.advance(100);
      const [page] = await Promise.all([client.history("c", { limit: 5, reverse: true }), clock.advance(100)]);
      asked.push(said().at(-1), page);
    }
    report(asked);
    """
    page = {"messages": [1], "offset": 2, "epoch": "x"}
    options = {"limit": 5, "reverse": True}
    assert result_of(source, tmp_path) == [
        {"action": "history", "channel": "c", **options},
        page,
        {"type": "history", "room_id": "c", **options},
        page,
        {"type": "history", **options},
        page,
    ]


def test_ephemeral_messages_are_marked(tmp_path: Path) -> None:
    source = """
    reset();
    const client = open();
    await clock.advance(100);
    client.send("c", "typing", 1, { ephemeral: true });
    report(said());
    """
    sent = {"action": "send", "channel": "c", "event": "typing", "data": 1, "ephemeral": True}
    assert result_of(source, tmp_path) == [sent]


def test_presence_is_asked_for_by_channel_room_or_feed(tmp_path: Path) -> None:
    source = """
    const asked = [];
    const figures = { type: "presence", count: 3, users: 2 };
    for (const dialect of ["channels", "rooms", "workspaces"]) {
      const server = reset(dialect);
      const answer = { ...figures, members: [1], cursor: "d" };
      answering(server, { c: answer, counted: figures, presence: answer });
      const client = open({ dialect, token: "t" });
      await clock.advance(100);
      const [page] = await Promise.all([client.presence("c", { limit: 5, cursor: "b" }), clock.advance(100)]);
      asked.push(said().at(-1), page);
    }
    report(asked);
    """
    page = {"members": [1], "count": 3, "users": 2, "cursor": "d"}
    assert result_of(source, tmp_path) == [
        {"action": "presence", "channel": "c", "limit": 5, "cursor": "b"},
        page,
        {"type": "presence", "room_id": "c", "limit": 5, "cursor": "b"},
        page,
        {"type": "presence", "limit": 5, "cursor": "b"},
        page,
    ]


def test_updates_of_presence_are_an_event_of_their_own_in_every_dialect(tmp_path: Path) -> None:
    source = """
    const updates = [
      ["channels", { type: "presence_update", channel: "c", joined: [1], left: [2], count: 3, users: 2 }],
      ["rooms", { type: "presence", event: "update", room_id: "c", count: 300, users: 2, partial: true }],
      ["workspaces", { event: "presence_update", count: 3, users: 2 }],
    ];
    const told = [];
    for (const [dialect, update] of updates) {
      reset(dialect);
      const client = open({ dialect, token: "t", onPresence: (heard) => told.push(heard) });
      await clock.advance(100);
      FakeSocket.last.receive(update);
      FakeSocket.last.receive({ ...update, data: 1 });
    }
    report([told, seen.message.length]);
    """
    nobody = {"joined": [], "left": []}
    assert result_of(source, tmp_path) == [
        [
            {"channel": "c", "joined": [1], "left": [2], "count": 3, "users": 2, "partial": False},
            {"channel": "c", **nobody, "count": 300, "users": 2, "partial": True},
            {"channel": None, **nobody, "count": 3, "users": 2, "partial": False},
        ],
        1,
    ]


@pytest.mark.parametrize(
    ("dialect", "mailbox"), [("channels", "client:ada:phone"), ("rooms", "client:ada:phone"), ("jobs", "client:phone")]
)
def test_a_mailbox_is_continued_in_the_query(tmp_path: Path, dialect: str, mailbox: str) -> None:
    source = (
        f"""
    const dialect = "{dialect}", mailbox = "{mailbox}";
    """
        """
    const token = `e30.${btoa(JSON.stringify({ sub: "ada" }))}.x`;
    const server = reset(dialect);
    const queries = [];
    const greet = async (standing) => {
      queries.push(queryOf());
      const greetings = {
        channels: { type: "connection_id", connection_id: "c1" },
        rooms: { type: "connection", event: "connected", connection_id: "c1" },
        jobs: { type: "subscribed" },
      };
      FakeSocket.last.receive({ ...greetings[dialect], client: { channel: mailbox, ...standing } });
      await clock.advance(100);
    };
    server.greets = () => null;
    const client = open({ dialect, clientId: "phone", replay: 4, ...(dialect !== "jobs" && { token }) });
    await clock.advance(100);
    await greet({ offset: 2, epoch: "x" });
    FakeSocket.last.receive({ channel: mailbox, event: "e", data: 3, offset: 3 });
    await back();
    await greet({ offset: 5, epoch: "x", recovered: true, replayed: 2 });
    for (const offset of [4, 5, 5]) FakeSocket.last.receive({ channel: mailbox, event: "e", data: offset, offset });
    await back();
    await greet({ offset: 1, epoch: "y", recovered: false });
    const recovered = seen.reconnected.map((one) => one.recovered[mailbox]);
    report([queries, numbers(), client.positions[mailbox], recovered, seen.gap]);
    """
    )
    queries, numbers, position, recovered, gaps = result_of(source, tmp_path)
    asked = [{key: value for key, value in query.items() if key.startswith("client")} for query in queries]
    assert asked == [
        {"client_id": "phone", "client_replay": "4"},
        {"client_id": "phone", "client_offset": "3", "client_epoch": "x"},
        {"client_id": "phone", "client_offset": "5", "client_epoch": "x"},
    ]
    assert (numbers, position, recovered) == ([3, 4, 5], {"offset": 1, "epoch": "y"}, [True, False])
    assert {"channel": mailbox, "source": "reconnect", "offset": 1, "epoch": "y"} in gaps
