"""The identity of a client, read from its verified token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True, frozen=True)
class Identity:
    """The user behind a connection. `expires_at` and `issued_at` are seconds since the epoch.

    `channels` and `publish` are channel patterns (`*` one segment, `**` the rest, `{sub}` the user), or None if the
    token has no such claim. `workspaces` are all workspaces of the token, `workspace` is the default one.
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
