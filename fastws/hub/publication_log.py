"""The publication log: at level debug, one line for each publication, with what became of it. Never its data."""

from __future__ import annotations

import structlog

from fastws.errors import FastWSError
from fastws.hub.channel import rough_bytes
from fastws.hub.ports import Receipt
from fastws.vocabulary.positions import Position
from fastws.vocabulary.publication import Publication

log = structlog.stdlib.get_logger("fastws.publications")


class LoggedReceipt:
    """Logs the result of `publication`, then passes it on to `receipt`, if there is one.

    `source` is that of the metric of publications: client, http, aws, application or redis. `connection_id` is the
    receiver of a direct send. Only made while the level is debug: a line costs about 40 µs.
    """

    __slots__ = ("_connection_id", "_publication", "_receipt", "_source")

    def __init__(
        self, publication: Publication, source: str, receipt: Receipt | None, connection_id: str | None = None
    ) -> None:
        self._publication = publication
        self._source = source
        self._receipt = receipt
        self._connection_id = connection_id

    def kept(self, position: Position) -> None:
        """Pass the position on."""
        if self._receipt is not None:
            self._receipt.kept(position)

    def done(self, sent: int, failed: int) -> None:
        """Log `sent` and `failed`."""
        publication = self._publication
        log.debug(
            "published",
            channel=publication.channel or None,
            connection=self._connection_id,
            event_name=publication.event,
            bytes=rough_bytes(publication.data),
            source=self._source,
            sent=sent,
            failed=failed,
        )
        if self._receipt is not None:
            self._receipt.done(sent, failed)

    def refused(self, error: FastWSError) -> None:
        """Log why nothing was published."""
        publication = self._publication
        log.debug(
            "not published",
            channel=publication.channel or None,
            connection=self._connection_id,
            event_name=publication.event,
            bytes=rough_bytes(publication.data),
            source=self._source,
            code=error.code,
            reason=error.message,
        )
        if self._receipt is not None:
            self._receipt.refused(error)
