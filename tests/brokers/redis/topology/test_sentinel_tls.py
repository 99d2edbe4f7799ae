"""`rediss+sentinel`: TLS with client certificates, to Sentinel and to the primary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fastws.brokers.redis.topology.sentinel import SentinelWatch
from tests.brokers.recording_hub import passes
from tests.brokers.redis.test_broker import running
from tests.brokers.redis.topology.from_backends import hears_both_backends
from tests.brokers.redis.wire.test_handshake import make_certificate
from tests.ports import free_port
from tests.redis_sentinel import SERVICE, SentinelProcess
from tests.redis_server import RedisServer


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URL of a Sentinel with a primary, both of which require certificates: without the client's own, and with."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificate(folder)
    cert, key = folder / "cert.pem", folder / "key.pem"
    options = {"cert-file": cert, "key-file": key, "ca-cert-file": cert, "auth-clients": "yes", "replication": "yes"}
    with ExitStack() as stack:
        redis_port, port = free_port(), free_port()
        server = RedisServer(
            *("--tls-port", str(redis_port)),
            *(word for name, value in options.items() for word in (f"--tls-{name}", str(value))),
        )
        stack.callback(server.close)
        try:
            server.start()
        except AssertionError as error:
            pytest.skip(f"this redis-server knows no TLS: {str(error)[:200]}")
        lines = [f"tls-port {port}", *(f"tls-{name} {value}" for name, value in options.items())]
        sentinel = SentinelProcess(redis_port, more=lines)
        stack.callback(sentinel.close)
        sentinel.start()
        checked = f"rediss+sentinel://127.0.0.1:{port}/{SERVICE}?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={cert}"
        yield checked, f"{checked}&ssl_certfile={cert}&ssl_keyfile={key}"


@pytest.mark.parametrize("protocol", [2, 3])
async def test_the_certificate_of_the_client_is_given_to_both(urls: tuple[str, str], protocol: int) -> None:
    url = f"{urls[1]}&protocol={protocol}"
    async with running(url) as (broker, hub):
        await hears_both_backends(url, broker, hub)


async def test_without_a_certificate_sentinel_does_not_answer(urls: tuple[str, str]) -> None:
    async with running(urls[0]) as (broker, _):
        watch = broker.topology._server.watch  # type: ignore[attr-defined]
        assert isinstance(watch, SentinelWatch)
        [sentinel] = watch._sentinels
        await passes(lambda: sentinel._links[0].attempts >= 2)
        assert (broker.is_up, sentinel.primary) == (False, None)
