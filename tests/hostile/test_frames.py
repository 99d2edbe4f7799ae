"""Rows B and C, with a real process: frames that violate the protocol, floods, bombs, and unanswered closes."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
import threading
import time

import pytest

from fastws.wire.deflate import deflate
from tests.hostile.conftest import Connect, Run, Watch
from tests.hostile.raw_client import BINARY, CLOSE, PING, PONG, TEXT, RawClient, connected, masked, upgrade
from tests.hostile.server_process import BROADCAST_KEY, ServerProcess

MIB = 1 << 20
CONTINUATION = 0
RSV1 = 4
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


def header(length: int, opcode: int = BINARY, *, final: bool = True) -> bytes:
    """A frame's header that announces `length` bytes."""
    return struct.pack("!BBQ", (0x80 if final else 0) | opcode, 0xFF, length)


VIOLATIONS = {
    "B1 unmasked": (b"\x81\x01a", 1002),
    "B1 RSV": (masked(TEXT, b"a", rsv=2), 1002),
    "B1 compressed though not agreed": (masked(TEXT, b"a", rsv=RSV1), 1002),
    "B1 reserved opcode": (masked(3), 1002),
    "B1 reserved control opcode": (masked(11), 1002),
    "B1 fragmented ping": (masked(PING, final=False), 1002),
    "B1 ping of 126 bytes": (masked(PING, b"x" * 126), 1002),
    "B1 close of 1 byte": (masked(CLOSE, b"\x03"), 1002),
    "B1 close 1005": (masked(CLOSE, b"\x03\xed"), 1002),
    "B1 close 999": (masked(CLOSE, b"\x03\xe7"), 1002),
    "B1 close 65535": (masked(CLOSE, b"\xff\xff"), 1002),
    "B1 stray continuation": (masked(CONTINUATION, b"a"), 1002),
    "B1 interleaved": (masked(TEXT, b"a", final=False) + masked(TEXT, b"b"), 1002),
    "B2 bad text": (masked(TEXT, b"\xc0\x80"), 1007),
    "B2 bad text across fragments": (masked(TEXT, b"\xe2\x82", final=False) + masked(CONTINUATION, b"\x28"), 1007),
    "B2 bad text in a close": (masked(CLOSE, b"\x03\xe8\xff"), 1007),
    "B3 2^63": (header(1 << 63), 1002),
    "B3 2^62": (header(1 << 62), 1009),
    "B3 one byte more than the limit": (header(MIB + 1), 1009),
    "B3 fragments": (masked(BINARY, b"x" * 70_000, final=False) + header(MIB, CONTINUATION), 1009),
    "B4 empty fragments": (masked(BINARY, final=False) + masked(CONTINUATION, final=False) * 200_000, 1008),
    "B4 fragments of a byte": (masked(BINARY, final=False) + masked(CONTINUATION, b"x", final=False) * 5000, 1008),
    "B4 fragments up to the limit": (
        masked(BINARY, final=False) + masked(CONTINUATION, b"x" * 60_000, final=False) * 20,
        1009,
    ),
}


@pytest.mark.parametrize("case", VIOLATIONS)
def test_a_violation_of_the_protocol_closes_the_connection_at_once(plain_server: ServerProcess, case: str) -> None:
    data, code = VIOLATIONS[case]
    before = plain_server.rss()
    with connected(plain_server.port) as client:
        with contextlib.suppress(ConnectionError):  # it may be closed before everything is sent
            client.send(data)
        assert client.read_to_the_end() == code
    assert plain_server.rss() - before < 8 * MIB


def test_b3_a_message_of_exactly_the_limit_is_taken(plain_server: ServerProcess, connect: Connect) -> None:
    client = connect(plain_server.port)
    message = json.dumps({"action": "send", "channel": "a", "event": "e", "data": ""})
    client.send(masked(TEXT, message.replace('""', '"' + "x" * (MIB - len(message)) + '"').encode()))
    assert client.receive_json()["type"] == "send_success"


def test_b4_fifty_messages_held_open_cost_no_more_than_their_bytes(run: Run, connect: Connect) -> None:
    server = run()
    before = server.rss()
    for _ in range(50):
        client = connect(server.port)
        client.send(header(MIB - 1) + b"\0\0\0\0" + b"x" * (MIB - 2))
    server.wait_until(lambda: server.metric("fastws_connections") == 50)
    probe = connect(server.port)
    assert probe.say({"action": "ping"})["type"] == "pong"
    assert server.rss() - before < 50 * MIB * 2 + 16 * MIB


def flood(client: RawClient, data: bytes, seconds: float) -> int:
    """Send `data` again and again without reading, until nothing is taken any more; the bytes that were."""
    sent = 0
    client.socket.settimeout(seconds)
    with contextlib.suppress(OSError):
        while sent < 256 * MIB:
            sent += client.socket.send(data)
    return sent


@pytest.mark.parametrize(
    "frame",
    [masked(PING), masked(PING, b"x" * 125), masked(TEXT, b'{"type":"ping"}'), masked(TEXT, b"{}")],
    ids=["ping", "ping with payload", "request", "error"],
)
def test_b5_a_client_that_does_not_read_its_replies_is_no_longer_read(
    run: Run, watch: Watch, raw: Connect, frame: bytes
) -> None:
    server = run("--message-rate", "0")
    canary = watch(server)
    before = server.rss()
    client = raw(server.port, receive_buffer=4096)
    assert client.upgrade() == 101
    sent = flood(client, frame * (65536 // len(frame)), seconds=1.5)
    assert sent < 256 * MIB
    assert server.rss() - before < 32 * MIB
    canary.check()
    # It reads again, and everything it asked is answered: nothing was lost meanwhile.
    client.socket.settimeout(20)
    for _ in range(1000):
        assert client.receive() is not None


@pytest.mark.parametrize(
    "frame",
    [masked(PONG), masked(PONG, b"x" * 125), masked(PING), masked(TEXT, b"", final=False) + masked(CONTINUATION)],
    ids=["pong", "pong with payload", "ping", "empty fragments"],
)
def test_b5_floods_do_not_starve_other_clients(run: Run, watch: Watch, frame: bytes) -> None:
    server = run("--message-rate", "0")
    canary = watch(server)
    stop = threading.Event()

    def attack() -> None:
        with connected(server.port) as client, contextlib.suppress(OSError):
            client.socket.setblocking(False)
            data, at = frame * 5000, 0
            while not stop.is_set():
                try:
                    at = (at + client.socket.send(data[at:])) % len(data)
                except BlockingIOError:
                    time.sleep(0.001)
                with contextlib.suppress(BlockingIOError):
                    client.socket.recv(MIB)

    threads = [threading.Thread(target=attack) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(1)  # the attack's length; nothing is awaited
    canary.check()
    stop.set()
    for thread in threads:
        thread.join()


def test_b6_a_session_byte_by_byte_and_frames_behind_the_handshake(plain_server: ServerProcess, raw: Connect) -> None:
    client = raw(plain_server.port)
    session = upgrade() + masked(TEXT, b'{"action":"ping","id":1}', key=b"abcd") + masked(PING, b"2")
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in session:
        client.send(bytes((byte,)))
    assert client.read_head() == 101
    assert client.receive_json()["type"] == "connection_id"
    assert client.receive_json()["id"] == 1
    assert client.receive() == (PONG, b"2")
    at_once = raw(plain_server.port)
    at_once.send(upgrade() + b"".join(masked(TEXT, b'{"action":"ping","id":%d}' % n) for n in range(1000)))
    assert at_once.read_head() == 101
    assert at_once.receive_json()["type"] == "connection_id"
    assert [at_once.receive_json()["id"] for _ in range(1000)] == list(range(1000))


def delete(server: ServerProcess, connection_id: object) -> int:
    return server.get(f"/connections/{connection_id}", {"Authorization": f"Bearer {BROADCAST_KEY}"}, "DELETE")[0]


def test_b7_an_unanswered_close_ends_the_connection_anyway(run: Run, raw: Connect) -> None:
    server = run()
    descriptors = server.descriptors()
    clients = [raw(server.port, receive_buffer=4096) for _ in range(20)]
    for client in clients:
        assert client.upgrade() == 101
        assert delete(server, client.receive_json()["connection_id"]) == 204
    # Nobody reads or answers; some go on talking.
    for client in clients[::2]:
        client.send_json({"action": "send", "channel": "a", "event": "e"})
    server.wait_until(lambda: server.descriptors() == descriptors)
    assert server.metric("fastws_publications_total", source="client") == 0


def test_b7_after_its_close_a_client_is_not_listened_to(run: Run, connect: Connect) -> None:
    server = run()
    client = connect(server.port)
    client.send(masked(CLOSE, b"\x03\xe8") + masked(TEXT, b'{"action":"send","channel":"a","event":"e"}'))
    assert client.read_to_the_end() == 1000
    assert server.metric("fastws_publications_total", source="client") == 0


def test_b7_a_half_closed_peer_is_closed_once_it_has_its_replies(run: Run, connect: Connect) -> None:
    server = run("--ping-interval", "0.5", "--idle-timeout", "2")
    descriptors = server.descriptors()
    client = connect(server.port)
    client.send_json({"action": "ping"})
    client.socket.shutdown(socket.SHUT_WR)
    assert client.receive_json()["type"] == "pong"
    assert client.receive() is None
    # One that does not read is not read either, so its end is not seen: it goes when it shows no sign of life.
    stuck = connect(server.port, receive_buffer=4096)
    stuck.send(masked(TEXT, b'{"action":"ping"}') * 200_000)
    stuck.socket.shutdown(socket.SHUT_WR)
    server.wait_until(lambda: server.descriptors() <= descriptors)


def test_b7_resets_in_the_middle_of_frames_leave_nothing_behind(run: Run, watch: Watch) -> None:
    server = run()
    canary = watch(server)
    before = server.descriptors()
    frame = masked(TEXT, b"x" * 300)
    for cut in range(300):
        client = RawClient(server.port)
        client.send(upgrade() + frame[:cut])
        if cut % 2:
            client.read_head()
        client.reset()
    canary.check()
    server.wait_until(lambda: server.descriptors() <= before)
    server.assert_clean_log()


def test_b9_random_and_flipped_bytes_do_no_harm(run: Run, watch: Watch) -> None:
    server = run()
    canary = watch(server)
    before = server.rss()
    dice = random.Random(20261121)
    session = upgrade() + masked(TEXT, b'{"action":"subscribe","channel":"a"}') * 3 + masked(CLOSE, b"\x03\xe8")
    for _ in range(600):
        kind = dice.randrange(3)
        data = bytearray(session)
        if kind == 0:
            data = bytearray(dice.randbytes(dice.randrange(1, 400)))
        for _ in range(dice.randrange(1, 8) if kind else 0):
            # Half of the flips leave the handshake alone, so that they reach the frames.
            at = dice.randrange(len(upgrade()) if kind == 2 else 0, len(data))
            data[at] ^= 1 << dice.randrange(8)
        with RawClient(server.port) as client:
            client.send(bytes(data))
            client.socket.shutdown(socket.SHUT_WR)
            client.read_all()
    assert server.rss() - before < 32 * MIB
    canary.check()
    server.assert_clean_log()


BOMB = deflate(b"a" * (64 * MIB), 9)


@pytest.mark.parametrize("fragments", [1, 7])
def test_c1_c4_a_bomb_as_the_first_frame_is_cut_off_at_the_limit(run: Run, watch: Watch, fragments: int) -> None:
    server = run("--compression", "on")
    canary = watch(server)
    before = server.rss()
    step = len(BOMB) // fragments + 1
    pieces = [BOMB[at : at + step] for at in range(0, len(BOMB), step)]
    data = masked(TEXT, pieces[0], final=fragments == 1, rsv=RSV1)
    data += b"".join(masked(CONTINUATION, piece, final=piece is pieces[-1]) for piece in pieces[1:])
    with RawClient(server.port) as client:
        with contextlib.suppress(ConnectionError):
            client.send(upgrade("/", DEFLATE) + data)
        assert client.read_head() == 101
        assert client.read_to_the_end() == 1009
    assert server.rss() - before < 16 * MIB + 4 * MIB
    canary.check()


def test_c1_twenty_bombs_at_once(run: Run, watch: Watch) -> None:
    server = run("--compression", "on")
    canary = watch(server)
    before = server.rss()
    clients = [connected(server.port, "/", DEFLATE) for _ in range(20)]
    for client in clients:
        with contextlib.suppress(ConnectionError):
            client.send(masked(TEXT, BOMB, rsv=RSV1))
    for client in clients:
        assert client.read_to_the_end() == 1009
        client.close()
    assert server.rss() - before < 16 * MIB + 20 * 2 * MIB
    canary.check()


def test_c2_data_that_is_not_deflate(run: Run, connect: Connect) -> None:
    server = run("--compression", "on")
    for payload in (b"\xff\xff\xff", b"\x00\x01\x02\x03\x04\x05"):
        client = connect(server.port, "/", DEFLATE)
        client.send(masked(TEXT, payload, rsv=RSV1))
        assert client.read_to_the_end() == 1007
    client = connect(server.port, "/", DEFLATE)
    client.send(masked(TEXT, b"\x00\x00\x00\xff\xff" * 10_000 + deflate(b'{"action":"ping"}', 9), rsv=RSV1))
    assert client.receive_json()["type"] == "pong"


def test_c3_compression_keeps_no_memory_for_a_connection(run: Run, connect: Connect) -> None:
    """No context takeover: a connection with deflate costs what one without costs."""
    server = run("--compression", "on")
    figures = []
    message = deflate(b'{"action":"send","channel":"a","event":"e","data":"%s"}' % (b"x" * 3000), 6)
    for headers in ((), (DEFLATE,)):
        for _ in range(50):
            connect(server.port, "/", *headers)  # warms the allocator
        before = server.rss()
        for _ in range(400):
            client = connect(server.port, "/", *headers)
            if headers:
                client.send(masked(TEXT, message, rsv=RSV1))
                client.receive_json()
        figures.append((server.rss() - before) / 400)
    print(f"\nRSS a connection: {figures[0] / 1024:.1f} KiB, {figures[1] / 1024:.1f} KiB with deflate")
    assert figures[1] < figures[0] + 8 * 1024


def test_f1_subscriptions_of_one_connection_are_bounded(run: Run, connect: Connect) -> None:
    server = run()
    connect(server.port)
    before = server.rss()
    client = connect(server.port)
    names = [f"channel {n}" for n in range(10_000)]
    client.send(b"".join(masked(TEXT, json.dumps({"action": "subscribe", "channel": name}).encode()) for name in names))
    kinds = [client.receive_json() for _ in names]
    assert sum(kind["type"] == "subscription_succeeded" for kind in kinds) == 128
    assert {kind["code"] for kind in kinds if kind["type"] == "error"} == {"too_many_channels"}
    refused = client.say({"action": "subscribe", "channel": "x" * 256})
    assert refused["code"] == "bad_request"
    assert client.say({"action": "ping"})["type"] == "pong"
    client.close()
    server.wait_until(lambda: server.metric("fastws_channels") == 0)
    assert server.rss() - before < 8 * MIB


def test_f7_channel_names_used_once_leave_nothing_behind(run: Run, connect: Connect) -> None:
    server = run("--message-rate", "0")
    client = connect(server.port)

    def use(first: int, count: int) -> None:
        for start in range(first, first + count, 500):
            names = range(start, start + 500)
            client.send(
                b"".join(
                    masked(TEXT, b'{"action":"%s","channel":"name %d"}' % (action, name))
                    for name in names
                    for action in (b"subscribe", b"unsubscribe")
                )
            )
            for _ in range(1000):
                client.receive_json()

    use(0, 20_000)  # what is cached by name is full
    before = server.rss()
    use(20_000, 80_000)
    assert server.metric("fastws_channels") == 0
    assert server.rss() - before < before * 0.1
    assert b"name 7" not in server.get("/metrics")[1]


def test_f8_a_client_that_sends_too_much_gets_errors_and_is_closed_and_others_continue(
    run: Run, watch: Watch, connect: Connect
) -> None:
    server = run("--message-rate", "100", "--message-burst", "200")
    canary = watch(server)
    client = connect(server.port)
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            client.send(masked(TEXT, b'{"action":"ping"}') * 100)
            time.sleep(0.01)
    codes, code = set(), None
    while (frame := client.receive()) is not None:
        if frame[0] == CLOSE:
            code = int.from_bytes(frame[1][:2], "big")
        elif frame[0] == TEXT:
            codes.add(json.loads(frame[1]).get("code"))
    assert "rate_limited" in codes
    assert code in (1008, None)  # None where our own sending met the reset
    assert server.metric("fastws_connections_closed_total", code="1008") == 1
    canary.check()
