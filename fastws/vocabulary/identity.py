"""Who a client is: what a verified token says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True, frozen=True)
class Identity:
    """The user behind a connection. `expires_at` and `issued_at` are seconds since the epoch.

    `channels` and `publish` are patterns (`*` one segment, `**` the rest, `{sub}` the user); None = the claim
    was absent. `workspaces` are all that the token names, `workspace` the one it defaults to.
    """

    user: str
    workspace: str | None = None
    workspaces: frozenset[str] = frozenset()
    channels: tuple[str, ...] | None = None
    publish: tuple[str, ...] | None = None
    expires_at: float = 0.0
    issued_at: float | None = None
    token_id: str | None = None
    claims: Mapping[str, object] = field(default_factory=dict)
