"""The write batch: joins everything that one flush of the tick sends to a client into one write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from fastws.session.session import Session
    from fastws.transport.writer import Writer

log = structlog.stdlib.get_logger("fastws.connection")


class WriteBatch:
    """Collects data for clients in several channels, and sessions with replies. Called after each flush of the tick."""

    __slots__ = ("corked", "gathered")

    def __init__(self) -> None:
        # The data of several channels for one client. Each writer adds its own.
        self.gathered: dict[Writer, list[bytes]] = {}
        # Sessions with replies that are not yet written.
        self.corked: list[Session] = []

    def __call__(self) -> None:
        """Write the gathered data, then the replies."""
        if self.gathered:
            self._write_gathered()
        if self.corked:
            self.uncork()

    def uncork(self) -> None:
        """Write the replies of all corked sessions, with one write per client."""
        corked = self.corked
        while corked:
            sessions = corked[:]
            corked.clear()
            for session in sessions:
                try:
                    session.uncork()
                except Exception:
                    log.exception("internal error", connection=session.peer.id)

    def _write_gathered(self) -> None:
        """Make one write per client. Clients with the same pieces share the joined bytes."""
        gathered, self.gathered = self.gathered, {}
        joined: dict[tuple[int, ...], bytes] = {}
        for writer, pieces in gathered.items():
            key = tuple(map(id, pieces))
            data = joined.get(key)
            if data is None:
                data = joined[key] = b"".join(pieces)
            try:
                if not writer.transport.is_closing():
                    writer.transport.write(data)
            except Exception:
                log.exception("internal error", connection=writer.session.peer.id)
