"""Verifications: so many public-key operations in one loop turn, first come, first served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import pairwise

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.exceptions import InvalidStatus

from fastws.access.keys import VerificationKey, public_key
from fastws.access.tokens import Tokens
from fastws.config import Config
from fastws.server.server import Server
from fastws.session.verifications import OPERATIONS_PER_TURN, Verifications
from tests.serving import SECRET, Join, OpenRaw, Serve
from tests.session.test_session import Clock, text_frame, until

KEY = ec.generate_private_key(ec.SECP256R1())
PEM = (
    KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)
HOLD = 1_000_000_000


def token(user: str = "u1", *, seconds: float = 600, algorithm: str = "ES256") -> str:
    claims = {"sub": user, "exp": int(time.time() + seconds), "channels": ["**"]}
    return jwt.encode(claims, KEY if algorithm == "ES256" else SECRET, algorithm)


def verifications() -> Verifications:
    return Verifications(Tokens(Config(jwt_public_key=PEM, jwt_secret=SECRET)))


async def test_so_many_begin_in_one_turn_and_the_others_in_the_next_ones_in_their_order() -> None:
    budget = verifications()
    assert [budget.may_begin(token()) for _ in range(OPERATIONS_PER_TURN)] == [True] * OPERATIONS_PER_TURN
    begun: list[int] = []

    async def begin(number: int) -> None:
        await budget.turn(token())
        begun.append(number)

    count = 3 * OPERATIONS_PER_TURN + 1
    tasks = [asyncio.create_task(begin(number)) for number in range(count)]
    assert not budget.may_begin(token())
    sizes = [0]
    while len(begun) < count:
        await asyncio.sleep(0)
        sizes.append(len(begun))
    assert begun == list(range(count))
    assert max(after - before for before, after in pairwise(sizes)) <= OPERATIONS_PER_TURN
    await asyncio.gather(*tasks)
    await asyncio.sleep(0)
    assert budget.may_begin(token())


async def test_waiting_tokens_are_not_overtaken() -> None:
    budget = verifications()
    budget._spend(HOLD)
    waiting = asyncio.create_task(budget.turn(token()))
    await asyncio.sleep(0)
    budget._left = 1
    assert not waiting.done()
    assert not budget.may_begin(token())
    await waiting


async def test_tokens_that_take_no_public_key_never_wait() -> None:
    budget = verifications()
    budget._spend(HOLD)
    for free in (
        token(algorithm="HS256"),
        token(seconds=-60),
        "nonsense",
        "",
        "a.b.c",
        "x" * 9000,
        jwt.encode({"sub": "u", "exp": 9e9}, "x" * 64, "HS512", headers={"crit": ["a"]}),
    ):
        assert budget.may_begin(free), free
    assert not budget.may_begin(token())


async def test_without_a_public_key_nothing_is_looked_at() -> None:
    assert Verifications(Tokens(Config(jwt_secret=SECRET))).is_idle
    assert not verifications().is_idle


async def test_one_that_left_is_passed_over_and_costs_nothing() -> None:
    budget = verifications()
    budget._spend(HOLD)
    gone = [asyncio.create_task(budget.turn(token())) for _ in range(OPERATIONS_PER_TURN)]
    stays = asyncio.create_task(budget.turn(token()))
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    await asyncio.sleep(0)
    release(budget)
    await asyncio.sleep(0)
    assert budget._left == OPERATIONS_PER_TURN - 1
    await stays
    assert all(task.cancelled() for task in gone)


class ManyKeys:
    """A provider with many keys, none of which a token without `kid` names."""

    def find(self, kid: str | None) -> Sequence[VerificationKey]:
        return [public_key(PEM)] * 40


async def test_a_token_that_many_keys_may_have_signed_is_paid_by_several_turns() -> None:
    budget = Verifications(Tokens(Config(jwt_jwks_url="https://keys.example"), ManyKeys()))
    assert budget.may_begin(token())  # 24 more than there are in a turn
    for _ in range(2):
        assert not budget.may_begin(token())
        await asyncio.sleep(0)
    assert budget.may_begin(token())


def held(server: Server) -> Verifications:
    """No token is verified until `release`."""
    server.services.verifications._spend(HOLD)
    return server.services.verifications


def release(budget: Verifications) -> None:
    budget._left = 0


async def test_an_upgrade_waits_for_its_turn_and_others_do_not(serve: Serve, join: Join) -> None:
    server = await serve(jwt_public_key=PEM)
    budget = held(server)
    good = asyncio.create_task(join(server, token=token()))
    forged = asyncio.create_task(join(server, token=token()[:-8] + "AAAAAAAA"))
    await until(lambda: len(budget._waiting) == 2)
    for free in ({}, {"token": token(algorithm="HS256")}):
        await (await join(server, **free)).hears_nothing()
    with pytest.raises(InvalidStatus, match="401"):
        await join(server, token=token(seconds=-60))
    assert len(budget._waiting) == 2
    release(budget)
    await (await good).hears_nothing()
    with pytest.raises(InvalidStatus, match="401"):
        await forged


async def test_an_upgrade_whose_client_leaves_while_it_waits_leaves_nothing_behind(
    serve: Serve, open_raw: OpenRaw
) -> None:
    server = await serve(jwt_public_key=PEM)
    budget = held(server)
    raw = await open_raw(server, None)
    await raw.send_bytes(
        f"GET /?token={token()} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await until(lambda: budget._waiting)
    raw.writer.transport.abort()
    release(budget)
    await until(lambda: not server.gate.capacity.sockets and not server.gate.open_connections)
    assert len(server.roster) == 0


async def test_a_refresh_waits_for_its_turn_and_what_comes_after_it_waits_behind_it(serve: Serve, join: Join) -> None:
    server = await serve(jwt_public_key=PEM)
    client, other = await join(server, token=token()), await join(server)
    budget = held(server)
    await client.say({"action": "refresh", "token": token(seconds=700), "id": 1})
    await client.say({"action": "ping", "id": 2})
    await until(lambda: budget._waiting)
    await other.hears_nothing()
    release(budget)
    replies = [await client.hear(), await client.hear()]
    assert [(reply["type"], reply["id"]) for reply in replies] == [("refreshed", 1), ("pong", 2)]


async def test_a_refresh_that_waited_with_an_invalid_token_is_an_error(serve: Serve, join: Join) -> None:
    server = await serve(jwt_public_key=PEM)
    client = await join(server, token=token())
    budget = held(server)
    await client.say({"action": "refresh", "token": token("somebody else"), "id": 1})
    await until(lambda: budget._waiting)
    release(budget)
    reply = await client.hear()
    assert (reply["type"], reply["code"], reply["id"]) == ("error", "forbidden", 1)
    await client.hears_nothing()


async def test_a_client_without_a_token_refreshes_nothing_and_nothing_is_verified(
    serve: Serve, open_raw: OpenRaw
) -> None:
    server = await serve(jwt_public_key=PEM)
    raw = await open_raw(server)
    await raw.receive()
    budget = held(server)
    await raw.send_bytes(text_frame({"action": "refresh", "token": token()}) * 50)
    for _ in range(50):
        assert orjson.loads((await raw.receive())[1])["code"] == "forbidden"
    assert not budget._waiting
    assert server.counters.rate_limited == {}


@pytest.mark.parametrize("given", ["good", "forged"])
async def test_a_token_is_refreshed_once_per_second_whether_it_is_valid_or_not(
    serve: Serve, join: Join, given: str
) -> None:
    server = await serve()
    server.services.clock = clock = Clock()
    text = token(algorithm="HS256")
    client = await join(server, token=text)
    tried = text if given == "good" else text[:-8] + "AAAAAAAA"
    answer = "refreshed" if given == "good" else "error"
    assert (await client.ask({"action": "refresh", "token": tried}))["type"] == answer
    for seconds in (0.0, 0.5, 0.25):
        clock.now += seconds
        reply = await client.ask({"action": "refresh", "token": tried, "id": 7})
        assert (reply["type"], reply["code"], reply["id"]) == ("error", "rate_limited", 7)
    clock.now += 0.25
    assert (await client.ask({"action": "refresh", "token": tried}))["type"] == answer
    assert server.counters.rate_limited == {"refresh": 3}
    await client.hears_nothing()


async def test_the_token_of_a_plain_request_waits_for_its_turn(serve: Serve) -> None:
    server = await serve(jwt_public_key=PEM)
    budget = held(server)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for path in ("stats", "rooms"):
        head = f"GET /api/v1/ws/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token()}\r\n\r\n"
        writer.write(head.encode())
        await until(lambda: budget._waiting)
        release(budget)
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        budget._spend(HOLD)
    writer.close()
