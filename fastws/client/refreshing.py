"""Replaces the token of a connection before it expires."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from fastws.client.link import ConnectionLost, Link
from fastws.client.tokens import TokenSource
from fastws.errors import FastWSError

log = logging.getLogger("fastws.client")

RETRY_SECONDS: Final = 5.0


async def keep_token_fresh(tokens: TokenSource, link: Link, verb: str) -> None:
    """Refresh the token of `link` before each expiry, until the connection is lost.

    An error here does not end the connection: the server closes it with 4401 when the token expires, and the client
    reconnects with a new one.
    """
    while (delay := tokens.seconds_until_refresh()) is not None:
        await asyncio.sleep(delay)
        former = tokens.token
        try:
            token = await tokens.renew()
        except Exception:
            log.warning("token_provider raised an error; it is called again", exc_info=True)
            await asyncio.sleep(random.uniform(0, RETRY_SECONDS))  # noqa: S311 # spreads load, guards nothing
            continue
        if token == former:
            log.warning("token_provider returned the token that is about to expire; it cannot be refreshed")
            return
        try:
            await link.request({verb: "refresh", "token": token})
        except ConnectionLost:
            return
        except FastWSError as error:
            log.warning("the server refused the new token: %s", error)
            return
