"""The write batch: what one flush of the tick says to a client, in one write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from fastws.session.session import Session
    from fastws.transport.writer import Writer

log = structlog.stdlib.get_logger("fastws.connection")


class WriteBatch:
    """Pieces for clients in several channels, and sessions with replies. Called when the tick has flushed."""

    __slots__ = ("corked", "gathered")

    def __init__(self) -> None:
        # What several channels say to one client in one flush.
        self.gathered: dict[Writer, list[bytes]] = {}
        self.corked: list[Session] = []

    def __call__(self) -> None:
        """Write what was gathered, then the replies to sends."""
        if self.gathered:
            self._write_gathered()
        if self.corked:
            self.uncork()

    def gather(self, writer: Writer, data: bytes) -> None:
        """`data` is one channel's part of what `writer` gets in this flush."""
        pieces = self.gathered.get(writer)
        if pieces is None:
            self.gathered[writer] = [data]
        else:
            pieces.append(data)

    def uncork(self) -> None:
        """Write the replies of all corked sessions, together for each client."""
        corked = self.corked
        while corked:
            sessions = corked[:]
            corked.clear()
            for session in sessions:
                try:
                    session.uncork()
                except Exception:
                    log.exception("error of ours", connection=session.peer.id)

    def _write_gathered(self) -> None:
        """One write for each client, however many of its channels published; equal ones share the bytes."""
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
                log.exception("error of ours", connection=writer.session.peer.id)
