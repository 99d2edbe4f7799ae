"""Rows A, with a real process: requests that are not valid opening handshakes."""

from __future__ import annotations

import contextlib
import json
import re
import select
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.hostile.conftest import Connect, Run, Watch
from tests.hostile.raw_client import KEY, RawClient, masked, upgrade
from tests.hostile.server_process import PATIENCE_SECONDS, SECRET, ServerProcess, token_of

MIB = 1 << 20


def answers_to(server: ServerProcess, data: bytes) -> bytes:
    """Return all that the server sends in response to `data`, until it closes the connection or has sent a 101."""
    with RawClient(server.port) as client:
        with contextlib.suppress(ConnectionError):  # it has heard enough
            client.send(data)
        client.read_head()
        if client.status == 101:
            return client.head.encode("latin-1")
        return client.head.encode("latin-1") + b"\r\n\r\n" + client.read_all()


def statuses_of(answer: bytes) -> list[int]:
    return [int(digits) for digits in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def changed(*more: str, old: str = "", new: str = "") -> bytes:
    return upgrade("/", *more).replace(old.encode(), new.encode("latin-1"), 1)


MALFORMED = {
    "A1 no key": (changed(old=f"Sec-WebSocket-Key: {KEY}\r\n"), 400),
    "A1 empty key": (changed(old=KEY, new=""), 400),
    "A1 short key": (changed(old=KEY, new="AAAAAAAAAAA="), 400),
    "A1 two keys": (changed(f"Sec-WebSocket-Key: {KEY}"), 400),
    "A2 version 12": (changed(old="Version: 13", new="Version: 12"), 426),
    "A2 two versions": (changed(old="Version: 13", new="Version: 13, 8"), 426),
    "A2 version beyond reason": (changed(old="Version: 13", new="Version: 1" + "0" * 20), 426),
    "A2 underscore in a version": (changed(old="Version: 13", new="Version: 1_3"), 426),
    "A2 no version": (changed(old="Sec-WebSocket-Version: 13\r\n"), 400),
    "A3 POST": (changed(old="GET", new="POST"), 405),
    "A3 HEAD": (changed(old="GET", new="HEAD"), 405),
    "A3 lower case": (changed(old="GET", new="get"), 405),
    "A3 CONNECT": (changed(old="GET /", new="CONNECT a:80"), 400),
    "A3 HTTP/1.0": (changed(old="HTTP/1.1", new="HTTP/1.0"), 400),
    "A3 HTTP/9.9": (changed(old="HTTP/1.1", new="HTTP/9.9"), 400),
    "A3 HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "A3 HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "A3 TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 400),
    "A4 no host": (changed(old="Host: localhost\r\n"), 400),
    "A4 two hosts": (changed("Host: b"), 400),
    "A5 both lengths": (changed("Content-Length: 5", "Transfer-Encoding: chunked"), 400),
    "A5 chunked": (changed("Transfer-Encoding: chunked"), 400),
    "A5 negative length": (changed("Content-Length: -1"), 400),
    "A5 plus in a length": (changed("Content-Length: +1"), 400),
    "A5 underscore in a length": (changed("Content-Length: 1_0"), 400),
    "A5 a length beyond reason": (changed("Content-Length: 1" + "0" * 30), 400),
    "A5 a coding that is none": (changed("Transfer-Encoding: xchunked"), 400),
    "A5 a tab in a length": (changed("Content-Length: 1\t0"), 400),
    "A5 two lengths": (changed("Content-Length: 5", "Content-Length: 6"), 400),
    "A5 space before a colon": (changed("Transfer-Encoding : chunked"), 400),
    "A5 a body": (changed("Content-Length: 5") + b"GET /health HTTP/1.1\r\n\r\n", 400),
    "A6 NUL": (changed("A: \x00"), 400),
    "A6 bare CR": (changed("A: b\rc"), 400),
    "A6 bare LF": (changed("A: b\nc: d"), 400),
    "A6 folded line": (changed("A: b", " c"), 400),
    "A6 bad name": (changed("A(: b"), 400),
    "A6 no colon": (changed("A"), 400),
    "A6 0xff in a name": (changed("\xff: b"), 400),
    "A8 64 KiB of URL": (upgrade("/" + "a" * 65536), 431),
    "A8 1 MiB of header": (changed("A: " + "b" * MIB), 431),
    "A8 10,000 headers": (changed(*["A: b"] * 10_000), 431),
    "A8 500 short headers": (changed(*[f"h{n}: x" for n in range(500)]), 431),
    "A8 32 KiB of cookie": (changed("Cookie: " + "c" * 32768), 431),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_an_invalid_handshake_is_refused_once_and_closed(plain_server: ServerProcess, case: str) -> None:
    data, status = MALFORMED[case]
    assert statuses_of(answers_to(plain_server, data)) == [status]


def test_a3_a_refusal_says_what_is_expected(plain_server: ServerProcess) -> None:
    assert b"Allow: GET" in answers_to(plain_server, MALFORMED["A3 POST"][0])
    assert b"Sec-WebSocket-Version: 13" in answers_to(plain_server, MALFORMED["A2 version 12"][0])


def test_a5_a_pipelined_second_upgrade_is_read_as_frames(plain_server: ServerProcess) -> None:
    with RawClient(plain_server.port) as client:
        client.send(upgrade() + upgrade())
        assert client.read_head() == 101
        assert b"HTTP/1.1" not in client.read_all()


def test_a5_requests_behind_a_plain_one_are_answered_in_turn_until_one_is_wrong(plain_server: ServerProcess) -> None:
    good = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    smuggling = (
        b"POST /broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    smuggling += b"0\r\n\r\n"
    assert statuses_of(answers_to(plain_server, good + good + smuggling + good)) == [200, 200, 400]


def test_a7_nothing_hostile_is_reflected_into_headers_or_unescaped(run: Run) -> None:
    evil = upgrade(
        "/%0d%0aSet-Cookie:%20x=1%22%3Cscript%3E",
        "Sec-WebSocket-Protocol: a%0d%0aSet-Cookie: x, <script>",
        "Origin: https://a%0d%0aSet-Cookie:%20x",
        host="localhost",
    )
    head, _, body = answers_to(run("--allowed-origins", "*"), evil).partition(b"\r\n\r\n")
    assert b"404" in head.splitlines()[0]
    assert b"cookie" not in head.lower()
    assert b"Content-Type: application/json" in head
    message = json.loads(body)["error"]["message"]
    assert "\r" not in message
    assert "\n" not in message


def test_a8_headers_without_end_are_cut_off_before_they_cost_memory(run: Run, watch: Watch) -> None:
    server = run()
    canary = watch(server)
    before = server.rss()
    sent = 0
    with RawClient(server.port) as client:
        # What our own kernel would hold is not what the server has accepted.
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        try:
            while sent < 8 * MIB:
                client.send(b"A: b\r\n" * 1000)
                sent += 6000
                # The server has its turn on a busy machine too; once it has answered, nothing is waited for.
                select.select([client.socket], [], [], 0.01)
        except ConnectionError:
            pass
    assert sent < 4 * MIB
    assert server.rss() - before < 16 * MIB
    canary.check()


def test_a9_slow_drips_are_closed_by_a_deadline_that_no_byte_moves(run: Run, watch: Watch) -> None:
    server = run("--handshake-timeout", "2")
    canary = watch(server)
    drips = [RawClient(server.port) for _ in range(200)]
    feeds = (b"", b"G", b"A: b\r\n")
    for position, client in enumerate(drips):
        if position % 3 == 2:
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    waiting = set(range(len(drips)))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while waiting and time.monotonic() < deadline:
        for position in list(waiting):
            client = drips[position]
            try:
                client.socket.send(feeds[position % 3])
                gone = client.is_closed()
            except OSError:
                gone = True
            if gone:
                waiting.discard(position)
        time.sleep(0.2)
    for client in drips:
        client.close()
    assert not waiting  # each byte would have put it off, if any did
    canary.check()


def test_a9_a_body_that_drips_is_closed_too(run: Run) -> None:
    server = run("--handshake-timeout", "1")
    with RawClient(server.port) as client:
        client.send(b"POST /broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
        begun = time.monotonic()
        while not client.is_closed():
            client.socket.send(b"x")
            assert time.monotonic() - begun < PATIENCE_SECONDS
            time.sleep(0.1)


def test_a9_a_connection_kept_alive_and_not_used_again_ends_without_a_reset(run: Run, raw: Connect) -> None:
    server = run("--keep-alive-timeout", "1")
    client = raw(server.port)
    client.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.read_head() == 200
    while client.socket.recv(1000):  # a reset would raise
        pass


@pytest.mark.parametrize(
    "evil",
    ["a" + "; a=" * 3900, '"' * 15_900, '\\"' * 7900, "a, " * 5000, "permessage-deflate; " * 780],
)
def test_a10_headers_that_stall_a_naive_pattern_are_answered_at_once(
    plain_server: ServerProcess, watch: Watch, evil: str
) -> None:
    canary = watch(plain_server)
    for name in ("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Connection"):
        begun = plain_server.cpu_seconds()
        assert statuses_of(answers_to(plain_server, changed(f"{name}: {evil}"[:15_900])))
        assert plain_server.cpu_seconds() - begun < 1
    canary.check()


@pytest.mark.parametrize(
    "offer",
    [
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=0x0f",
        "unknown",
        "client_no_context_takeover=1",
        "server_no_context_takeover; server_no_context_takeover",
    ],
)
def test_a11_a_malformed_offer_of_compression_is_declined(shared: Run, connect: Connect, offer: str) -> None:
    server = shared("--compression", "on")
    client = connect(server.port, "/", f"Sec-WebSocket-Extensions: permessage-deflate; {offer}")
    assert "extensions" not in client.head.lower()
    assert client.say({"action": "ping"})["type"] == "pong"


GOOD = "https://good.example"


@pytest.mark.parametrize(
    "origin",
    [
        "evil",
        "null",
        "https://good.example.evil",
        "https://evilgood.example",
        "HTTPS://GOOD.EXAMPLE",
        "https://good.example:444",
        "http://good.example",
        f"{GOOD}\r\nOrigin: https://evil.example",
    ],
)
def test_a12_pages_of_other_origins_do_not_connect(shared: Run, origin: str) -> None:
    server = shared("--allowed-origins", GOOD, "--allowed-origins", "https://*.wild.example")
    before = server.metric("fastws_handshakes_refused_total", status="403", reason="origin")
    with RawClient(server.port) as client:
        assert client.upgrade("/", f"Origin: {origin}") == 403
    for good in (f"Origin: {GOOD}", "Origin: https://a.wild.example", "X-No-Origin: native"):
        with RawClient(server.port) as client:
            assert client.upgrade("/", good) == 101
    assert server.metric("fastws_handshakes_refused_total", status="403", reason="origin") == before + 1


def test_foreign_hosts_are_misdirected_but_probes_are_answered(run: Run) -> None:
    server = run("--allow-anonymous", "true", "--allowed-hosts", "live.example", "--allowed-hosts", "*.wild.example")
    with RawClient(server.port) as client:
        assert client.upgrade("/", host="live.example:8000") == 101
    with RawClient(server.port) as client:
        assert client.upgrade("/", host="evil.example") == 421
    # RFC 6455 section 4.1 allows a whole URI, whose host is the one that counts (RFC 9112 section 3.2.2).
    for host, status in (("live.example", 101), ("evil.example", 421)):
        with RawClient(server.port) as client:
            assert client.upgrade(f"http://{host}/", host="live.example") == status
    assert server.get("/", {"Host": "evil.example"})[0] == 421
    assert server.get("/metrics", {"Host": "a.wild.example"})[0] == 200
    assert server.get("/ready", {"Host": "192.0.2.1"})[0] == 200


def test_a13_over_the_share_of_an_address_upgrades_are_refused_and_others_served(run: Run, connect: Connect) -> None:
    server = run("--max-connections-per-ip", "3")
    held = [connect(server.port, source="127.0.0.2") for _ in range(3)]
    with RawClient(server.port, source="127.0.0.2") as client:
        assert client.upgrade() == 429
        assert "retry-after" in client.head.lower()
    connect(server.port, source="127.0.0.3")
    held[0].close()
    server.wait_until(lambda: server.metric("fastws_connections") == 3)
    connect(server.port, source="127.0.0.2")
    assert server.metric("fastws_handshakes_refused_total", status="429", reason="address_limit") == 1
    assert server.metric("fastws_rate_limited_total", kind="address") == 1


def test_a13_an_ipv6_network_of_64_bits_is_one_address(run: Run) -> None:
    server = run("--max-connections-per-ip", "1", "--trusted-proxies", "127.0.0.0/8", "--allow-anonymous", "true")
    with RawClient(server.port) as first, RawClient(server.port) as second, RawClient(server.port) as third:
        assert first.upgrade("/", "X-Forwarded-For: 2001:db8::1") == 101
        assert second.upgrade("/", "X-Forwarded-For: 2001:db8::2") == 429
        assert third.upgrade("/", "X-Forwarded-For: 2001:db8:0:1::1") == 101


def test_a13_a_flood_of_connects_is_refused_with_a_time_to_come_back(run: Run, watch: Watch) -> None:
    server = run("--connect-rate", "50")
    statuses = []
    for _ in range(400):
        with RawClient(server.port) as client:
            statuses.append(client.upgrade())
            if client.status == 503:
                assert "Retry-After: 1" in client.head
    assert set(statuses) == {101, 503}
    assert server.metric("fastws_handshakes_refused_total", reason="connect_rate") == statuses.count(503)


def test_a13_a_user_has_its_share(run: Run, connect: Connect) -> None:
    server = run("--max-connections-per-user", "2")
    for _ in range(2):
        connect(server.port, f"/api/v1/ws?token={token_of('ann')}")
    with RawClient(server.port) as client:
        assert client.upgrade(f"/api/v1/ws?token={token_of('ann')}") == 429
    connect(server.port, f"/api/v1/ws?token={token_of('bob')}")
    assert server.metric("fastws_handshakes_refused_total", status="429", reason="user_limit") == 1


SECRETS = ("SECRET-IN-QUERY", "SECRET-IN-HEADER", "SECRET-IN-PROTOCOL", "SECRET-IN-MESSAGE")


def test_a14_no_secret_reaches_a_log_a_metric_or_an_answer(run: Run) -> None:
    server = run("--log-level", "debug", "--log-format", "json")
    answers = b""
    good = token_of("ann", note=SECRETS[0])
    with RawClient(server.port) as client:
        assert client.upgrade(f"/?token={good}") == 101
        for message in (
            b'{"action":"refresh","token":"%s"}' % SECRETS[3].encode(),
            b'{"action":"refresh","token":"%s' % SECRETS[3].encode(),
            b'["%s"]' % SECRETS[3].encode(),
            b'{"action":"subscribe","channel":"a","token":"%s"}' % SECRETS[3].encode(),
        ):
            client.send(masked(1, message))
        client.send(masked(1, b"\xff" + SECRETS[3].encode()))
        client.read_to_the_end()
        answers += bytes(client.bytes)
    answers += answers_to(server, upgrade(f"/?token={SECRETS[0]}"))
    answers += answers_to(server, upgrade(f"/nowhere?token={SECRETS[0]}"))
    answers += answers_to(server, upgrade("/", f"Authorization: Bearer {SECRETS[1]}"))
    answers += answers_to(server, upgrade("/", f"Sec-WebSocket-Protocol: fastws.token.{SECRETS[2]}"))
    answers += answers_to(server, upgrade("/", f"Sec-WebSocket-Protocol: fastws.json, fastws.token.{good}"))
    answers += server.get("/connections", {"Authorization": f"Bearer {SECRETS[1]}"})[1]
    answers += server.get("/metrics")[1]
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    seen = answers.decode("latin-1") + server.log()
    for secret in (*SECRETS, good, SECRET, "the-broadcast-key-of-these-tests"):
        assert secret not in seen


def test_a15_what_is_open_to_all_is_as_documented(plain_server: ServerProcess) -> None:
    assert {
        path: plain_server.get(path)[0] for path in ("/health", "/ready", "/metrics", "/", "/admin", "/connections")
    } == {
        "/health": 200,
        "/ready": 200,
        "/metrics": 200,
        "/": 200,
        "/admin": 404,
        "/connections": 401,
    }


def test_refusals_are_counted_by_status_and_reason(run: Run) -> None:
    server = run("--max-connections", "1", "--allow-anonymous", "true")
    for data in (
        upgrade("/api/v1/ws"),
        upgrade("/nowhere"),
        upgrade().replace(b"GET", b"POST"),
        upgrade().replace(b": 13", b": 8"),
    ):
        answers_to(server, data)
    with RawClient(server.port) as first:
        assert first.upgrade() == 101
        with RawClient(server.port) as second:
            assert second.upgrade() == 503
            assert "Retry-After" in second.head
        assert server.get("/ready")[0] == 503
    for status, reason in (
        ("401", "unauthorized"),
        ("404", "not_found"),
        ("405", "method_not_allowed"),
        ("426", "upgrade_required"),
        ("503", "full"),
    ):
        assert server.metric("fastws_handshakes_refused_total", status=status, reason=reason) == 1, reason


def test_upgrades_are_refused_where_real_time_is_switched_off(run: Run) -> None:
    server = run(environment={"ENABLE_REALTIME": "false"})
    with RawClient(server.port) as client:
        assert client.upgrade() == 503
        assert "Retry-After" in client.head
    assert server.metric("fastws_handshakes_refused_total", reason="switched_off") == 1


def test_pipelined_requests_are_answered_one_a_turn(plain_server: ServerProcess, watch: Watch) -> None:
    canary = watch(plain_server)
    with RawClient(plain_server.port) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1500 + b"GET /health HTTP/1.0\r\n\r\n")
        answer = client.read_all()
    assert statuses_of(answer) == [200] * 1501
    canary.check()


def test_a_client_that_does_not_read_its_responses_gets_no_more(run: Run, raw: Connect) -> None:
    server = run("--handshake-timeout", "4")
    descriptors, before = server.descriptors(), server.rss()
    client = raw(server.port, receive_buffer=4096)
    client.socket.settimeout(0.5)
    with contextlib.suppress(OSError):
        while True:
            client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
    assert server.rss() - before < 16 * MIB
    server.wait_until(lambda: server.descriptors() == descriptors)


def test_a_request_whose_sender_has_closed_its_half_is_answered(plain_server: ServerProcess) -> None:
    with RawClient(plain_server.port) as client:
        body = b'{"channel":"a","event":"e"}'
        client.send(
            b"POST /broadcast HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer the-broadcast-key-of-these-tests\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        client.socket.shutdown(socket.SHUT_WR)
        assert client.read_head() == 200


def test_channels_of_the_process_are_bounded(run: Run, connect: Connect) -> None:
    server = run("--max-channels", "3")
    client = connect(server.port)
    for name in "abc":
        assert client.say({"action": "subscribe", "channel": name})["type"] == "subscription_succeeded"
    refused = client.say({"action": "subscribe", "channel": "d"})
    assert (refused["code"], refused["channel"]) == ("too_many_channels", "d")
    other = connect(server.port)
    assert other.say({"action": "subscribe", "channel": "a"})["type"] == "subscription_succeeded"
    client.say({"action": "unsubscribe", "channel": "c"})
    assert other.say({"action": "subscribe", "channel": "d"})["type"] == "subscription_succeeded"


@pytest.mark.parametrize(
    "flags",
    [
        ("--trusted-proxies", "10.0.0.0/99"),
        ("--allowed-origins", "good.example"),
        ("--allowed-hosts", "https://a.example"),
        ("--proxy-protocol", "true"),
    ],
)
def test_i9_a_bad_list_stops_the_start_with_one_line_that_names_it(flags: tuple[str, ...]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "fastws", "serve", "--port", "0", *flags], capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert flags[0].removeprefix("--").replace("-", "_") in ended.stderr


def test_b7_resets_in_the_middle_of_handshakes_leave_nothing_behind(run: Run, watch: Watch) -> None:
    server = run()
    canary = watch(server)
    canary_descriptors = 2
    before = server.descriptors()
    for cut in range(200):
        client = RawClient(server.port)
        client.send(upgrade()[: cut % 150])
        client.reset()
    server.wait_until(lambda: server.descriptors() <= before + canary_descriptors)
    canary.check()
    server.assert_clean_log()


def test_an_unknown_peer_family_still_connects(run: Run) -> None:
    server = run("--host", "::1")
    with RawClient(server.port, family=socket.AF_INET6) as client:
        assert client.upgrade() == 101
