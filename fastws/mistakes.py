"""Collects the mistakes in a configuration, so that all of them are reported at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastws.errors import ConfigError


class Mistakes:
    """Continues after a ConfigError within `collect()`; `raise_all` raises one ConfigError with all messages."""

    def __init__(self) -> None:
        # In order and without duplicates: one mistake may be found by several checks.
        self._messages: dict[str, None] = {}
        # The settings whose values cannot be used.
        self.settings: set[str] = set()

    @contextmanager
    def collect(self, setting: str = "") -> Iterator[None]:
        """Collect a ConfigError of the block; `setting` is the one that the block reads."""
        try:
            yield
        except ConfigError as error:
            self._messages.update(dict.fromkeys(error.messages))
            self.settings.add(setting)

    def raise_all(self) -> None:
        if self._messages:
            raise ConfigError(*self._messages)
