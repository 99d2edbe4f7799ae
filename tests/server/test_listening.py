"""Listening: the addresses, and the texts of errors."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastws.config import Config
from fastws.errors import ConfigError
from fastws.resolver import Found
from fastws.server import listening
from fastws.server.listening import CannotListen, Listeners, bind, bind_all, distinct, place_of
from fastws.workers.slots import open_slots
from tests.serving import UPGRADE, Serve


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of loopback that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize(
    ("config", "place"),
    [
        (Config(host="127.0.0.1", port=80), "127.0.0.1:80"),
        (Config(host="::1", port=80), "[::1]:80"),
        (Config(host="localhost", port=0), "localhost:0"),
        (Config(unix_socket="/run/fastws.sock"), "/run/fastws.sock"),
    ],
)
def test_an_address_is_shown_as_it_is_written(config: Config, place: str) -> None:
    assert place_of(config) == place


def test_an_error_has_the_message_of_the_system_and_advice() -> None:
    wrapped = OSError(errno.EADDRINUSE, "error while attempting to bind on address ('127.0.0.1', 80)")
    error = CannotListen("127.0.0.1:80", wrapped)
    assert error.reason == os.strerror(errno.EADDRINUSE)
    assert str(error).startswith(f"cannot listen on 127.0.0.1:80: {error.reason}; only one worker")
    assert error.errno == errno.EADDRINUSE
    denied = CannotListen("127.0.0.1:80", OSError(errno.EACCES, "no"))
    assert str(denied) == f"cannot listen on 127.0.0.1:80: {os.strerror(errno.EACCES)}"


def test_a_name_that_cannot_be_resolved_has_the_resolvers_message() -> None:
    error = CannotListen("nowhere:80", socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    assert str(error) == "cannot listen on nowhere:80: Name or service not known"


async def test_all_addresses_of_a_name_get_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [
        Found(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 0)) for address in ("127.0.0.1", "127.0.0.2")
    ]

    async def resolve(*_: object, **__: object) -> list[Found]:
        return [*addresses, addresses[0]]  # a name may be listed twice in the hosts file

    monkeypatch.setattr(listening, "resolve", resolve)
    sockets = await bind_all("a.name", 0)
    try:
        assert [bound.getsockname()[0] for bound in sockets] == ["127.0.0.1", "127.0.0.2"]
        assert len({bound.getsockname()[1] for bound in sockets}) == 1
    finally:
        for bound in sockets:
            bound.close()


async def test_if_one_address_is_taken_all_are_given_back(monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    bound: list[socket.socket] = []

    def bind_and_note(*args: Any, **options: Any) -> socket.socket:
        bound.append(bind(*args, **options))
        return bound[-1]

    addresses = [
        Found(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, taken)) for address in ("127.0.0.2", "127.0.0.1")
    ]

    async def resolve(*_: object, **__: object) -> list[Found]:
        return addresses

    monkeypatch.setattr(listening, "resolve", resolve)
    monkeypatch.setattr(listening, "bind", bind_and_note)
    with pytest.raises(OSError, match="in use"):
        await bind_all("a.name", taken)
    assert [one.fileno() for one in bound] == [-1]


def test_only_a_shared_address_may_be_bound_twice() -> None:
    with bind(socket.AF_INET, ("127.0.0.1", 0), is_shared=True) as first:
        address = first.getsockname()
        bind(socket.AF_INET, address, is_shared=True).close()
        first.listen()
        with pytest.raises(OSError, match="in use"):
            bind(socket.AF_INET, address, is_shared=False)


def test_an_ipv6_socket_leaves_ipv4_to_its_own() -> None:
    with bind(socket.AF_INET6, ("::1", 0), is_shared=False) as bound:
        assert bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


class Greeter(asyncio.Protocol):
    """Sends a greeting and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"hello")  # type: ignore[attr-defined] # a stream
        transport.close()


async def can_connect(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def test_port_0_is_replaced_by_the_port_that_was_found() -> None:
    listeners = Listeners()
    await listeners.open(Greeter, Config(port=0), None)  # type: ignore[arg-type] # any protocol
    assert listeners.port > 0
    assert await can_connect(listeners.port)
    listeners.close()
    assert not await can_connect(listeners.port)


async def test_an_address_in_use_is_named(taken: int) -> None:
    with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1:{taken}: ") as error:
        await Listeners().open(Greeter, Config(port=taken), None)  # type: ignore[arg-type] # as above
    assert error.value.where == f"127.0.0.1:{taken}"


async def test_inherited_sockets_are_left_to_a_new_worker_and_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "workers"
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        port = inherited.getsockname()[1]
        listeners = Listeners()
        await listeners.open(Greeter, Config(port=port), None, [inherited.dup()])  # type: ignore[arg-type] # as above
        assert listeners.port == port
        await listeners.open_private(Greeter, path)
        listeners.leave_inherited()
        reader, writer = await asyncio.open_unix_connection(str(path))
        assert await reader.read() == b"hello"
        writer.close()
        listeners.close()


async def test_a_metrics_address_in_use_names_the_setting(taken: int) -> None:
    with pytest.raises(ConfigError, match=f"metrics_address: cannot listen on 127.0.0.1:{taken}"):
        await Listeners().open_for_scrapes(Greeter, f"127.0.0.1:{taken}", is_shared=False)


V4, V6 = socket.AF_INET, socket.AF_INET6


def has_ipv6() -> bool:
    try:
        with socket.socket(V6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(
    not has_ipv6(), reason="no IPv6 on this machine (sysctl net.ipv6.conf.lo.disable_ipv6=0)"
)


@pytest.mark.parametrize(
    ("found", "bound"),
    [
        ([(V4, ("0.0.0.0", 1)), (V6, ("::", 1, 0, 0))], [(V6, ("::", 1, 0, 0))]),
        ([(V6, ("::", 1, 0, 0)), (V4, ("0.0.0.0", 1))], [(V6, ("::", 1, 0, 0))]),
        ([(V4, ("0.0.0.0", 1))], [(V4, ("0.0.0.0", 1))]),
        ([(V4, ("127.0.0.1", 1)), (V6, ("::1", 1, 0, 0)), (V4, ("127.0.0.1", 1))], None),
    ],
)
def test_each_address_is_bound_once(found: list[Any], bound: list[Any] | None) -> None:
    assert distinct(found) == (found[:2] if bound is None else bound)


@needs_ipv6
@pytest.mark.parametrize("host", ["::", ""])
async def test_the_unspecified_address_takes_both_families_with_one_socket(host: str) -> None:
    [listener] = await bind_all(host, 0)
    port = listener.getsockname()[1]
    for address in ("127.0.0.1", "::1"):
        socket.create_connection((address, port), 10).close()
        listener.accept()[0].close()
    listener.close()


@needs_ipv6
def test_workers_take_both_families_as_well() -> None:
    slots = open_slots(Config(host="::", port=0, workers=2, redis_url="redis://localhost"))
    port = slots[0].sockets[0].getsockname()[1]
    for address in ("127.0.0.1", "::1"):
        socket.create_connection((address, port), 10).close()
    for slot in slots:
        assert [listener.family for listener in slot.sockets] == [V6]
        slot.close()


@needs_ipv6
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_client_of_both_families_has_the_address_that_it_would_have_alone(serve: Serve, address: str) -> None:
    server = await serve(host="::", allow_anonymous=True)
    reader, writer = await asyncio.open_connection(address, server.port)
    writer.write(UPGRADE.format(path="/").encode())
    await reader.readuntil(b"connection_id")
    assert [client.address for client in server.roster] == [address]  # type: ignore[attr-defined] # a Connection
    writer.close()
