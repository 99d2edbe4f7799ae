"""Mounts: the dialect of each path."""

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
    """The dialects of one path: one for requests with a token and one for requests without, often the same."""

    name: str
    with_token: Dialect
    without_token: Dialect


class Mounts:
    """Maps paths to dialects: first the defaults of spec 3, then `entries` of the form "PATH=DIALECT", in order.

    DIALECT is channels, rooms, workspaces, jobs or echo. A+B means A for requests with a token and B for requests
    without; none removes the path. Raises ConfigError naming the invalid entry.
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
        """Return the dialect for `path` (without query), or None. A trailing slash is ignored."""
        mount = self.table.get(path) or self.table.get(path.rstrip("/") or "/")
        if mount is None:
            return None
        return mount.with_token if has_token else mount.without_token

    def is_reserved(self, channel: str, event: str) -> bool:
        """Whether clients may not publish `event` to `channel`, because others could not recognize a forged one."""
        return event in self.reserved_events and any(
            event in dialect.reserved_events and dialect.reserves(channel) for dialect in self.dialects.values()
        )

    def _apply(self, entry: str) -> None:
        path, equals, name = (part.strip() for part in entry.partition("="))
        if not equals:
            raise ConfigError(f"mounts: must be PATH=DIALECT such as /live=channels, not {entry!r}")
        if _PATH.fullmatch(path) is None:
            raise ConfigError(f"mounts: the path must begin with / and contain no space, ? or #, not {path!r}")
        path = path.rstrip("/") or "/"
        if name == NONE:
            self.table.pop(path, None)
            return
        try:
            self.table[path] = self._mount(name)
        except KeyError:
            known = ", ".join([*self.dialects, "workspaces+jobs", NONE])
            raise ConfigError(f"mounts: the dialect of {path} must be one of {known}, not {name!r}") from None

    def _mount(self, name: str) -> Mount:
        """Return the mount for a dialect or A+B. Raises KeyError for an unknown dialect."""
        with_token, plus, without_token = name.partition("+")
        first = self.dialects[with_token]
        return Mount(name, first, self.dialects[without_token] if plus else first)
