"""The commands of clients, as one connection sees them."""

from __future__ import annotations

import pytest

from fastws.access.tokens import REFUSAL
from tests.serving import Serve
from tests.transport.pipes import connect, say


@pytest.mark.parametrize("is_revoked", [False, True])
async def test_a_refresh_with_an_invalid_or_revoked_token_gets_the_same_answer(serve: Serve, is_revoked: bool) -> None:
    server = await serve()
    pipe, connection = connect(server, target=f"/?token={server.tokens.sign('ada')}")
    fresh = server.tokens.sign("ada", ttl_seconds=600)
    if is_revoked:
        server.services.revocations.revoke_user("ada")
    else:
        fresh += "x"
    say(connection, {"action": "refresh", "token": fresh})
    assert pipe.messages == [{"type": "error", "code": "unauthorized", "message": REFUSAL}]
