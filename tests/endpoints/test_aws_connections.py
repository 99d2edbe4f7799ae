"""The management API of API Gateway, called by unmodified boto3."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import botocore.auth
import httpx
import msgpack
import pytest
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError

from fastws.config import Config
from fastws.server.server import Server
from tests.redis_server import RedisServer
from tests.serving import KEY, SECRET, Join, OpenRaw, Serve

PAIR = ("AKIDEXAMPLE", "a secret of the tests")
UNCONFIGURED = {"broadcast_key": (), "jwt_secret": None}
CREDENTIALS = ("AKIDOLD:old", ":".join(PAIR))
Management = Callable[..., Any]


@pytest.fixture
def management() -> Iterator[Management]:
    """boto3's client of a server: `management(server)`; without a pair it signs with unknown keys."""
    with ExitStack() as stack:

        def client(server: Server, pair: tuple[str, str] = ("AKIDX", "x"), stage: str = "/production") -> Any:
            made = boto3.client(
                "apigatewaymanagementapi",
                endpoint_url=f"http://127.0.0.1:{server.port}{stage}",
                region_name="eu-central-1",
                aws_access_key_id=pair[0],
                aws_secret_access_key=pair[1],
                config=BotoConfig(retries={"total_max_attempts": 1}, proxies={}),
            )
            return stack.enter_context(closing(made))

        yield client


async def call(method: Callable[..., Any], **arguments: Any) -> Any:
    """One call, in a thread as the server is in this one."""
    return await asyncio.to_thread(method, **arguments)


async def test_a_post_reaches_only_that_client_and_unchanged(serve: Serve, join: Join, management: Management) -> None:
    server = await serve(aws_credentials=CREDENTIALS)
    client, other = await join(server, "/production"), await join(server)
    api = management(server, PAIR)
    text = '{"any":  "JSON", "with":"spaces, ümlauts and an order of its own"}'
    answer = await call(api.post_to_connection, ConnectionId=client.id, Data=text.encode())
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-length"] == "0"
    assert await client.socket.recv() == text
    await other.hears_nothing()
    for body in (b"no JSON at all", b"", b"x" * 131_072):
        await call(api.post_to_connection, ConnectionId=client.id, Data=body)
        assert await client.socket.recv() == body.decode()


async def test_bytes_that_are_no_text_come_in_a_binary_frame(serve: Serve, join: Join, management: Management) -> None:
    server = await serve(**UNCONFIGURED)
    client = await join(server)
    await call(management(server).post_to_connection, ConnectionId=client.id, Data=b"\xff\x00\xfe")
    assert await client.socket.recv() == b"\xff\x00\xfe"


async def test_a_msgpack_client_gets_the_bytes_in_a_binary_frame(
    serve: Serve, join: Join, management: Management
) -> None:
    server = await serve(**UNCONFIGURED)
    client = await join(server, "/production", format="msgpack")
    await call(management(server).post_to_connection, ConnectionId=client.id, Data=msgpack.packb({"n": 2**64 - 1}))
    assert await client.hear() == {"n": 2**64 - 1}
    await call(management(server).post_to_connection, ConnectionId=client.id, Data=b'{"as":"it is"}')
    assert await client.socket.recv() == b'{"as":"it is"}'


async def test_a_post_does_not_overtake_what_was_published_before_it(
    serve: Serve, join: Join, management: Management
) -> None:
    server = await serve(flush_interval=("admin=60000", "0"), **UNCONFIGURED)
    client = await join(server)
    await client.ask({"action": "subscribe", "channel": "news"})
    publication = asyncio.ensure_future(server.broadcaster.publish("news", "first", 1))
    await call(management(server).post_to_connection, ConnectionId=client.id, Data=b'"second"')
    assert (await client.hear())["event"] == "first"
    assert await client.socket.recv() == '"second"'
    assert (await publication)["sent"] == 1


async def test_a_connection_is_described_with_times_and_identity(
    serve: Serve, join: Join, management: Management
) -> None:
    server = await serve(aws_credentials=CREDENTIALS)
    client = await join(server, user_agent_header="a browser/1.0")
    found = await call(management(server, PAIR).get_connection, ConnectionId=client.id)
    assert found["Identity"] == {"SourceIp": "127.0.0.1", "UserAgent": "a browser/1.0"}
    now = datetime.now(UTC)
    for moment in (found["ConnectedAt"], found["LastActiveAt"]):
        assert now - timedelta(minutes=1) < moment <= now + timedelta(seconds=1)


async def test_a_deleted_connection_is_closed_and_then_gone(serve: Serve, join: Join, management: Management) -> None:
    server = await serve(aws_credentials=CREDENTIALS)
    client = await join(server)
    api = management(server, PAIR)
    answer = await call(api.delete_connection, ConnectionId=client.id)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert (await client.end())[0] == 1000
    for method, more in (
        (api.post_to_connection, {"Data": b"x"}),
        (api.get_connection, {}),
        (api.delete_connection, {}),
    ):
        with pytest.raises(api.exceptions.GoneException) as gone:
            await call(method, ConnectionId=client.id, **more)
        assert gone.value.response["ResponseMetadata"]["HTTPStatusCode"] == 410
        assert gone.value.response["Error"]["Message"] == "no connection with this id; it may have closed"


@pytest.mark.parametrize("connection_id", ["L0SM9cOFvHcCIhw=", "a+b", "ü", "x" * 300])
async def test_foreign_ids_are_gone_whatever_they_contain(
    serve: Serve, management: Management, connection_id: str
) -> None:
    server = await serve(aws_credentials=CREDENTIALS)
    api = management(server, PAIR)
    with pytest.raises(api.exceptions.GoneException):
        await call(api.post_to_connection, ConnectionId=connection_id, Data=b"x")


@pytest.mark.parametrize("stage", ["/production", "/prod", "", "/$default"])
async def test_every_stage_is_served_and_so_is_none(
    serve: Serve, join: Join, management: Management, stage: str
) -> None:
    server = await serve(aws_credentials=CREDENTIALS)
    client = await join(server)
    await call(management(server, PAIR, stage).post_to_connection, ConnectionId=client.id, Data=b"x")
    assert await client.socket.recv() == "x"


@pytest.mark.parametrize("size", [131_073, 500_000, 1_500_000])
async def test_a_body_over_128_kib_is_too_large(serve: Serve, join: Join, management: Management, size: int) -> None:
    server = await serve(aws_credentials=CREDENTIALS)
    client = await join(server)
    api = management(server, PAIR)
    with pytest.raises(api.exceptions.PayloadTooLargeException) as refused:
        await call(api.post_to_connection, ConnectionId=client.id, Data=b"x" * size)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    await client.hears_nothing()


async def test_a_client_that_does_not_read_is_over_its_limit_and_stays(
    serve: Serve, open_raw: OpenRaw, management: Management
) -> None:
    server = await serve(max_queue_messages=4, **UNCONFIGURED)
    await open_raw(server, buffer_bytes=4096)
    (client,) = server.roster
    api = management(server)

    async def post_until_refused() -> None:
        while True:
            await call(api.post_to_connection, ConnectionId=client.id, Data=b"x" * 131_072)

    with pytest.raises(api.exceptions.LimitExceededException) as refused:
        await asyncio.wait_for(post_until_refused(), 30)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert server.roster.get(client.id) is client


@pytest.mark.parametrize("pair", [("AKIDEXAMPLE", "wrong"), ("AKIDNOBODY", PAIR[1])])
async def test_a_wrong_pair_is_forbidden(
    serve: Serve, join: Join, management: Management, pair: tuple[str, str]
) -> None:
    server = await serve(aws_credentials=CREDENTIALS)
    client = await join(server)
    api = management(server, pair)
    with pytest.raises(api.exceptions.ForbiddenException) as refused:
        await call(api.post_to_connection, ConnectionId=client.id, Data=b"x")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert PAIR[1] not in str(refused.value)
    await client.hears_nothing()


async def test_a_clock_that_is_off_by_more_than_15_minutes_is_forbidden(
    serve: Serve, join: Join, management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve(aws_credentials=CREDENTIALS)
    client = await join(server)
    api = management(server, PAIR)
    skewed = datetime.now(UTC) - timedelta(minutes=16)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: skewed)
    with pytest.raises(api.exceptions.ForbiddenException, match="15 minutes"):
        await call(api.get_connection, ConnectionId=client.id)


async def test_without_credentials_only_programs_here_may_call(serve: Serve, join: Join) -> None:
    server = await serve(allowed_hosts=("*",), **UNCONFIGURED)
    client = await join(server)
    url = f"http://127.0.0.1:{server.port}/production/%40connections/{quote(client.id)}"
    async with httpx.AsyncClient(trust_env=False) as http:
        for headers in (
            {"X-Forwarded-For": "127.0.0.1"},
            {"Forwarded": "for=127.0.0.1"},
            {"Origin": "http://127.0.0.1"},
            {"Via": "1.1 proxy"},
            {"Host": "ws.example.com"},
        ):
            for method in ("POST", "GET", "DELETE"):
                refused = await http.request(method, url, headers=headers)
                assert (refused.status_code, refused.headers["x-amzn-errortype"]) == (403, "ForbiddenException")
                assert list(refused.json()) == ["message"]
        assert (await http.post(url, content=b"x")).status_code == 200
        assert await client.socket.recv() == "x"
        wrong = await http.put(url)
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "DELETE, GET, POST, HEAD")


async def test_without_credentials_no_client_of_a_trusted_proxy_may_call(serve: Serve, join: Join) -> None:
    server = await serve(trusted_proxies=("127.0.0.1",), allow_anonymous=True, **UNCONFIGURED)
    client = await join(server)
    async with httpx.AsyncClient(trust_env=False) as http:
        url = f"http://127.0.0.1:{server.port}/production/@connections/{client.id}"
        for headers in ({"X-Forwarded-For": "192.0.2.1"}, {}):
            refused = await http.post(url, headers=headers, content=b"x")
            assert refused.status_code == 403


@pytest.mark.parametrize("key", [{"broadcast_key": (KEY,)}, {"jwt_secret": SECRET}])
async def test_once_any_key_is_configured_unsigned_calls_are_refused(
    serve: Serve, join: Join, key: dict[str, object]
) -> None:
    server = await serve(**{**UNCONFIGURED, **key})
    client = await join(server)
    async with httpx.AsyncClient(trust_env=False) as http:
        url = f"http://127.0.0.1:{server.port}/@connections/{client.id}"
        for method in ("POST", "GET", "DELETE"):
            refused = await http.request(method, url, headers={"Authorization": f"Bearer {KEY}"})
            assert (refused.status_code, refused.headers["x-amzn-errortype"]) == (403, "ForbiddenException")
            assert "aws_credentials is not set" in refused.json()["message"]
    await client.hears_nothing()


async def test_keys_that_the_start_made_up_are_not_counted() -> None:
    for generated, status in (
        (("jwt_secret", "broadcast_key"), 410),
        (("jwt_secret",), 403),
        (("broadcast_key",), 403),
    ):
        config = Config(port=0, jwt_secret=SECRET, broadcast_key=(KEY,))
        async with Server(config, generated=generated) as server, httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"http://127.0.0.1:{server.port}/@connections/nobody")
            assert answer.status_code == status


@pytest.mark.parametrize(("allow_anonymous", "status"), [(None, 403), (True, 410)])
async def test_on_a_unix_socket_unsigned_calls_need_allow_anonymous(
    serve: Serve, tmp_path: Path, allow_anonymous: bool | None, status: int
) -> None:
    path = str(tmp_path / "socket")
    await serve(unix_socket=path, allow_anonymous=allow_anonymous, **UNCONFIGURED)
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=path)) as http:
        assert (await http.get("http://localhost/@connections/nobody")).status_code == status
        assert (await http.get("http://ws.example.com/@connections/nobody")).status_code == 403


async def test_another_process_finds_the_client_through_redis(
    serve: Serve, join: Join, management: Management, redis_server: RedisServer
) -> None:
    here = await serve(redis_url=redis_server.url, aws_credentials=CREDENTIALS)
    there = await serve(redis_url=redis_server.url, aws_credentials=CREDENTIALS)
    client = await join(there, user_agent_header="over there")
    api = management(here, PAIR)
    body = base64.b85encode(bytes(range(256)))
    await call(api.post_to_connection, ConnectionId=client.id, Data=body)
    assert await client.socket.recv() == body.decode()
    await call(api.post_to_connection, ConnectionId=client.id, Data=b"\x80\xff")
    assert await client.socket.recv() == b"\x80\xff"
    found = await call(api.get_connection, ConnectionId=client.id)
    assert found["Identity"]["UserAgent"] == "over there"
    await call(api.delete_connection, ConnectionId=client.id)
    assert (await client.end())[0] == 1000
    with pytest.raises(api.exceptions.GoneException):
        await call(api.post_to_connection, ConnectionId=client.id, Data=b"x")


async def test_a_redis_that_is_away_is_no_gone_connection(
    serve: Serve, join: Join, management: Management, own_redis_server: RedisServer
) -> None:
    here = await serve(redis_url=own_redis_server.url, aws_credentials=CREDENTIALS)
    there = await serve(redis_url=own_redis_server.url, aws_credentials=CREDENTIALS)
    client = await join(there)
    own_redis_server.kill()
    with pytest.raises(ClientError) as refused:
        await call(management(here, PAIR).post_to_connection, ConnectionId=client.id, Data=b"x")
    assert refused.value.response["Error"]["Code"] == "ServiceUnavailableException"
    await call(management(there, PAIR).post_to_connection, ConnectionId=client.id, Data=b"x")
    assert await client.socket.recv() == "x"
