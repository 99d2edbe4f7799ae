"""A refused upgrade: the browser client asks over HTTP for the reason, reports it, and stops if waiting is useless."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.static.virtual import printed

# `refuse` drops the current attempt as browsers report a refusal; `states` are the statuses without repetition.
START = """
const server = reset();
server.isAway = true; // no attempt is admitted unless a test says so
const refuse = async () => (FakeSocket.last.drop(), await clock.advance(20));
const errors = () => seen.error.map(({ code, message }) => [code, message]);
const states = () => seen.status.map(({ status }) => status).filter((each, at, all) => each !== all[at - 1]);
const forbid = (code, message = "why") => (http.answer = { status: 400, error: { code, message } });
"""


def test_the_question_has_the_address_and_the_subprotocols_of_the_attempt(tmp_path: Path) -> None:
    source = """
    const given = [
      { url: "wss://server.example/live?a=1", token: "t" },
      { url: "ws://server.example", token: "t", auth: "query" },
    ];
    const asked = [];
    for (const options of given) {
      http.asked = [];
      open(options);
      await clock.advance(5);
      await refuse();
      asked.push(...http.asked);
    }
    report(asked);
    """
    assert printed(START + source, tmp_path) == [
        ["POST", "https://server.example/live?a=1", ["fastws.json", "fastws.token.t"]],
        ["POST", "http://server.example/?token=t", []],
    ]


@pytest.mark.parametrize(("code", "close_code"), [("unauthorized", 4401), ("forbidden", 4403)])
def test_a_refused_client_reports_the_reason_and_stops(tmp_path: Path, code: str, close_code: int) -> None:
    source = f"""
    forbid("{code}", "invalid token");
    const client = open({{ token: "bad", channels: ["a"] }});
    const promises = [client.ready, client.subscribe("b")];
    await clock.advance(5);
    await refuse();
    const sockets = FakeSocket.all.length;
    page.fire("online");
    await clock.advance(600000);
    const left = [FakeSocket.all.length - sockets, FakeSocket.alive.length, clock.pending, page.count(), tab.count()];
    report([client.status, states(), seen.status.at(-1), errors(), await outcomes([...promises, client.ready]), left]);
    """
    final = {"status": "refused", "code": close_code, "reason": "invalid token"}
    reported = [[code, "invalid token"]]
    states = ["connecting", "reconnecting", "refused"]
    assert printed(START + source, tmp_path) == ["refused", states, final, reported, [code] * 3, [0] * 5]


def test_a_client_that_may_not_reconnect_reports_the_reason_too(tmp_path: Path) -> None:
    source = """
    const ends = [];
    for (const code of ["unauthorized", "unavailable", null]) {
      http.answer = code && { status: 503, error: { code, message: "why" } };
      const client = open({ reconnect: false });
      await clock.advance(5);
      await refuse();
      ends.push([client.status, errors().map(([each]) => each), seen.status.at(-1).code, clock.pending]);
    }
    report(ends);
    """
    assert printed(START + source, tmp_path) == [
        ["refused", ["unauthorized"], 4401, 0],
        ["disconnected", ["unavailable"], 1006, 0],
        ["disconnected", [], 1006, 0],
    ]


def test_another_token_of_get_token_is_tried_and_the_same_one_ends_it(tmp_path: Path) -> None:
    source = """
    forbid("unauthorized");
    const tokens = ["first", "second", "second"];
    const asked = [];
    const client = open({ getToken: ({ reason }) => (asked.push(reason), tokens.shift()), firstDelay: 100 });
    await clock.advance(5);
    await refuse();
    await clock.advance(100);
    const during = [client.status, FakeSocket.last.protocols[1]];
    await refuse();
    await clock.advance(1000);
    report([during, asked, http.asked.length, errors().length, client.status, FakeSocket.all.length, clock.pending]);
    """
    during = ["reconnecting", "fastws.token.second"]
    assert printed(START + source, tmp_path) == [during, ["start", "refused", "refused"], 2, 2, "refused", 2, 0]


def test_a_slow_answer_ends_an_attempt_with_the_same_token_and_no_other(tmp_path: Path) -> None:
    """The next attempt does not wait for the answer."""
    source = """
    const ends = [];
    for (const tokens of [["a", "a"], ["a", "b"]]) {
      reset().isAway = true;
      forbid("unauthorized");
      http.latency = 3000;
      const client = open({ getToken: () => tokens.shift(), firstDelay: 100, connectTimeout: 20 });
      await clock.advance(5);
      await refuse();
      await clock.advance(2000);
      const during = [client.status, FakeSocket.alive.length];
      await clock.advance(1500);
      ends.push([during, client.status, FakeSocket.alive.length]);
    }
    report(ends);
    """
    during = ["reconnecting", 1]
    assert printed(START + source, tmp_path) == [[during, "refused", 0], [during, "reconnecting", 1]]


def test_an_answer_while_get_token_is_asked_waits_for_its_token(tmp_path: Path) -> None:
    source = """
    forbid("unauthorized");
    http.latency = 200;
    let give;
    const tokens = [null, new Promise((resolve) => (give = resolve))];
    const client = open({ getToken: () => tokens.shift(), firstDelay: 100 });
    await clock.advance(5);
    await refuse();
    await clock.advance(1000);
    const before = [client.status, errors().length];
    server.isAway = false;
    give("t");
    await clock.advance(100);
    report([before, client.status]);
    """
    assert printed(START + source, tmp_path) == [["reconnecting", 1], "connected"]


def test_a_token_of_refresh_saves_a_client_whose_old_one_was_refused(tmp_path: Path) -> None:
    source = """
    forbid("unauthorized");
    const client = open({ token: "old", firstDelay: 100 });
    await clock.advance(5);
    FakeSocket.last.drop();
    await client.refresh("new");
    server.isAway = false;
    await clock.advance(1000);
    report([client.status, errors().length, FakeSocket.last.protocols[1]]);
    """
    assert printed(START + source, tmp_path) == ["connected", 1, "fastws.token.new"]


def test_a_temporary_refusal_is_reported_once_and_the_client_keeps_trying(tmp_path: Path) -> None:
    source = """
    forbid("unavailable", "the server is full");
    const client = open({ firstDelay: 100, longestDelay: 100 });
    await clock.advance(5);
    for (let attempt = 0; attempt < 3; attempt++) {
      await refuse();
      await clock.advance(200);
    }
    const first = [errors(), http.asked.length, client.status];
    server.isAway = false;
    await refuse();
    await clock.advance(1000);
    const between = client.status;
    server.isAway = true;
    for (let attempt = 0; attempt < 2; attempt++) {
      await refuse();
      await clock.advance(200);
    }
    report([first, between, errors().length]);
    """
    first = [[["unavailable", "the server is full"]], 1, "reconnecting"]
    assert printed(START + source, tmp_path) == [first, "connected", 2]


def test_a_server_that_does_not_answer_is_asked_again_at_the_next_refusal(tmp_path: Path) -> None:
    source = """
    const client = open({ token: "bad", firstDelay: 100 });
    await clock.advance(5);
    await refuse();
    await clock.advance(200);
    const before = [errors(), client.status, http.asked.length];
    forbid("unauthorized");
    await refuse();
    report([before, client.status, http.asked.length]);
    """
    assert printed(START + source, tmp_path) == [[[], "reconnecting", 1], "refused", 2]


@pytest.mark.parametrize("text", ["<html>403 Forbidden</html>", "{}", "null", '{"error":"forbidden"}', '{"error":{}}'])
def test_the_answer_of_a_proxy_is_ignored(tmp_path: Path, text: str) -> None:
    source = f"""
    http.answer = {{ status: 403, text: {text!r} }};
    const client = open({{ token: "t" }});
    await clock.advance(5);
    await refuse();
    report([client.status, errors()]);
    """
    assert printed(START + source, tmp_path) == ["reconnecting", []]


def test_a_server_that_would_admit_points_at_the_proxies(tmp_path: Path) -> None:
    source = """
    http.answer = { status: 204 };
    const client = open();
    await clock.advance(5);
    await refuse();
    report([client.status, ...errors().flat()]);
    """
    status, code, message = printed(START + source, tmp_path)
    assert (status, code) == ("reconnecting", "refused")
    assert "proxy" in message


def test_a_lost_connection_and_a_late_attempt_ask_nothing(tmp_path: Path) -> None:
    source = """
    const client = open({ firstDelay: 100 });
    await clock.advance(10000); // not connected within 10 s
    server.isAway = false;
    await clock.advance(1000);
    const between = client.status;
    FakeSocket.last.drop();
    await clock.advance(50);
    report([between, http.asked]);
    """
    assert printed(START + source, tmp_path) == ["connected", []]


def test_an_attempt_that_the_browser_itself_rejects_asks_nothing(tmp_path: Path) -> None:
    source = """
    const WebSocket = class { constructor() { throw new SyntaxError("bad subprotocol"); } };
    const client = open({ WebSocket, token: "with space" });
    await clock.advance(50);
    report([client.status, http.asked, errors().length]);
    """
    assert printed(START + source, tmp_path) == ["reconnecting", [], 1]


def test_an_answer_that_never_comes_is_given_up(tmp_path: Path) -> None:
    source = """
    http.latency = 1e6;
    const client = open({ reconnect: false, connectTimeout: 10 });
    await clock.advance(5);
    await refuse();
    const before = client.status;
    await clock.advance(10000);
    report([before, client.status]);
    """
    assert printed(START + source, tmp_path) == ["connecting", "disconnected"]


@pytest.mark.parametrize("when", ["while it asks", "in the error's listener", "when the answer has come"])
def test_a_close_amid_the_question_leaves_nothing_behind(tmp_path: Path, when: str) -> None:
    source = f"""
    forbid("unauthorized");
    const isInside = "{when}" === "in the error's listener";
    const client = open({{ onError: () => isInside && client.close() }});
    await clock.advance(5);
    FakeSocket.last.drop();
    if ("{when}" === "while it asks") client.close();
    await clock.advance(1000);
    client.close();
    await clock.advance(1e6);
    report([client.status, clock.pending, FakeSocket.alive.length, states().at(-1), seen.error.length]);
    """
    status = "refused" if when == "when the answer has come" else "disconnected"
    errors = 0 if when == "while it asks" else 1
    assert printed(START + source, tmp_path) == [status, 0, 0, status, errors]
