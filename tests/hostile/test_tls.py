"""TLS: versions, the time limit of handshakes, and a certificate replaced while connections are open."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tests.hostile.certificates import Certificate, serial_of
from tests.hostile.conftest import Connect, Run
from tests.hostile.raw_client import RawClient, upgrade
from tests.redis_server import RedisServer
from tests.transport.tls_peer import TlsPeer

MIB = 1 << 20


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate(tmp_path)


def test_clients_connect_by_wss_and_receive_each_others_messages(
    run: Run, connect: Connect, certificate: Certificate
) -> None:
    server = run(*certificate.flags)
    one, other = (connect(server.port, tls=certificate.client_context()) for _ in range(2))
    assert one.say({"action": "subscribe", "channel": "a"})["type"] == "subscription_succeeded"
    large = "x" * (MIB // 2)
    other.send_json({"action": "send", "channel": "a", "event": "e", "data": large})
    assert one.receive_json()["data"] == large
    assert other.receive_json()["sent"] == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_of_this_age_is_forward_secret(
    run: Run, connect: Connect, certificate: Certificate, version: ssl.TLSVersion
) -> None:
    server = run(*certificate.flags)
    context = certificate.client_context()
    context.minimum_version = context.maximum_version = version
    cipher = connect(server.port, tls=context).socket.cipher()  # type: ignore[attr-defined] # an SSLSocket
    assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]
    assert cipher[0].startswith(("ECDHE", "TLS_"))


def test_older_tls_and_weak_ciphers_are_refused(run: Run, raw: Connect, certificate: Certificate) -> None:
    server = run(*certificate.flags)
    old = certificate.client_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    weak = certificate.client_context()
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    for context in (old, weak):
        client = raw(server.port)
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(client.socket, server_hostname="localhost")
    server.assert_clean_log()


def test_plain_http_on_the_tls_port_ends_without_an_answer(run: Run, raw: Connect, certificate: Certificate) -> None:
    server = run(*certificate.flags)
    client = raw(server.port)
    assert client.upgrade() == 0
    server.assert_clean_log()


def test_a_handshake_that_does_not_come_to_its_end_is_cut_off(run: Run, raw: Connect, certificate: Certificate) -> None:
    server = run(*certificate.flags, "--handshake-timeout", "1")
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    silent, begun = raw(server.port), raw(server.port)
    begun.send(hello)
    tls_only = raw(server.port, tls=certificate.client_context())
    for client in (silent, begun, tls_only):
        client.read_all()
    server.assert_clean_log()


def test_sighup_reads_the_certificate_again_and_closes_no_client(
    run: Run, connect: Connect, certificate: Certificate
) -> None:
    server = run(*certificate.flags, "--log-format", "json")
    first = certificate.serial
    old = connect(server.port, tls=certificate.client_context())
    certificate.write()
    server.signal(signal.SIGHUP)
    server.wait_until(lambda: server.log_lines("certificate reloaded"))
    new = connect(server.port, tls=certificate.client_context())
    assert serial_of(new.socket) == certificate.serial  # type: ignore[arg-type] # an SSLSocket
    assert serial_of(old.socket) == first  # type: ignore[arg-type]
    assert old.say({"action": "ping"})["type"] == "pong"


def test_a_pair_that_does_not_fit_is_not_taken(run: Run, connect: Connect, certificate: Certificate) -> None:
    server = run(*certificate.flags, "--log-format", "json")
    context = certificate.client_context()
    cert, key = certificate.cert.read_bytes(), certificate.key.read_bytes()
    certificate.write()
    certificate.key.write_bytes(key)
    server.signal(signal.SIGHUP)
    server.wait_until(lambda: server.log_lines("certificate not reloaded: the current one stays in use"))
    certificate.write(password=b"secret")
    server.signal(signal.SIGHUP)
    server.wait_until(lambda: len(server.log_lines("certificate not reloaded: the current one stays in use")) == 2)
    certificate.cert.write_bytes(cert)
    connect(server.port, tls=context)
    assert "PRIVATE KEY" not in server.log()


@pytest.mark.parametrize("workers", [1, 2])
async def test_finished_and_the_upgrade_in_one_segment_with_workers_and_while_the_certificate_changes(
    run: Run, certificate: Certificate, redis_server: RedisServer, workers: int
) -> None:
    server = run(*certificate.flags, "--workers", str(workers), "--redis-url", redis_server.url, "--log-format", "json")
    context = certificate.client_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # which pair it shows just now is another test's concern
    for _ in range(10):
        peer = TlsPeer(server.port, context)
        finished = await peer.shake_hands()
        certificate.write()
        server.signal(signal.SIGHUP)
        await peer.send(finished + peer.record(upgrade()))
        assert (await peer.head()).startswith("HTTP/1.1 101 ")
        await peer.hear()
        await peer.say({"action": "ping"})
        assert (await peer.hear())["type"] == "pong"
        peer.close()


def test_sighup_without_tls_changes_nothing(run: Run, connect: Connect) -> None:
    server = run("--log-format", "json")
    client = connect(server.port)
    server.signal(signal.SIGHUP)
    server.wait_until(lambda: server.log_lines("nothing to reload: TLS is off"))
    assert client.say({"action": "ping"})["type"] == "pong"


def start_with(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastws", "serve", "--port", "0", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)


def test_a_pair_that_cannot_be_used_stops_the_start(certificate: Certificate, tmp_path: Path) -> None:
    nothing = str(tmp_path / "nothing.pem")
    tried = [
        start_with("--tls-cert", nothing, "--tls-key", str(certificate.key)),
        start_with("--tls-cert", str(certificate.key), "--tls-key", str(certificate.key)),
        start_with("--tls-cert", str(certificate.cert)),
        start_with(*certificate.flags, "--proxy-protocol", "true", "--trusted-proxies", "10.0.0.1"),
    ]
    certificate.write(password=b"secret")
    tried.append(start_with(*certificate.flags))
    for ended in tried:
        assert ended.returncode == 2
        assert ended.stderr.count("\n") == 1
        assert "tls_" in ended.stderr.lower() or "TLS" in ended.stderr


def test_a_stalled_client_is_bounded_over_tls_too(run: Run, connect: Connect, certificate: Certificate) -> None:
    server = run(*certificate.flags, "--max-queue-bytes", str(MIB), "--max-queue-messages", "100000")
    stalled = connect(server.port, tls=certificate.client_context(), receive_buffer=4096)
    stalled.say({"action": "subscribe", "channel": "a"})
    sender = connect(server.port, tls=certificate.client_context())
    before = server.rss()
    data = "x" * 100_000
    for _ in range(100):
        assert "sent" in sender.say({"action": "send", "channel": "a", "event": "e", "data": data})
    assert server.rss() - before < 16 * MIB
    server.wait_until(lambda: is_reset(stalled))


def is_reset(client: RawClient) -> bool:
    """Whether the server has ended the connection, without reading what it sent."""
    return client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0 or _has_ended(client)


def _has_ended(client: RawClient) -> bool:
    info = client.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return info[0] != 1  # TCP_ESTABLISHED


def test_memory_of_a_tls_connection(run: Run, connect: Connect, certificate: Certificate) -> None:
    """The README's advice rests on this figure: TLS at the proxy where connections are many."""
    server = run(*certificate.flags)
    context = certificate.client_context()
    connect(server.port, tls=context)
    before = server.rss()
    count = 100
    for _ in range(count):
        connect(server.port, tls=context)
    per_connection = (server.rss() - before) / count
    print(f"\nTLS: {per_connection / 1024:.0f} KiB a connection")
    assert per_connection < MIB


def test_a_closed_wss_connection_leaves_no_descriptor(run: Run, certificate: Certificate) -> None:
    server = run(*certificate.flags)
    # libuv opens its spare descriptor (/dev/null, for EMFILE) with the first stream of a loop, and keeps it.
    RawClient(server.port, tls=certificate.client_context()).close()
    before = server.descriptors()
    for position in range(60):
        client = RawClient(server.port, tls=certificate.client_context())
        if position % 3:
            assert client.upgrade() == 101
        if position % 2:
            client.reset()
        else:
            client.close()
    server.wait_until(lambda: server.descriptors() <= before)
