"""Entering a Redis: passwords, users, databases, RESP3, TLS; and not entering it."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fastws.backend import RedisBroadcaster
from fastws.brokers.redis.wire import handshake as redis_dial
from fastws.brokers.redis.wire.handshake import Refused, dial, handshake_commands
from fastws.redis_address import RedisAddress, parse_address
from fastws.resolver import Found
from fastws.vocabulary.publication import Publication
from tests.brokers.recording_hub import PATIENCE_SECONDS, AwaitedReceipt, subscribed
from tests.brokers.redis.test_broker import running
from tests.name_server import NameServer
from tests.ports import free_port
from tests.redis_server import RedisServer


async def test_client_number_and_name_are_those_that_redis_knows(redis_server: RedisServer) -> None:
    transport, client_id = await dial(parse_address(redis_server.url), "fastws-test")
    with redis_server.client() as client:
        names = {int(entry["id"]): entry["name"] for entry in client.client_list()}
    assert client_id is not None
    assert names[client_id] == "fastws-test"
    transport.abort()
    await asyncio.sleep(0)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_user_password_and_database_are_given(own_redis_server: RedisServer, protocol: int) -> None:
    with own_redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "ann", "on", ">p@ss", "allcommands", "allkeys", "allchannels")
    url = own_redis_server.url.replace("unix://", "unix://ann:p%40ss@")
    transport, client_id = await dial(parse_address(f"{url}?db=3&protocol={protocol}"), "fastws-test")
    with own_redis_server.client() as client:
        entry = next(entry for entry in client.client_list() if int(entry["id"]) == client_id)
    assert (entry["user"], entry["db"], entry.get("resp", str(protocol))) == ("ann", "3", str(protocol))
    transport.abort()
    await asyncio.sleep(0)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_wrong_password_is_refused_in_redis_own_words(own_redis_server: RedisServer, protocol: int) -> None:
    own_redis_server.require_password("right")
    for login, word in (("", "NOAUTH"), (":wrong@", "WRONGPASS")):
        url = f"unix://{login}{own_redis_server.socket_path}?protocol={protocol}"
        with pytest.raises(Refused, match=word):
            await dial(parse_address(url), "fastws-test")
    await asyncio.sleep(0)


async def test_acl_without_client_commands_lets_us_in_unnamed(own_redis_server: RedisServer) -> None:
    with own_redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "ann", "on", ">pw", "+@all", "-client", "~*", "&*")
    url = own_redis_server.url.replace("unix://", "unix://ann:pw@")
    transport, client_id = await dial(parse_address(url), "fastws-test")
    assert client_id is None
    transport.abort()
    async with running(url) as (broker, hub):
        await subscribed(broker, hub, "admin")
        receipt = AwaitedReceipt()
        broker.publish(Publication("admin", "e", 1), receipt)
        assert await receipt.outcome() == (1, 0)


@asynccontextmanager
async def stranger(greeting: bytes) -> AsyncIterator[RedisAddress]:
    """Something that is no Redis: it greets and then only listens. Left once its visitor has gone."""
    gone = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        with suppress(ConnectionError):
            while await reader.read(1024):
                pass
        writer.close()
        gone.set()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    try:
        yield RedisAddress(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        await asyncio.wait_for(gone.wait(), PATIENCE_SECONDS)
    finally:
        server.close()
        await asyncio.sleep(0)


async def test_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_dial, "CONNECT_SECONDS", 0.1)
    async with stranger(b"") as address:
        with pytest.raises(TimeoutError):
            await dial(address, "fastws-test")


async def test_what_is_no_redis_is_refused() -> None:
    async with stranger(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        with pytest.raises(Refused, match="is not Redis"):
            await dial(address, "fastws-test")


async def test_of_several_addresses_the_first_that_takes_us_is_taken(
    redis_server: RedisServer, name_server: NameServer
) -> None:
    name_server.speak.set()
    name_server.answer = [
        Found(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, redis_server.port))
        for address in ("127.0.0.77", "127.0.0.1")
    ]
    transport, client_id = await dial(RedisAddress(host="redis.example", port=redis_server.port), "fastws-test")
    assert client_id is not None
    plain = transport.get_extra_info("socket")
    assert plain.getpeername() == ("127.0.0.1", redis_server.port)
    assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    transport.abort()
    await asyncio.sleep(0)


async def test_where_no_address_takes_us_the_error_is_the_systems(name_server: NameServer) -> None:
    name_server.speak.set()
    name_server.answer = [Found(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.77", 1))]
    with pytest.raises(ConnectionRefusedError):
        await dial(RedisAddress(host="redis.example", port=1), "fastws-test")
    name_server.answer = []
    with pytest.raises(OSError, match="no address"):
        await dial(RedisAddress(host="redis.example", port=1), "fastws-test")


async def test_an_attempt_that_is_given_up_leaves_no_socket_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_dial, "CONNECT_SECONDS", 0.1)
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # more than may wait: those after them hear nothing
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        with pytest.raises(TimeoutError):
            await dial(RedisAddress(host="127.0.0.1", port=full.getsockname()[1]), "fastws-test")
        gc.collect()  # a socket that is left open warns here, which is an error


async def test_a_silent_name_server_is_named(name_server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_dial, "LOOKUP_SECONDS", 0.05)
    with pytest.raises(OSError, match=r"the name server does not answer for redis\.example"):
        await dial(RedisAddress(host="redis.example"), "fastws-test")


async def test_nobody_there_is_an_os_error() -> None:
    with pytest.raises(OSError, match=r"."):
        await dial(RedisAddress(host="127.0.0.1", port=free_port()), "fastws-test")
    with pytest.raises(OSError, match=r"."):
        await dial(RedisAddress(path="/nowhere/redis.sock"), "fastws-test")


@pytest.mark.parametrize(
    ("url", "first"),
    [
        ("redis://", (b"PING",)),
        ("redis://:pw@h", (b"AUTH", b"pw")),
        ("redis://ann:pw@h", (b"AUTH", b"ann", b"pw")),
        ("redis://h/2", (b"SELECT", b"2")),
        ("redis://h?protocol=3", (b"HELLO", b"3")),
        ("redis://:pw@h?protocol=3", (b"HELLO", b"3", b"AUTH", b"default", b"pw")),
    ],
)
def test_handshake_begins_with_what_the_address_asks_for(url: str, first: tuple[bytes, ...]) -> None:
    assert handshake_commands(parse_address(url), "name")[0] == first


async def test_tls_with_a_certificate_that_is_checked(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    port = free_port()
    files = ("--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file", str(tmp_path / "key.pem"))
    server = RedisServer("--tls-port", str(port), *files, "--tls-auth-clients", "no")
    try:
        try:
            server.start()
        except AssertionError as error:
            pytest.skip(f"this redis-server knows no TLS: {str(error)[:200]}")
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path}/cert.pem"
        async with running(url) as (broker, hub):
            await subscribed(broker, hub, "admin")
            broker.publish(Publication("admin", "e", "x" * 500_000))
            await hub.until(lambda: len(hub.publications) == 1)
        with pytest.raises(OSError, match="certificate"):
            await dial(parse_address(f"rediss://127.0.0.1:{port}/0"), "fastws-test")
    finally:
        server.close()


async def test_a_server_that_requires_certificates_gets_that_of_the_client(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    port, cert, key = free_port(), tmp_path / "cert.pem", tmp_path / "key.pem"
    names = ("--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(cert))
    server = RedisServer("--tls-port", str(port), *names, "--tls-auth-clients", "yes")
    try:
        try:
            server.start()
        except AssertionError as error:
            pytest.skip(f"this redis-server knows no TLS: {str(error)[:200]}")
        checked = f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={cert}"
        url = f"{checked}&ssl_certfile={cert}&ssl_keyfile={key}"
        async with running(url) as (broker, hub):
            await subscribed(broker, hub, "admin")
            with RedisBroadcaster(url) as backend:
                assert backend.publish("admin", "e", 1)["sent"] == 1
            await hub.until(lambda: len(hub.publications) == 1)
        with pytest.raises((OSError, Refused)):
            await dial(parse_address(checked), "fastws-test")
    finally:
        server.close()


def make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
