"""The keys of an identity provider: fetched, rotated, kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastws.access.tokens import Tokens
from fastws.callouts.jwks import MAX_DOCUMENT_BYTES, Jwks
from fastws.config import Config
from fastws.errors import ConfigError, Unauthorized


async def test_tokens_verify_by_the_keys_that_were_fetched(site: Any, rsa_key: Any, forge: Any) -> None:
    site.says({"keys": [rsa_key.jwk("a")]})
    jwks = Jwks(site.url)
    tokens = Tokens(Config(jwt_jwks_url=site.url), jwks)
    token = rsa_key.sign(forge.claims(), kid="a")
    with pytest.raises(Unauthorized):
        tokens.verify(token)
    await jwks.start()
    assert tokens.verify(token).user == "u1"
    assert tokens.key_configured
    assert site.requests == [("GET", b"")]
    await jwks.close()


async def test_an_unknown_kid_makes_it_look_again_and_rotation_comes_through(
    site: Any, rsa_key: Any, other_rsa_key: Any, forge: Any
) -> None:
    site.says({"keys": [rsa_key.jwk("a")]})
    jwks = Jwks(site.url, unknown_kid_seconds=0)
    tokens = Tokens(Config(), jwks)
    await jwks.start()
    site.says({"keys": [other_rsa_key.jwk("b")]})
    new = other_rsa_key.sign(forge.claims(), kid="b")
    with pytest.raises(Unauthorized):
        tokens.verify(new)
    await until(lambda: bool(jwks.find("b")))
    assert tokens.verify(new).user == "u1"
    with pytest.raises(Unauthorized):
        tokens.verify(rsa_key.sign(forge.claims(), kid="a"))
    await jwks.close()


async def test_unknown_kids_make_it_look_again_only_so_often(site: Any, rsa_key: Any) -> None:
    site.says({"keys": [rsa_key.jwk("a")]})
    jwks = Jwks(site.url, unknown_kid_seconds=3600)
    await jwks.start()
    for n in range(1000):
        assert jwks.find(f"unknown {n}") == []
        await asyncio.sleep(0)
    assert len(site.requests) == 1
    await jwks.close()


async def test_it_looks_again_as_time_goes_by(site: Any, rsa_key: Any) -> None:
    site.says({"keys": [rsa_key.jwk("a")]})
    jwks = Jwks(site.url, refresh_seconds=0.01)
    await jwks.start()
    await site.heard(4)
    await jwks.close()


BAD_ANSWERS: dict[str, tuple[int, bytes]] = {
    "an error": (500, b'{"keys":[]}'),
    "not there": (404, b""),
    "a redirect": (302, b""),
    "no JSON": (200, b"<html>"),
    "no UTF-8": (200, b"\xff\xfe\x00"),
    "no document": (200, b"[]"),
    "no key": (200, b'{"keys":[]}'),
    "too deep": (200, b"[" * 100_000),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_a_fetch_that_fails_keeps_the_old_keys(site: Any, rsa_key: Any, answer: tuple[int, bytes]) -> None:
    site.says({"keys": [rsa_key.jwk("a")]})
    jwks = Jwks(site.url)
    await jwks.start()
    site.answer = answer
    assert not await jwks.refresh()
    assert [key.kid for key in jwks.find("a")] == ["a"]
    await jwks.close()


async def test_a_document_of_any_size_is_not_read_to_its_end(site: Any, rsa_key: Any) -> None:
    site.says({"keys": [rsa_key.jwk("a")], "more": "x" * MAX_DOCUMENT_BYTES})
    jwks = Jwks(site.url)
    await jwks.start()
    assert jwks.find("a") == []
    await jwks.close()


async def test_a_provider_that_is_not_there_does_not_stop_the_start(site: Any, rsa_key: Any) -> None:
    url = site.url
    await site.close()
    jwks = Jwks(url)
    await jwks.start()
    assert jwks.find("a") == []
    await jwks.close()
    await site.start()


async def test_keys_without_a_kid_serve_tokens_with_one(site: Any, rsa_key: Any, forge: Any) -> None:
    site.says({"keys": [rsa_key.jwk()]})
    jwks = Jwks(site.url, unknown_kid_seconds=3600)
    await jwks.start()
    assert Tokens(Config(), jwks).verify(rsa_key.sign(forge.claims(), kid="any")).user == "u1"
    await jwks.close()


@pytest.mark.parametrize("url", ["", "example.org/keys", "file:///etc/passwd", "ftp://x/y"])
def test_only_http_urls_are_taken(url: str) -> None:
    with pytest.raises(ConfigError, match="jwt_jwks_url"):
        Jwks(url)


async def until(condition: Any) -> None:
    """Give the loop its turns until `condition` holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)
