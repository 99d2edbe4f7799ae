"""Where dialects are mounted: which one a request for a WebSocket at a path speaks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from fastws.dialects.channels import CHANNELS
from fastws.dialects.dialect import Dialect
from fastws.dialects.echo import ECHO
from fastws.dialects.jobs import DEFAULT_CHANNEL, Jobs
from fastws.dialects.rooms import ROOMS
from fastws.dialects.workspaces import DEFAULT_TEMPLATE, Workspaces
from fastws.errors import ConfigError

DEFAULT_MOUNTS: Final[Mapping[str, str]] = {
    "/": "channels",
    "/production": "channels",
    "/api/v1/ws": "rooms",
    "/ws": "workspaces+jobs",
}
NONE: Final = "none"
_PATH: Final = re.compile(r"/[^\s?#\x00-\x1f\x7f]*")


@dataclass(slots=True, frozen=True)
class Mount:
    """What is mounted at one path: one dialect, or one for requests with a token and one for others."""

    name: str
    with_token: Dialect
    without_token: Dialect


class Mounts:
    """Paths to dialects: the defaults of spec 3, then `entries`, "PATH=DIALECT" each, in their order.

    A dialect is channels, rooms, workspaces, jobs or echo; A+B is A for requests with a token and B for those
    without; none takes the path away. Raises ConfigError naming the entry that cannot be used.
    """

    def __init__(
        self,
        entries: Iterable[str] = (),
        *,
        workspace_channel: str = DEFAULT_TEMPLATE,
        jobs_channel: str = DEFAULT_CHANNEL,
    ) -> None:
        self.dialects: Mapping[str, Dialect] = {
            dialect.name: dialect
            for dialect in (CHANNELS, ROOMS, Workspaces(workspace_channel), Jobs(jobs_channel), ECHO)
        }
        self.table: dict[str, Mount] = {path: self._mount(name) for path, name in DEFAULT_MOUNTS.items()}
        for entry in entries:
            self._apply(entry)
        self.reserved_events = frozenset[str]().union(*(dialect.reserved_events for dialect in self.dialects.values()))

    def find(self, path: str, *, has_token: bool) -> Dialect | None:
        """The dialect of a request for `path` (no query; a slash at the end does not matter), or None."""
        mount = self.table.get(path) or self.table.get(path.rstrip("/") or "/")
        if mount is None:
            return None
        return mount.with_token if has_token else mount.without_token

    def is_reserved(self, channel: str, event: str) -> bool:
        """Whether no client may publish `event` on `channel`, because a dialect's clients could not tell a forgery."""
        return event in self.reserved_events and any(
            event in dialect.reserved_events and dialect.reserves(channel) for dialect in self.dialects.values()
        )

    def _apply(self, entry: str) -> None:
        path, equals, name = (part.strip() for part in entry.partition("="))
        if not equals:
            raise ConfigError(f"mounts: {entry!r} is not PATH=DIALECT, such as /live=channels")
        if _PATH.fullmatch(path) is None:
            raise ConfigError(f"mounts: {path!r} is not a path: it begins with / and has no space, ? or #")
        path = path.rstrip("/") or "/"
        if name == NONE:
            self.table.pop(path, None)
            return
        try:
            self.table[path] = self._mount(name)
        except KeyError:
            known = ", ".join([*self.dialects, "workspaces+jobs", NONE])
            raise ConfigError(f"mounts: unknown dialect {name!r} for {path}; known: {known}") from None

    def _mount(self, name: str) -> Mount:
        """Raises KeyError for a word that is no dialect."""
        with_token, plus, without_token = name.partition("+")
        first = self.dialects[with_token]
        return Mount(name, first, self.dialects[without_token] if plus else first)
