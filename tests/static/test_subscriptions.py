"""The browser client's subscriptions against a model: whenever the calls come, the last one wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.static.virtual import printed

# Brings a client into each state; `move` is the event that ends that state while the calls are being made.
STATES = """
const states = {
  connecting: { enter: async () => settled(), move: async () => clock.advance(25) },
  open: { enter: async () => clock.advance(100), move: async () => (FakeSocket.last.drop(), settled()) },
  waiting: {
    enter: async () => { await clock.advance(100); FakeSocket.last.drop(); await settled(); },
    move: async () => clock.advance(510),
  },
  reconnecting: {
    enter: async () => {
      await clock.advance(100); FakeSocket.last.drop(); await settled(); page.fire("online"); await settled();
    },
    move: async () => clock.advance(25),
  },
};
const sequences = (choices, length) =>
  length ? sequences(choices, length - 1).flatMap((head) => choices.map((one) => [...head, one])) : [[]];
const upTo = (choices, most) => Array.from({ length: most }, (_, at) => sequences(choices, at + 1)).flat();
"""
MODEL = (
    STATES
    + """
const wrong = [];
let runs = 0;
const check = async (dialect, calls, state, at, perform, judge) => {
  const server = reset(dialect);
  const client = open({ dialect, firstDelay: 400 });
  await states[state].enter();
  const promises = [];
  for (const [position, call] of calls.entries()) {
    if (position === at) await states[state].move();
    promises.push(perform(client, call));
  }
  if (at === calls.length) await states[state].move();
  await clock.advance(5000);
  const first = [await outcomes(promises), judge(server), client.status, FakeSocket.alive.length];
  FakeSocket.last.drop();
  await clock.advance(5000);
  const second = judge(server);
  client.close();
  const isRight = first[0].every((one) => one === "fulfilled") && first[1] === null && second === null
    && first[2] === "connected" && first[3] === 1 && !seen.error.length;
  runs += 1;
  if (!isRight) wrong.push([dialect, state, at, calls, first, second]);
};
"""
)


def test_names_in_every_order_and_state(tmp_path: Path) -> None:
    source = (
        MODEL
        + """
    for (const calls of upTo(["subscribe", "unsubscribe"], 5)) {
      for (const state of Object.keys(states)) {
        for (let at = 0; at <= calls.length; at++) {
          const wanted = calls.at(-1) === "subscribe";
          await check("channels", calls, state, at, (client, word) => client[word]("a"),
            (server) => (server.state.names.has("a") === wanted ? null : [...server.state.names]));
        }
      }
    }
    report([runs, wrong.slice(0, 3)]);
    """
    )
    runs, wrong = printed(source, tmp_path)
    assert runs == sum(2**length * (length + 1) for length in range(1, 6)) * 4
    assert wrong == []


@pytest.mark.parametrize("most", [3])
def test_event_types_in_every_order_and_state(tmp_path: Path, most: int) -> None:
    """Compares with the subscriptions after the same calls on one connection."""
    source = (
        MODEL
        + f"""
    const words = ["subscribe a", "unsubscribe a", "subscribe b", "subscribe *", "unsubscribe *"];
    const choices = words.map((each) => each.split(" "));
    const names = ["a", "b", "c"];
    for (const calls of upTo(choices, {most})) {{
      for (const state of Object.keys(states)) {{
        for (let at = 0; at <= calls.length; at++) {{
          await check("workspaces", calls, state, at, (client, [word, type]) => client[word](type), (server) => {{
            const model = new server.state.constructor();
            calls.forEach(([word, type]) => model.take({{ type: word, event_types: [type] }}));
            const heard = names.map((name) => [model.hears(name), server.state.hears(name)]);
            return heard.every(([one, other]) => one === other) ? null : heard;
          }});
        }}
      }}
    }}
    report([runs, wrong.slice(0, 3)]);
    """
    )
    runs, wrong = printed(source, tmp_path)
    assert runs == sum(5**length * (length + 1) for length in range(1, most + 1)) * 4
    assert wrong == []


def test_each_change_is_sent_once_and_in_the_order_of_the_calls(tmp_path: Path) -> None:
    source = """
    reset();
    const client = open();
    await clock.advance(100);
    client.subscribe("a"); client.unsubscribe("a"); client.send("a", "e").catch(() => {}); client.subscribe(["b", "a"]);
    const words = () => FakeSocket.last.sent.map(({ action, channel }) => `${action} ${channel}`);
    const first = words();
    FakeSocket.last.drop();
    await clock.advance(5000);
    report([first, words()]);
    """
    first, again = printed(source, tmp_path)
    assert first == ["subscribe a", "unsubscribe a", "send a", "subscribe b", "subscribe a"]
    assert again == ["subscribe b", "subscribe a"]


def test_a_refusal_concerns_the_request_that_it_answers_and_no_later_one(tmp_path: Path) -> None:
    source = """
    const server = reset();
    const client = open();
    await clock.advance(100);
    let refusals = 1;
    const no = { type: "error", code: "forbidden" };
    server.answers = ({ action }) => (action === "subscribe" && refusals-- > 0 ? no : undefined);
    const promises = [client.subscribe("a"), client.unsubscribe("a"), client.subscribe("a")];
    await clock.advance(100);
    const told = await outcomes(promises);
    FakeSocket.last.drop();
    await clock.advance(5000);
    report([told, [...server.state.names]]);
    """
    assert printed(source, tmp_path) == [["forbidden", "fulfilled", "fulfilled"], ["a"]]


@pytest.mark.parametrize(("code", "kept"), [("forbidden", []), ("rate_limited", ["a"])])
def test_a_second_subscription_that_is_refused_for_now_leaves_the_first(
    tmp_path: Path, code: str, kept: list[str]
) -> None:
    source = f"""
    const server = reset();
    const client = open({{ channels: ["a"] }});
    await clock.advance(100);
    server.answers = () => ({{ type: "error", code: "{code}" }});
    const promise = client.subscribe("a");
    await clock.advance(100);
    const told = await outcomes([promise]);
    server.answers = () => undefined;
    FakeSocket.last.drop();
    await clock.advance(5000);
    report([told, [...server.state.names]]);
    """
    assert printed(source, tmp_path) == [[code], kept]


def test_a_temporary_refusal_after_a_reconnect_is_retried(tmp_path: Path) -> None:
    source = """
    const server = reset();
    const client = open({ channels: ["a", "b"] });
    await clock.advance(100);
    FakeSocket.last.drop();
    server.answers = ({ channel }) => (channel === "a" ? { type: "error", code: "broker_unavailable" } : undefined);
    const promise = client.subscribe("a");
    await clock.advance(2000);
    const before = [[...server.state.names], await outcomes([promise]), seen.error.map(({ code }) => code)];
    server.answers = () => undefined;
    await clock.advance(5000);
    report([before, [...server.state.names], await outcomes([promise]), FakeSocket.all.length]);
    """
    before, names, told, sockets = printed(source, tmp_path)
    assert before == [["b"], ["pending"], ["broker_unavailable"]]
    assert (sorted(names), told, sockets) == (["a", "b"], ["fulfilled"], 2)


def test_a_subscription_that_is_restored_only_later_is_another_gap(tmp_path: Path) -> None:
    """What the page loads at the first gap lacks the messages up to the confirmation."""
    source = """
    const server = reset();
    open({ channels: ["a", "b"] });
    await clock.advance(100);
    FakeSocket.last.drop();
    let refusals = 2;
    const no = { type: "error", code: "broker_unavailable" };
    server.answers = ({ channel }) => (channel === "a" && refusals-- > 0 ? no : undefined);
    const gaps = [];
    for (const seconds of [2, 5, 5]) {
      await clock.advance(seconds * 1000);
      gaps.push([[...server.state.names], seen.gap.length]);
    }
    report([gaps, seen.gap]);
    """
    gaps = [{"channel": channel, "source": "reconnect"} for channel in (None, "a")]
    assert printed(source, tmp_path) == [[[["b"], 1], [["b"], 1], [["b", "a"], 2]], gaps]


def test_a_temporary_refusal_at_the_start_is_retried(tmp_path: Path) -> None:
    source = """
    const server = reset();
    server.answers = () => ({ type: "error", code: "rate_limited" });
    open({ channels: ["a"] });
    await clock.advance(100);
    server.answers = () => undefined;
    await clock.advance(6000);
    report([seen.error.map(({ code }) => code), [...server.state.names]]);
    """
    assert printed(source, tmp_path) == [["rate_limited"], ["a"]]


@pytest.mark.parametrize(("text", "names"), [("try later", ["a"]), ("Access denied to room", [])])
def test_a_room_that_is_refused_without_a_code_after_a_reconnect(tmp_path: Path, text: str, names: list[str]) -> None:
    source = f"""
    const server = reset("rooms");
    open({{ dialect: "rooms", channels: ["a"] }});
    await clock.advance(100);
    FakeSocket.last.drop();
    server.answers = () => ({{ type: "error", message: "{text}" }});
    await clock.advance(2000);
    server.answers = () => undefined;
    await clock.advance(5000);
    report([seen.error.length, [...server.state.names]]);
    """
    assert printed(source, tmp_path) == [1, names]


def test_a_closed_client_asks_for_nothing_any_more(tmp_path: Path) -> None:
    source = """
    const server = reset();
    server.answers = () => ({ type: "error", code: "rate_limited" });
    const client = open({ channels: ["a"] });
    await clock.advance(100);
    client.close();
    await clock.advance(30000);  // until the socket is closed
    report([clock.pending, FakeSocket.last.sent.length]);
    """
    assert printed(source, tmp_path) == [0, 1]


def test_a_retry_is_dropped_after_an_unsubscribe(tmp_path: Path) -> None:
    source = """
    const server = reset();
    server.answers = ({ action }) => (action === "subscribe" ? { type: "error", code: "rate_limited" } : undefined);
    const client = open({ channels: ["a"] });
    await clock.advance(100);
    const promises = [client.unsubscribe("a")];
    server.answers = () => undefined;
    await clock.advance(20000);
    report([[...server.state.names], await outcomes(promises)]);
    """
    assert printed(source, tmp_path) == [[], ["fulfilled"]]


def test_a_refusal_while_connecting_rejects_its_promise_and_is_not_reported_twice(
    tmp_path: Path,
) -> None:
    source = """
    const server = reset();
    server.answers = ({ channel }) => (channel === "a" ? { type: "error", code: "forbidden" } : undefined);
    const client = open({ channels: ["a"] });
    const promises = [client.subscribe("b"), client.subscribe("a"), client.unsubscribe("c"), client.subscribe("b")];
    await clock.advance(100);
    report([await outcomes(promises), seen.error.length, [...server.state.names]]);
    """
    assert printed(source, tmp_path) == [["fulfilled", "forbidden", "fulfilled", "fulfilled"], 0, ["b"]]


def test_a_refused_filter_leaves_the_one_that_was_confirmed(tmp_path: Path) -> None:
    source = """
    const server = reset("workspaces");
    const isBad = ({ event_types: types }) => types?.includes("bad");
    server.answers = (message) => (isBad(message) ? { event: "error", message: "no" } : undefined);
    const client = open({ dialect: "workspaces" });
    await clock.advance(100);
    const promises = [client.subscribe("good"), client.subscribe("bad"), client.subscribe("late")];
    await clock.advance(100);
    const told = await outcomes(promises);
    FakeSocket.last.drop();
    await settled();
    promises.push(client.subscribe("bad"));
    await clock.advance(5000);
    report([told, (await outcomes(promises))[3], server.state.filter.names]);
    """
    told, later, names = printed(source, tmp_path)
    assert told == ["fulfilled", "refused", "fulfilled"]
    assert later == "refused"
    assert names == ["good", "late"]


def test_a_request_without_an_answer_keeps_its_place_before_one_with_an_answer(tmp_path: Path) -> None:
    source = """
    const server = reset("workspaces");
    const client = open({ dialect: "workspaces" });
    await clock.advance(100);
    server.answers = ({ type }) => (type === "subscribe" ? null : undefined);
    const promises = [client.subscribe(["a", "b"]), client.unsubscribe("a")];
    await clock.advance(12000);
    server.answers = () => undefined;
    FakeSocket.last.drop();
    await clock.advance(5000);
    report([await outcomes(promises), server.state.filter]);
    """
    told, state = printed(source, tmp_path)
    assert told == ["timeout", "fulfilled"]
    assert state == {"names": ["b"], "isExcluding": False}


def test_the_last_job_filter_holds(tmp_path: Path) -> None:
    source = """
    const server = reset("jobs");
    const client = open({ dialect: "jobs", channels: ["1"] });
    const promises = [client.subscribe({ jobIds: ["2"] }), client.unsubscribe()];
    promises.push(client.subscribe({ statuses: ["failed"] }));
    await clock.advance(100);
    const told = await outcomes(promises);
    FakeSocket.last.drop();
    await clock.advance(5000);
    const last = FakeSocket.last.sent.map(({ id, ...rest }) => rest);
    report([told, last]);
    """
    told, last = printed(source, tmp_path)
    assert told == ["fulfilled"] * 3
    assert last == [{"type": "subscribe", "job_ids": [], "statuses": ["failed"]}]


def test_a_channel_that_was_left_is_subscribed_again_only_by_a_new_call(tmp_path: Path) -> None:
    source = """
    const server = reset();
    const client = open({ channels: ["a", "b"] });
    await clock.advance(100);
    const again = client.subscribe("b");
    for (const channel of ["a", "b"])
      FakeSocket.last.receive({ type: "unsubscribe_succeeded", channel, reason: "forbidden" });
    await clock.advance(100);
    FakeSocket.last.drop();
    await clock.advance(5000);
    report([seen.left.map(({ channel }) => channel), [...server.state.names]]);
    """
    assert printed(source, tmp_path) == [["a", "b"], ["b"]]


def test_a_closed_client_rejects_what_waits_and_what_comes_later(tmp_path: Path) -> None:
    source = """
    reset();
    const client = open();
    const promises = [client.subscribe("a"), client.unsubscribe("b"), client.send("a", "e"), client.ready];
    client.close();
    promises.push(client.subscribe("c"), client.ping());
    await clock.advance(1000);
    report(await outcomes(promises));
    """
    assert printed(source, tmp_path) == ["closed"] * 6
