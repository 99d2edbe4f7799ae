"""The address of proxied clients: forwarded addresses, the PROXY protocol, and peers that have already left."""

from __future__ import annotations

import json
import signal

import pytest

from tests.hostile.conftest import Connect, Run
from tests.hostile.raw_client import RawClient, upgrade
from tests.hostile.server_process import BROADCAST_KEY, token_of

KEY = {"Authorization": f"Bearer {BROADCAST_KEY}"}
PROXY = "127.0.0.0/8"
V2 = b"\r\n\r\n\0\r\nQUIT\n"


def test_a13_forwarded_addresses_are_believed_from_trusted_proxies_only(run: Run, raw: Connect) -> None:
    server = run("--trusted-proxies", "127.0.0.2", "--max-connections-per-ip", "1", "--allow-anonymous", "true")
    for source, forwarded, status in (
        ("127.0.0.2", "198.51.100.1", 101),
        ("127.0.0.2", "198.51.100.1", 429),
        ("127.0.0.2", "198.51.100.1, 198.51.100.2", 101),
        ("127.0.0.9", "203.0.113.1", 101),
        ("127.0.0.9", "203.0.113.2", 429),
    ):
        client = raw(server.port, source=source)
        assert client.upgrade("/", f"X-Forwarded-For: {forwarded}") == status, (source, forwarded)
    listed = json.loads(server.get("/connections", KEY)[1])["connections"]
    assert {c["address"] for c in listed} == {"198.51.100.1", "198.51.100.2", "127.0.0.9"}


PROXY_V2 = V2 + b"\x21\x11\x00\x0c" + bytes((198, 51, 100, 7, 127, 0, 0, 1)) + b"\x1f\x90\x00\x50"


@pytest.mark.parametrize("header", [b"PROXY TCP4 198.51.100.7 127.0.0.1 8080 80\r\n", PROXY_V2], ids=["v1", "v2"])
def test_the_proxy_protocol_names_the_client(shared: Run, header: bytes) -> None:
    server = shared("--trusted-proxies", "127.0.0.2", "--proxy-protocol", "true", "--allow-anonymous", "true")
    with RawClient(server.port, source="127.0.0.2") as client:
        for byte in header:  # however it is cut
            client.send(bytes((byte,)))
        assert client.upgrade() == 101
        listed = json.loads(server.get("/connections", KEY)[1])["connections"]
        assert "198.51.100.7" in {connection["address"] for connection in listed}
    with RawClient(server.port, source="127.0.0.2") as client:
        assert client.upgrade() == 400  # a trusted proxy must say for whom it speaks
    with RawClient(server.port, source="127.0.0.3") as client:
        client.send(header + upgrade())
        assert client.read_head() == 400  # nobody else may


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (PROXY_V2, 401),
        (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", 401),  # on the proxy's machine, which need not be ours
        (b"PROXY UNKNOWN\r\n", 401),
        (V2 + b"\x21\x00\x00\x00", 401),  # of no family
        (V2 + b"\x21\x31\x00\xd8" + bytes(216), 401),  # on a Unix socket of the proxy's
        (V2 + b"\x21\x11\x00\x10" + bytes((198, 51, 100, 7, 127, 0, 0, 1, 0, 1, 0, 2)) + b"\x20\xff\xff\x00", 401),
        (V2 + b"\x20\x00\x00\x00", 401),  # LOCAL: the proxy itself; its machine is ours, its clients need not be
        (V2 + b"\x22\x00\x00\x00", 400),
        (V2 + b"\x11\x11\x00\x0c" + bytes(12), 400),
        (V2 + b"\x21\x11\x00\x0b" + bytes(11), 400),
    ],
)
def test_the_proxy_protocol_does_not_make_a_stranger_a_local_client(shared: Run, header: bytes, status: int) -> None:
    server = shared("--trusted-proxies", "127.0.0.2", "--proxy-protocol", "true")
    with RawClient(server.port, source="127.0.0.2") as client:
        client.send(header)
        assert client.upgrade() == status


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-For: 127.0.0.1",
        "Forwarded: for=127.0.0.1",
        "Via: 1.1 a",
        "X-Forwarded-Proto: http",
        "X-Real-IP: ::1",
    ],
)
def test_by_default_only_local_clients_are_anonymous(shared: Run, header: str) -> None:
    server = shared()
    with RawClient(server.port) as client:
        assert client.upgrade("/", header) == 401
    with RawClient(server.port) as client:
        assert client.upgrade("/") == 101


def test_behind_trusted_proxies_all_clients_need_a_token_by_default(shared: Run) -> None:
    server = shared("--trusted-proxies", PROXY)
    for header in ("X-Forwarded-For: 127.0.0.1", "X-Direct: 1"):
        with RawClient(server.port) as client:
            assert client.upgrade("/", header) == 401


@pytest.mark.parametrize("host", ["ws.example.com", "192.0.2.1", "localhost.example.com", ""])
def test_a_host_that_is_no_loopback_name_came_through_a_proxy_or_a_page(shared: Run, host: str) -> None:
    server = shared("--allowed-hosts", "*")
    with RawClient(server.port) as client:
        assert client.upgrade("/", host=host) == 401


@pytest.mark.parametrize("host", ["ws.example.com", "192.0.2.1", "localhost.example.com", ""])
def test_by_default_only_names_of_this_machine_are_served(shared: Run, host: str) -> None:
    server = shared()
    with RawClient(server.port) as client:
        assert client.upgrade("/", host=host) == 421


def test_a_proxied_client_with_a_token_without_claims_has_the_rights_of_an_anonymous_one(run: Run) -> None:
    server = run()
    subscribe = {"action": "subscribe", "channel": "news"}
    publish = {"action": "send", "channel": "news", "event": "e"}
    for header, answers in (
        ("X-Direct: 1", ("subscription_succeeded", "send_success")),
        ("X-Forwarded-For: a", ("error", "error")),
    ):
        with RawClient(server.port) as client:
            assert client.upgrade(f"/?token={token_of('ann')}", header) == 101
            client.receive_json()
            assert client.say(subscribe)["type"] == answers[0]
            if answers[1] != "error":
                client.say({"action": "unsubscribe", "channel": "news"})
            assert client.say(publish)["type"] == answers[1]


def test_a_client_that_has_reset_its_connection_does_not_count_as_local(run: Run, raw: Connect) -> None:
    """The kernel still hands on what such a peer has sent, but knows its address no more."""
    server = run(has_keys=False)
    victim = raw(server.port)
    assert victim.upgrade() == 101
    connection_id = victim.receive_json()["connection_id"]
    descriptors = server.descriptors()
    server.wait_until(lambda: server.descriptors() == descriptors)
    server.signal(signal.SIGSTOP)
    with RawClient(server.port) as gone:
        gone.send(post_to(connection_id, b'"forged"'))
        gone.reset()
    server.signal(signal.SIGCONT)
    with RawClient(server.port) as honest:  # accepted after it
        server.wait_until(lambda: server.descriptors() == descriptors + 1)
        honest.send(post_to(connection_id, b'"honest"'))
        assert honest.read_head() == 200
    assert victim.receive() == (1, b'"honest"')
    server.assert_clean_log()


def post_to(connection_id: str, body: bytes) -> bytes:
    head = f"POST /@connections/{connection_id} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
