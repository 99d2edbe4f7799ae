"""The gate: which upgrades are admitted, and with which error the others are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastws.access.tokens import REFUSAL
from fastws.errors import Draining, FastWSError, Forbidden, Misdirected, NotFound, ServerFull, Unauthorized, Unavailable
from fastws.server.server import Server
from fastws.wire.request import Request
from tests.admission.test_capacity import Client
from tests.serving import SECRET, Serve

PEER = "127.0.0.1"


def upgrade(target: str = "/", **headers: str) -> Request:
    """An upgrade request; `headers` replace or add to those of a browser on this machine."""
    fields = {
        "host": "localhost",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
    }
    return Request("GET", target, "1.1", fields | headers, is_upgrade=True)


async def test_an_admission_names_dialect_codec_and_user(serve: Serve) -> None:
    server = await serve(jwt_secret=SECRET)
    token = server.tokens.sign("ada", ttl_seconds=60)
    anonymous = server.gate.admit(upgrade(), PEER)
    admitted = server.gate.admit(upgrade(f"/?token={token}&format=msgpack"), PEER)
    assert (anonymous.dialect.name, anonymous.codec.name, anonymous.user) == ("channels", "json", None)
    assert (admitted.codec.name, admitted.user) == ("msgpack", "ada")
    assert anonymous.connection_id != admitted.connection_id


@pytest.mark.parametrize(
    ("request_", "error", "text"),
    [
        (upgrade("/nowhere"), NotFound, "no WebSocket endpoint at '/nowhere'"),
        (upgrade("/api/v1/ws"), Unauthorized, "a token is required"),
        (upgrade("/?token=bad"), Unauthorized, REFUSAL),
        (upgrade(**{"x-forwarded-for": "192.0.2.1"}), Unauthorized, "a token is required"),
    ],
)
async def test_a_refused_upgrade_gets_an_error_that_says_why(
    serve: Serve, request_: Request, error: type[FastWSError], text: str
) -> None:
    server = await serve(jwt_secret=SECRET)
    with pytest.raises(error, match=text):
        server.gate.admit(request_, PEER)


@pytest.mark.parametrize(
    ("settings", "request_", "reason", "cause"),
    [
        (
            {},
            upgrade(**{"x-forwarded-for": "192.0.2.1"}),
            "no_token_through_proxy",
            "a client behind a proxy needs a token",
        ),
        (
            {"trusted_proxies": ("10.0.0.1",)},
            upgrade(via="1.1 a"),
            "no_token_through_proxy",
            "a client behind a proxy needs a token",
        ),
        ({}, upgrade(host="live.example.com"), "unauthorized", "only direct clients on this machine"),
        ({"allow_anonymous": False}, upgrade(**{"x-real-ip": "192.0.2.1"}), "unauthorized", "allow_anonymous is false"),
        ({}, upgrade("/api/v1/ws"), "unauthorized", "rooms requires a token"),
        ({"jobs_channel": "user:jobs"}, upgrade("/ws"), "unauthorized", "this path joins 'user:jobs'"),
        ({}, upgrade("/?token=bad"), "unauthorized", "it is not a JWT"),
    ],
)
async def test_the_operator_learns_why_a_client_needs_a_token(
    serve: Serve, settings: dict[str, object], request_: Request, reason: str, cause: str
) -> None:
    server = await serve(**settings)
    with pytest.raises(Unauthorized) as refused:
        server.gate.admit(request_, PEER)
    assert refused.value.reason == reason
    assert cause in refused.value.cause
    assert cause not in refused.value.message


async def test_a_client_behind_a_proxy_is_told_that_it_needs_a_token_because_of_it(serve: Serve) -> None:
    server = await serve()
    with pytest.raises(Unauthorized, match="behind a proxy all clients need one"):
        server.gate.admit(upgrade(forwarded="for=192.0.2.1"), PEER)


async def test_the_log_names_the_origin_and_the_host_that_are_not_allowed(serve: Serve) -> None:
    server = await serve(allowed_origins=("https://app.example",), allowed_hosts=("live.example.com",))
    with pytest.raises(Forbidden) as refused:
        server.gate.admit(upgrade(origin="https://" + "evil" * 50), PEER)
    assert "'https://evil" in refused.value.cause
    assert len(refused.value.cause) < 120
    with pytest.raises(Misdirected) as misdirected:
        server.gate.check_host(upgrade(host="10.0.0.7\x1b"))
    assert r"'10.0.0.7\x1b'" in misdirected.value.cause


async def test_only_allowed_origins_may_connect(serve: Serve) -> None:
    server = await serve(allowed_origins=("https://app.example",))
    server.gate.admit(upgrade(origin="https://app.example"), PEER)
    with pytest.raises(Forbidden, match="origin not allowed; the server's setting allowed_origins") as refused:
        server.gate.admit(upgrade(origin="https://evil.example"), PEER)
    assert refused.value.reason == "origin"


def drain(server: Server) -> None:
    server.gate.is_draining = True


def fill(server: Server) -> None:
    server.gate.capacity.enter(Client(), None, PEER)


@pytest.mark.parametrize(("change", "error"), [(drain, Draining), (fill, ServerFull)])
async def test_room_is_checked_before_anything_of_the_request(
    serve: Serve, change: Callable[[Server], None], error: type[FastWSError]
) -> None:
    server = await serve(max_connections=1)
    change(server)
    with pytest.raises(error):
        server.gate.admit(upgrade("/nowhere"), PEER)


async def test_real_time_can_be_disabled(serve: Serve) -> None:
    server = await serve(enable_realtime=False)
    with pytest.raises(Unavailable, match="real-time connections are disabled"):
        server.gate.admit(upgrade(), PEER)


async def test_a_revoked_token_gets_the_text_of_any_invalid_one(serve: Serve) -> None:
    server = await serve(jwt_secret=SECRET)
    token = server.tokens.sign("ada", ttl_seconds=60)
    server.services.revocations.revoke_user("ada")
    with pytest.raises(Unauthorized, match=f"^{REFUSAL}$"):
        server.gate.admit(upgrade(f"/?token={token}"), PEER)


async def test_only_probes_may_come_with_any_host(serve: Serve) -> None:
    server = await serve(allowed_hosts=("live.example.com",))
    server.gate.check_host(upgrade("/health", host="10.0.0.7"))
    server.gate.check_host(upgrade(host="live.example.com"))
    with pytest.raises(Misdirected, match="allowed_hosts"):
        server.gate.check_host(upgrade(host="10.0.0.7"))


async def test_until_empty_returns_when_the_last_connection_has_left(serve: Serve) -> None:
    server = await serve()
    gate = server.gate
    clients = [Client(), Client()]
    gate.capacity.enter(clients[0], None, PEER)
    gate.capacity.enter(clients[1], "ada", PEER)
    gate.leave(clients[0], None, PEER)
    assert gate.open_connections == 1
    gate.leave(clients[1], "ada", PEER)
    await gate.until_empty()
