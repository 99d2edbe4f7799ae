"""The broker for a single process: delivers each publication at once to the local subscribers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from fastws.brokers.history import MemoryHistory
from fastws.brokers.last_metrics import METRICS_UPDATE, LastMetrics, is_kept
from fastws.config import Config
from fastws.dialects.feeds import job_of
from fastws.errors import FastWSError
from fastws.hub.ports import Deliverer, Receipt
from fastws.vocabulary.channels import workspace_channels
from fastws.vocabulary.publication import Publication


class MemoryBroker:
    """Passes every publication directly to the hub. It is always up and loses nothing.

    Publications on `jobs_channel` get a sequence number, as those that arrive through Redis do.
    """

    __slots__ = ("_deliverer", "_jobs_channel", "_seq", "_workspaces", "history", "last_metrics")

    def __init__(
        self, deliverer: Deliverer, config: Config | None = None, history: MemoryHistory | None = None
    ) -> None:
        config = config or Config()
        self._deliverer = deliverer
        self._jobs_channel = config.jobs_channel
        self._workspaces = workspace_channels(config.workspace_channel)
        self._seq = 0
        self.history = history
        self.last_metrics = LastMetrics()

    @property
    def is_up(self) -> bool:
        return True

    @property
    def nodes(self) -> tuple[()]:
        """There is no Redis."""
        return ()

    @property
    def receives_everything(self) -> bool:
        return True

    async def start(self) -> None:
        """Does nothing: there is no connection."""

    async def stop(self) -> None:
        """Does nothing: there is no connection."""

    def publish(self, publication: Publication, receipt: Receipt | None = None, message_id: str | None = None) -> None:
        """Deliver `publication` to the local subscribers. `receipt` gets their number from the hub.

        `message_id` is of no use here: there are no other processes, and no outcome is unknown.
        """
        if publication.event == METRICS_UPDATE and is_kept(publication, self._workspaces):
            self.last_metrics.note(publication)
        if publication.channel == self._jobs_channel:
            publication = self._number(publication)
        if self.history is not None and not publication.is_ephemeral:
            try:
                publication = self._keep(self.history, publication, receipt)
            except FastWSError as error:
                if receipt is not None:
                    receipt.refused(error)
                return
        self._deliverer.deliver(publication, receipt)

    def listen(
        self, channel: str, ready: Callable[[], None], refused: Callable[[FastWSError], None] | None = None
    ) -> None:
        """Call `ready` at once: all publications from now on arrive."""
        ready()

    def refusal(self, channel: str) -> FastWSError | None:
        """Return None: no channel is forbidden."""
        return None

    def unlisten(self, channel: str) -> None:
        """The last local subscriber of `channel` has left."""
        if self.history is not None:
            self.history.left(channel)

    def find_metrics(self, channel: str, metric_type: str, answer: Callable[[object], None]) -> None:
        """Call `answer` with the data of the last `metrics_update` of that type on `channel`, {} if there is none."""
        answer(self.last_metrics.find(channel, metric_type))

    def remote_count(self, channel: str) -> int:
        """Return 0: there are no other processes."""
        return 0

    def _keep(self, history: MemoryHistory, publication: Publication, receipt: Receipt | None) -> Publication:
        rule = history.rule(publication.channel)
        if rule is None:
            return publication
        kept, position = history.keep(publication, rule)
        if receipt is not None:
            receipt.kept(position)
        return kept

    def _number(self, publication: Publication) -> Publication:
        self._seq += 1
        job_id, status = job_of(publication)
        return replace(
            publication,
            seq=self._seq,
            timestamp=int(time.time()) if publication.timestamp is None else publication.timestamp,
            attributes={"job_id": job_id, "status": status},
        )
