"""Revoked tokens are tried against real servers: one that knows of the revocation, and one that does not."""

from __future__ import annotations

import random

import pytest
import soaking.revoked
from soaking.ledger import Ledger
from soaking.revoked import BROADCAST_KEY, SECRET, Door, RevocationWatch, make_token

from fastws.server.server import Server
from tests.serving import Serve


def _door(server: Server) -> Door:
    return Door(f"ws://127.0.0.1:{server.port}/")


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Revocations count at once: these tests have one server, or two that do not know each other."""
    monkeypatch.setattr(soaking.revoked, "SPREAD_SECONDS", 0.0)
    return Ledger()


async def test_fresh_revocation_is_not_tried_before_it_has_spread(
    serve: Serve, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = _door(await serve(jwt_secret=SECRET, broadcast_key=(BROADCAST_KEY,)))
    watch = RevocationWatch([door], ledger, random.Random(1))
    assert await watch.revoke_one()
    monkeypatch.setattr(soaking.revoked, "SPREAD_SECONDS", 3600.0)
    await watch.check(door)
    assert ledger.counts["revoked tokens refused"] == ledger.tried["revocations"] == 0


async def test_revoked_token_is_refused_and_its_connection_closed(serve: Serve, ledger: Ledger) -> None:
    door = _door(await serve(jwt_secret=SECRET, broadcast_key=(BROADCAST_KEY,)))
    watch = RevocationWatch([door], ledger, random.Random(1))
    assert await watch.revoke_one()
    assert await watch.revoke_one()
    await watch.check(door)
    assert not ledger.faults
    assert ledger.counts["connections of revoked tokens closed"] == 2
    assert ledger.counts["revoked tokens refused"] == 2
    assert ledger.tried["revocations"] == 1


async def test_server_that_forgot_a_revocation_is_at_fault(serve: Serve, ledger: Ledger) -> None:
    door = _door(await serve(jwt_secret=SECRET, broadcast_key=(BROADCAST_KEY,)))
    watch = RevocationWatch([door], ledger, random.Random(1))
    assert await watch.revoke_one()
    await watch.check(_door(await serve(jwt_secret=SECRET)), "a newcomer")
    assert dict(ledger.faults) == {"revoked token accepted": 1}


async def test_server_that_refuses_every_token_is_at_fault(serve: Serve, ledger: Ledger) -> None:
    door = _door(await serve(jwt_secret="another secret of at least thirty-two bytes"))
    await RevocationWatch([door], ledger, random.Random(1)).check(door)
    assert dict(ledger.faults) == {"valid token refused": 1}


async def test_server_that_does_not_take_a_revocation_is_asked_again_later(serve: Serve, ledger: Ledger) -> None:
    door = _door(await serve(jwt_secret=SECRET, broadcast_key=("another key of this server",)))
    watch = RevocationWatch([door], ledger, random.Random(1))
    assert not await watch.revoke_one()
    assert watch.revoked == []
    assert not ledger.faults


async def test_server_that_is_away_says_nothing_of_a_token() -> None:
    assert await Door("ws://127.0.0.1:1/").accepts(make_token("u")) is None
