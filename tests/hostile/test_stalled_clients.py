"""Rows G: clients that do not read are limited, closed and logged; others are not affected."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.hostile.conftest import Connect, Run, Watch
from tests.hostile.crowd import Crowd
from tests.hostile.raw_client import CLOSE, TEXT, RawClient, connected
from tests.hostile.server_process import ServerProcess, token_of
from tests.redis_server import RedisServer

KIB, MIB = 1 << 10, 1 << 20
SUBSCRIBE = {"action": "subscribe", "channel": "a"}


Stall = Callable[[ServerProcess, int], list[RawClient]]


@pytest.fixture
def stall() -> Iterator[Stall]:
    """`stall(server, count)`: subscribers that never read again; closed after the test."""
    with ExitStack() as stack:

        def begin(server: ServerProcess, count: int) -> list[RawClient]:
            clients = []
            for number in range(count):
                client = connected(server.port, receive_buffer=4096, source=f"127.0.1.{1 + number % 250}")
                stack.enter_context(client).say(SUBSCRIBE)
                clients.append(client)
            return clients

        yield begin


def publish_until(server: ServerProcess, is_so: object, size: int, most: int = 2000) -> int:
    """Publish messages of `size` bytes until `is_so()`; how many it took."""
    assert callable(is_so)
    for count in range(most):
        if is_so():
            return count
        server.publish("a", "x" * size)
    raise AssertionError(f"not so after {most} messages")


def slow_consumers(server: ServerProcess) -> float:
    return server.metric("fastws_slow_consumers_total", policy="disconnect")


def test_g1_a_subscriber_that_never_reads_is_cut_off_within_its_bound(run: Run, watch: Watch, stall: Stall) -> None:
    server = run("--log-format", "json")
    canary = watch(server)
    before, descriptors = server.rss(), server.descriptors()
    stall(server, 1)
    publish_until(server, lambda: slow_consumers(server) == 1, MIB - 1000, most=100)
    assert server.rss() - before < MIB + 16 * MIB
    server.wait_until(lambda: server.descriptors() <= descriptors + 1)  # the canary's newest, perhaps
    (line,) = server.log_lines("client removed: slow consumer")
    assert line["channel"] == "a"
    assert line["connection"]
    canary.check()


def test_g2_a_silent_peer_is_closed_though_the_kernel_takes_everything(run: Run, stall: Stall) -> None:
    server = run("--ping-interval", "0.5", "--idle-timeout", "2")
    descriptors = server.descriptors()
    stall(server, 1)
    server.wait_until(lambda: server.publish("a", "x" * KIB) and server.descriptors() == descriptors)
    assert server.metric("fastws_connections_closed_total", reason="idle") == 1


def test_g3_a_reader_that_keeps_up_with_a_burst_is_not_called_slow(run: Run, connect: Connect) -> None:
    server = run()
    reader = connect(server.port)
    reader.say(SUBSCRIBE)
    heard = []

    def read() -> None:
        while len(heard) < 200:
            heard.append(len(str(reader.receive_json()["data"])))

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(200):
        server.publish("a", "x" * (MIB - 1000))
    thread.join(60)
    assert heard == [MIB - 1000] * 200
    assert slow_consumers(server) == 0


def test_g4_g5_five_hundred_stalled_among_a_thousand_readers(run: Run, watch: Watch, stall: Stall) -> None:
    bound, messages = 128 * KIB, 600
    server = run("--max-queue-bytes", str(bound), "--max-queue-messages", "1000000")
    with Crowd(server.port, 1000, "a") as crowd:
        canary = watch(server)
        before = server.rss()
        stall(server, 500)
        peak, sent = 0, 0
        while sent < messages:
            server.publish_many(
                [{"channel": "a", "event": "e", "data": {"n": sent + n, "x": "x" * 8000}} for n in range(10)]
            )
            sent += 10
            crowd.wait_until_all_heard(sent)
            peak = max(peak, server.rss() - before)
        assert slow_consumers(server) == 500
        assert peak < 500 * bound + 32 * MIB
        canary.check(ping_seconds=5.0, handshake_seconds=10.0)


def test_g7_memory_of_a_stalled_client(run: Run, stall: Stall) -> None:
    """Most of the queued bytes are shared by all clients; the rest is within the limit and 64 KiB."""
    bound, count = 256 * KIB, 100
    server = run("--max-queue-bytes", str(bound), "--max-queue-messages", "1000000")
    before = server.rss()
    stall(server, count)
    peak = 0
    for _ in range(2000):
        server.publish("a", "x" * 10_000)
        peak = max(peak, server.rss() - before)
        if slow_consumers(server):
            break
    per_client = peak / count
    print(f"\nstalled client: {per_client / KIB:.0f} KiB at its bound of {bound // KIB} KiB")
    assert slow_consumers(server)
    assert per_client < bound + 64 * KIB


def test_g7_direct_messages_are_bounded_like_publications(run: Run, connect: Connect, raw: Connect) -> None:
    server = run("--max-queue-bytes", str(256 * KIB), "--max-queue-messages", "1000000")
    target = raw(server.port, receive_buffer=4096)
    assert target.upgrade() == 101
    connection_id = target.receive_json()["connection_id"]
    sender = connect(server.port)
    before = server.rss()
    message = {"action": "send", "connectionId": connection_id, "event": "e", "data": "x" * 50_000}
    answers = [sender.say(message) for _ in range(300)]
    assert answers[0]["sent"] == 1
    assert answers[-1]["failed"] == 1
    assert server.rss() - before < 8 * MIB


def frames_of(client: RawClient) -> Iterator[tuple[int, bytes]]:
    while (frame := client.receive()) is not None:
        yield frame


@pytest.mark.parametrize("policy", ["disconnect", "drop_oldest", "drop_newest", "conflate"])
def test_g8_a_client_that_reads_again_after_a_pause_gets_whole_messages_and_a_notice_of_each_loss(
    run: Run, stall: Stall, policy: str
) -> None:
    server = run("--slow-policy", policy, "--max-queue-messages", "20")
    (client,) = stall(server, 1)
    total = 400
    for n in range(total):
        server.publish("a", {"n": n, "x": "x" * 20_000}, event=f"e{n}")
    if policy != "disconnect":
        server.publish("a", {"n": -1}, event="last")
    numbers, lost, code, is_last = [], 0, None, policy == "drop_newest"
    for opcode, payload in frames_of(client):
        if opcode == CLOSE:
            code = int.from_bytes(payload[:2], "big")
            continue
        if opcode != TEXT:
            continue  # a ping of the heartbeat
        message = json.loads(payload)
        if message.get("type") == "lag":
            lost += message["dropped"]
        elif message["event"] == "last":
            is_last = True
        else:
            numbers.append(message["data"]["n"])
        if is_last and lost:
            break
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0
    if policy == "disconnect":
        assert code in (1013, None)
        assert len(numbers) < total
        assert numbers == list(range(len(numbers)))
    else:
        assert lost > 0
        if policy == "drop_oldest":
            assert len(numbers) + lost == total


def test_f3_half_the_subscribers_reset_inside_a_broadcast_and_the_others_get_everything(run: Run, watch: Watch) -> None:
    server = run()
    with Crowd(server.port, 200, "a") as crowd:
        doomed = [connected(server.port) for _ in range(200)]
        for client in doomed:
            client.say(SUBSCRIBE)
        sent = 0
        while doomed:
            for client in doomed[-20:]:
                client.reset()
            del doomed[-20:]
            server.publish_many([{"channel": "a", "event": "e", "data": {"n": sent + n}} for n in range(20)])
            sent += 20
        crowd.wait_until_all_heard(sent)
        server.wait_until(lambda: server.metric("fastws_subscriptions") == 200)
    server.assert_clean_log()


@pytest.mark.parametrize("is_with_redis", [False, True])
@pytest.mark.parametrize("asked", ["filters", "figures"])
def test_small_requests_with_large_responses_wait_until_their_client_reads(
    run: Run, connect: Connect, redis_server: RedisServer, asked: str, *, is_with_redis: bool
) -> None:
    server = run(*(("--redis-url", redis_server.url) if is_with_redis else ()))
    server.wait_until(lambda: server.get("/ready")[0] == 200)
    client = connect(server.port, f"/ws?token={token_of('ann', workspace_id='w')}", receive_buffer=4096)
    if asked == "filters":
        names = [f"{n:03}".ljust(255, "x") for n in range(256)]
        size = len(json.dumps(client.say({"type": "subscribe", "event_types": names})))
        request: dict[str, object] = {"type": "subscribe", "event_types": []}
    else:
        size = 200 * KIB
        server.publish("workspace:w", {"x": "x" * size}, event="metrics_update")
        client.receive_json()
        request = {"type": "request_metrics"}
    count = 100 * MIB // size
    before = server.rss()
    for number in range(count):  # in the server's hands before it has answered the first
        client.send_json({**request, "id": number})
    peak = 0
    for number in range(count):
        assert client.receive_json()["id"] == number
        peak = max(peak, server.rss() - before)
    assert peak < 16 * MIB
    server.assert_clean_log()
