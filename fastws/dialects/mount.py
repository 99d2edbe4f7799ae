"""Mounts: the dialect of each path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import unquote

from fastws.dialects.channels import CHANNELS
from fastws.dialects.dialect import Dialect, IdScheme
from fastws.dialects.echo import ECHO
from fastws.dialects.jobs import DEFAULT_CHANNEL, Jobs
from fastws.dialects.rooms import ROOMS
from fastws.dialects.workspaces import DEFAULT_TEMPLATE, Workspaces
from fastws.errors import ConfigError
from fastws.vocabulary.connection_ids import node_of

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


class KeyedDialect(Protocol):
    """A dialect of which there is one for each key. The key is the segment of the path after that of the mount."""

    @property
    def name(self) -> str: ...
    @property
    def default_path(self) -> str: ...
    @property
    def id_scheme(self) -> IdScheme: ...
    def has_members(self, channel: str) -> bool:
        """Whether `channel` is one whose members are users."""
        ...

    def of_key(self, key: str) -> Dialect:
        """Return the dialect of `key`. That of an unknown key closes each connection with an error."""
        ...


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
        keyed: Iterable[KeyedDialect] = (),
    ) -> None:
        self.dialects: Mapping[str, Dialect] = {
            dialect.name: dialect
            for dialect in (CHANNELS, ROOMS, Workspaces(workspace_channel), Jobs(jobs_channel), ECHO)
        }
        self._kinds = {dialect.name: dialect for dialect in keyed}
        self._keyed = {dialect.default_path: dialect for dialect in self._kinds.values()}
        # Says which channels have users as members; None without a dialect with such channels.
        self.has_members = self._has_members if self._kinds else None
        self.id_schemes = tuple(dialect.id_scheme for dialect in self._kinds.values())
        self.table: dict[str, Mount] = {path: self._mount(name) for path, name in DEFAULT_MOUNTS.items()}
        for entry in entries:
            self._apply(entry)
        self.reserved_events = frozenset[str]().union(*(dialect.reserved_events for dialect in self.dialects.values()))

    def find(self, path: str, *, has_token: bool) -> Dialect | None:
        """Return the dialect for `path` (without query), or None. A trailing slash is ignored."""
        mount = self.table.get(path) or self.table.get(path.rstrip("/") or "/")
        if mount is None:
            parent, _, key = path.rpartition("/")
            keyed = self._keyed.get(parent) if self._keyed else None
            return None if keyed is None else keyed.of_key(unquote(key))
        return mount.with_token if has_token else mount.without_token

    def _has_members(self, channel: str) -> bool:
        return any(dialect.has_members(channel) for dialect in self._kinds.values())

    def node_of(self, connection_id: str) -> str | None:
        """Return the id of the node that has this connection, or None if `connection_id` is not valid."""
        for find in (node_of, *(scheme.node_of for scheme in self.id_schemes)):
            node = find(connection_id)
            if node is not None:
                return node
        return None

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
            self._keyed.pop(path, None)
            return
        if name in self._kinds:
            self._keyed[path] = self._kinds[name]
            return
        try:
            self.table[path] = self._mount(name)
        except KeyError:
            known = ", ".join([*self.dialects, *self._kinds, "workspaces+jobs", NONE])
            raise ConfigError(f"mounts: the dialect of {path} must be one of {known}, not {name!r}") from None

    def _mount(self, name: str) -> Mount:
        """Return the mount for a dialect or A+B. Raises KeyError for an unknown dialect."""
        with_token, plus, without_token = name.partition("+")
        first = self.dialects[with_token]
        return Mount(name, first, self.dialects[without_token] if plus else first)
