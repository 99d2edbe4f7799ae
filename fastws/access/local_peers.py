"""Who counts as somebody on this machine: a direct peer on loopback, with no proxy in between (spec 1)."""

from __future__ import annotations

from fastws.access.permissions import is_loopback
from fastws.access.proxies import UNIX
from fastws.wire.request import Request


def is_direct_and_local(request: Request, address: str) -> bool:
    """Whether a request comes straight from this machine: behind a proxy here everybody looks as if they did.

    `address` is the peer's, or `unix`.
    """
    if request.is_proxied or "x-forwarded-for" in request.headers or "forwarded" in request.headers:
        return False
    return address == UNIX or is_loopback(address)
