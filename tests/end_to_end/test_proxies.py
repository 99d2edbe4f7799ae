"""Behind nginx, HAProxy and Caddy as shipped: sessions work, only addresses from the proxy are trusted, and a rolling
restart loses no client silently."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fastws.config import Config
from fastws.server.server import Server
from tests.end_to_end.proxy_process import FILES, OUTSIDE, ProxyProcess
from tests.ports import free_port
from tests.serving import KEY, PATIENCE_SECONDS

KINDS = tuple(FILES)
CLIENTS = 12


class Site:
    """Two servers and a proxy before them."""

    def __init__(self, kind: str, trusted: tuple[str, ...]) -> None:
        self.ports = (free_port(), free_port())
        self.trusted = trusted
        self.servers: dict[int, Server] = {}
        self.proxy = ProxyProcess(kind, self.ports)

    async def start(self, port: int) -> Server:
        config = Config(
            port=port, broadcast_key=(KEY,), allow_anonymous=True, trusted_proxies=self.trusted, drain_timeout=0.5
        )
        self.servers[port] = server = Server(config)
        await server.start()
        return server

    async def replace(self, port: int) -> None:
        """Replace one of the servers, as a rolling restart does."""
        old = self.servers[port]
        await old.drain()
        await old.stop()
        await self.start(port)

    async def until_it_serves(self, port: int) -> None:
        """Wait until the proxy forwards clients to that server: HAProxy checks its health once a second."""
        async with asyncio.timeout(4 * PATIENCE_SECONDS):
            while True:
                before = self.servers[port].counters.opened["channels"]
                with contextlib.suppress(InvalidStatus):
                    async with self.dial() as client:
                        await client.recv()
                if self.servers[port].counters.opened["channels"] > before:
                    return

    def dial(self, **options: object) -> connect:
        return connect(f"ws://127.0.0.1:{self.proxy.port}/", compression=None, proxy=None, **options)  # type: ignore[arg-type]

    @property
    def addresses(self) -> list[str]:
        """The addresses of the clients as the servers see them."""
        return [client.address for server in self.servers.values() for client in server.roster]


@pytest.fixture
def trusted() -> tuple[str, ...]:
    """The setting trusted_proxies of both servers."""
    return ("127.0.0.1",)


@pytest_asyncio.fixture(params=KINDS)
async def site(request: pytest.FixtureRequest, trusted: tuple[str, ...]) -> AsyncIterator[Site]:
    built = Site(request.param, trusted)
    with built.proxy:
        for port in built.ports:
            await built.start(port)
        await built.proxy.until_it_listens()
        for port in built.ports:
            await built.until_it_serves(port)
        for server in built.servers.values():
            await until_empty(server)
        yield built
        for server in built.servers.values():
            await server.stop()


async def until_empty(server: Server) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await server.gate.until_empty()


async def hear(client: ClientConnection) -> dict[str, object]:
    message: dict[str, object] = json.loads(await asyncio.wait_for(client.recv(), PATIENCE_SECONDS))
    return message


async def test_a_session_works_through_the_proxy(site: Site) -> None:
    async with site.dial() as client:
        assert (await hear(client))["type"] == "connection_id"
        await client.send(json.dumps({"action": "subscribe", "channel": "news"}))
        assert (await hear(client))["type"] == "subscription_succeeded"
        (server,) = [server for server in site.servers.values() if len(server.roster)]
        await server.broadcaster.publish("news", "e", "x" * 100_000)
        assert (await hear(client))["data"] == "x" * 100_000
        await client.ping()
    assert "error" not in site.proxy.log().lower()


async def test_the_clients_own_address_is_known_behind_a_trusted_proxy(site: Site) -> None:
    async with site.dial(local_addr=(OUTSIDE, 0)) as client:
        await hear(client)
        assert site.addresses == [OUTSIDE]


async def test_a_forged_address_of_the_client_is_not_trusted(site: Site) -> None:
    forged = {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7"}
    async with site.dial(local_addr=(OUTSIDE, 0), additional_headers=forged) as client:
        await hear(client)
        assert site.addresses == [OUTSIDE]


@pytest.mark.parametrize("trusted", [("10.0.0.1",)])
async def test_a_forwarded_address_is_ignored_from_a_proxy_that_is_not_trusted(site: Site) -> None:
    async with site.dial(local_addr=(OUTSIDE, 0)) as client:
        await hear(client)
        assert site.addresses == ["127.0.0.1"]


async def test_plain_requests_pass_and_tokens_stay_out_of_the_proxys_log(site: Site) -> None:
    url = f"http://127.0.0.1:{site.proxy.port}"
    async with aiohttp.ClientSession() as http:
        body = {"channel": "news", "event": "e", "data": 1}
        async with http.post(f"{url}/broadcast", json=body, headers={"Authorization": f"Bearer {KEY}"}) as answer:
            assert (answer.status, await answer.json()) == (200, {"sent": 0, "failed": 0, "stale": 0})
        async with http.get(f"{url}/metrics?token=hunter2") as answer:
            assert "fastws_connections" in await answer.text()
    with pytest.raises(Exception, match="401"):
        await connect(f"ws://127.0.0.1:{site.proxy.port}/?token=hunter2", proxy=None)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "/metrics" not in site.proxy.log():
            await asyncio.sleep(0.01)
    assert "hunter2" not in site.proxy.log()


async def test_a_rolling_restart_closes_with_1012_and_refuses_no_client(site: Site) -> None:
    """Each client reconnects right after its close: every close code is 1012, and every attempt succeeds."""
    codes: list[int] = []
    lost: list[str] = []
    everybody_in = asyncio.Event()
    inside = 0

    async def stay() -> None:
        nonlocal inside
        while True:
            async with site.dial() as client:
                try:
                    await hear(client)
                    inside += 1
                    if inside == CLIENTS:
                        everybody_in.set()
                    await client.recv()
                except ConnectionClosed as end:
                    code = -1 if end.rcvd is None else end.rcvd.code
                    codes.append(code)
                    if code != 1012:
                        lost.append(str(end))
                    inside -= 1

    tasks = [asyncio.create_task(stay()) for _ in range(CLIENTS)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        await everybody_in.wait()
    shares = [len(server.roster) for server in site.servers.values()]
    assert sum(shares) == CLIENTS
    assert all(shares), "the proxy sends clients to both"
    for port in site.ports:
        await site.replace(port)
        await site.until_it_serves(port)
        async with asyncio.timeout(4 * PATIENCE_SECONDS):
            while sum(len(server.roster) for server in site.servers.values()) < CLIENTS:
                refused = [task.exception() for task in tasks if task.done()]
                assert not refused, refused
                await asyncio.sleep(0.01)
    assert not lost
    assert len(codes) >= CLIENTS
    assert set(codes) == {1012}
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
