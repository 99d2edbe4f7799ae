"""Bearer tokens of HTTP requests: valid ones are accepted, and refusals do not reveal the reason."""

from __future__ import annotations

import pytest

from fastws.access.revocation import Revocations
from fastws.access.tokens import REFUSAL, Tokens
from fastws.config import Config
from fastws.endpoints.bearer import BearerTokens
from fastws.errors import Unauthorized
from fastws.session.verifications import Verifications

TOKENS = Tokens(Config(jwt_secret="a secret of more than 32 bytes for these tests"))


def bearer_tokens(revocations: Revocations | None = None) -> BearerTokens:
    return BearerTokens(TOKENS, revocations or Revocations(leeway_seconds=0.0), Verifications(TOKENS))


async def test_a_valid_token_gives_its_user() -> None:
    identity = await bearer_tokens()(f"Bearer {TOKENS.sign('ada')}")
    assert identity.user == "ada"


@pytest.mark.parametrize("header", [None, "", "Basic YWRhOmFkYQ=="])
async def test_a_request_without_a_token_gets_an_error_that_says_how_to_send_one(header: str | None) -> None:
    with pytest.raises(Unauthorized, match="send a token: `Authorization: Bearer <JWT>`"):
        await bearer_tokens()(header)


async def test_expired_forged_and_revoked_tokens_get_the_same_text() -> None:
    revocations = Revocations(leeway_seconds=0.0)
    token = TOKENS.sign("ada")
    expired = TOKENS.sign("ada", ttl_seconds=-60)
    revocations.revoke_user("ada")
    for refused in (token, expired, token[:-4] + "AAAA"):
        with pytest.raises(Unauthorized) as error:
            await bearer_tokens(revocations)(f"Bearer {refused}")
        assert error.value.message == REFUSAL
