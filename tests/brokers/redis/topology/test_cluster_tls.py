"""`rediss+cluster`: TLS with client certificates, to the node that is named and to the one that it names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fastws.config import Config
from fastws.doctor.finding import Verdict
from fastws.doctor.redis_server import check_redis
from tests.brokers.redis.test_broker import running
from tests.brokers.redis.topology.from_backends import hears_both_backends
from tests.brokers.redis.wire.test_handshake import make_certificate
from tests.ports import free_port_with_bus
from tests.redis_cluster import SLOTS, until
from tests.redis_server import RedisServer


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URL of a cluster of one node that requires certificates: without the client's own, and with."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificate(folder)
    cert, key, port = folder / "cert.pem", folder / "key.pem", free_port_with_bus()
    options = {
        "port": port,
        "cert-file": cert,
        "key-file": key,
        "ca-cert-file": cert,
        "auth-clients": "yes",
        "cluster": "yes",
    }
    with ExitStack() as stack:
        server = RedisServer(
            *("--cluster-enabled", "yes"),
            *(word for name, value in options.items() for word in (f"--tls-{name}", str(value))),
        )
        stack.callback(server.close)
        try:
            server.start()
        except AssertionError as error:
            pytest.skip(f"this redis-server knows no TLS: {str(error)[:200]}")
        client = stack.enter_context(server.client())
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        until(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")), "the cluster is ok")
        checked = f"rediss+cluster://127.0.0.1:{port}?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={cert}"
        yield checked, f"{checked}&ssl_certfile={cert}&ssl_keyfile={key}"


@pytest.mark.parametrize("protocol", [2, 3])
async def test_the_certificate_of_the_client_is_given_to_every_node(urls: tuple[str, str], protocol: int) -> None:
    url = f"{urls[1]}&protocol={protocol}"
    async with running(url) as (broker, hub):
        await hears_both_backends(url, broker, hub)
        findings = await asyncio.to_thread(list, check_redis(Config(redis_url=url)))
        assert Verdict.FAIL not in {finding.verdict for finding in findings}


def test_without_a_certificate_no_node_answers(urls: tuple[str, str]) -> None:
    [finding] = check_redis(Config(redis_url=urls[0]))
    assert finding.verdict is Verdict.FAIL
