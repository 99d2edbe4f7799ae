"""The allow-list of Host headers, which protects against DNS rebinding."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from fastws.errors import ConfigError

ANY: Final = "*"
_WILD: Final = r"[a-z0-9.-]+"
_ENTRY: Final = re.compile(r"(?:[a-z0-9*._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


class AllowedHosts:
    """The setting `allowed_hosts`. `*.example.com` allows all names below it, an entry without a port any port."""

    __slots__ = ("_pattern", "is_open")

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises ConfigError for an invalid entry."""
        lower = [entry.lower() for entry in entries]
        for entry in lower:
            if not _ENTRY.fullmatch(entry):
                raise ConfigError(f"allowed_hosts: must be HOST[:PORT] such as *.example.com, not {entry!r}")
        self.is_open = ANY in lower
        self._pattern = re.compile("|".join(_expression(entry) for entry in lower) or "(?!)")

    def allows(self, host: str | None) -> bool:
        """Whether requests with this `Host` are allowed. Names are case-insensitive (RFC 9110 section 4.2.3)."""
        if self.is_open:
            return True
        return host is not None and self._pattern.fullmatch(host.lower().removesuffix(".")) is not None


def _expression(entry: str) -> str:
    has_port = re.search(r":[0-9]+$", entry) is not None
    expression = re.escape(entry).replace(r"\*", _WILD)
    return expression if has_port else expression + r"(?::[0-9]*)?"
