"""When a client reconnects after it has lost its connection, and when it gives up."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Final

from fastws.backoff import Backoff
from fastws.errors import FastWSError, Forbidden, NotFound, Unauthorized

NORMAL: Final = 1000
RESTART: Final = 1012
# The client was too slow or sent too much, or the server is full: an immediate return would end in the same way.
OVERLOAD_CODES: Final = frozenset({1008, 1013})
OVERLOAD_SECONDS: Final = 1.0
TOKEN_ENDED: Final = 4401
NOT_ALLOWED: Final = 4403
STABLE_SECONDS: Final = 10.0
# The close reason of a draining server: restart; reconnect in 0-5 s
_HINT: Final = re.compile(r"reconnect in (\d{1,4})(?:-(\d{1,4}))? ?s")


class ReconnectBackoff(Backoff):
    """The delays of a client between its attempts to connect, with full jitter."""

    __slots__ = ()

    def after_close(self, code: int | None, reason: str, lived_seconds: float) -> float:
        """How long to wait after the loss of a connection that lasted `lived_seconds`. A restarting server announces
        the period over which its clients should reconnect."""
        if lived_seconds >= STABLE_SECONDS:
            self.reset()
        hint = _HINT.search(reason) if code == RESTART else None
        if hint is None:
            return self.next_seconds(OVERLOAD_SECONDS if code in OVERLOAD_CODES else 0.0)
        first, last = float(hint[1]), float(hint[2] or hint[1])
        return random.uniform(min(first, last), max(first, last))  # noqa: S311 # spreads load, guards nothing


def end_of(code: int | None, reason: str, *, can_renew: bool) -> tuple[bool, FastWSError | None]:
    """Whether the client must stay away after this close, and with which error (None: the close was orderly)."""
    said = f" ({reason})" if reason else ""
    if code == NORMAL:
        return True, None
    if code == NOT_ALLOWED:
        return True, Forbidden(f"the server closed the connection as not allowed{said}")
    if code == TOKEN_ENDED and not can_renew:
        return True, Unauthorized(
            f"the token expired or was revoked{said}: pass a `token_provider` that returns a new one"
        )
    return False, None


_FINAL_STATUSES: Final[Mapping[int, tuple[type[FastWSError], str]]] = {
    400: (FastWSError, "the request did not arrive as a WebSocket upgrade; check the URL and the proxies in between"),
    401: (Unauthorized, "the token is missing, invalid, expired or revoked; pass `token` or `token_provider`"),
    403: (Forbidden, "the user, workspace or origin is not allowed"),
    404: (NotFound, "no dialect is mounted at this path; check the URL and `dialect`"),
    405: (FastWSError, "no dialect is mounted at this path; check the URL and `dialect`"),
    426: (FastWSError, "the server does not support WebSocket version 13"),
}


def refusal_of(status: int, url: str) -> FastWSError | None:
    """The error of a refused upgrade; None if another attempt may succeed."""
    if status not in _FINAL_STATUSES:
        return None
    kind, advice = _FINAL_STATUSES[status]
    return kind(f"{url} answered the upgrade with {status}: {advice}")
