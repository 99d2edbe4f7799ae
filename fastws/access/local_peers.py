"""Who counts as somebody on this machine: a direct peer on loopback, with no proxy in between (spec 1)."""

from __future__ import annotations

from collections.abc import Mapping

from fastws.access.permissions import is_loopback
from fastws.access.proxies import UNIX


def is_direct_and_local(headers: Mapping[str, str], address: str) -> bool:
    """Whether a request comes straight from this machine: behind a proxy here everybody looks as if they did.

    `headers` have lower-case names, `address` is the peer's, or `unix`.
    """
    if "x-forwarded-for" in headers or "forwarded" in headers:
        return False
    return address == UNIX or is_loopback(address)
