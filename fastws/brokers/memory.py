"""The broker of a single process: what is published is delivered at once, to this process alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from fastws.brokers.last_metrics import METRICS_UPDATE, LastMetrics, is_kept
from fastws.config import Config
from fastws.hub.ports import Deliverer, Receipt
from fastws.vocabulary.channels import workspace_channels
from fastws.vocabulary.filters import job_of
from fastws.vocabulary.publication import Publication


class MemoryBroker:
    """Hands every publication straight to the hub. It is always up and never loses anything.

    What goes to `jobs_channel` is numbered, as the feed numbers what comes from Redis.
    """

    __slots__ = ("_deliverer", "_jobs_channel", "_seq", "_workspaces", "last_metrics")

    def __init__(self, deliverer: Deliverer, config: Config | None = None) -> None:
        config = config or Config()
        self._deliverer = deliverer
        self._jobs_channel = config.jobs_channel
        self._workspaces = workspace_channels(config.workspace_channel)
        self._seq = 0
        self.last_metrics = LastMetrics()

    @property
    def is_up(self) -> bool:
        return True

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Nothing to leave."""

    def publish(self, publication: Publication, receipt: Receipt | None = None) -> None:
        """Deliver `publication` to the local subscribers; the hub tells `receipt` how many they were."""
        if publication.event == METRICS_UPDATE and is_kept(publication, self._workspaces):
            self.last_metrics.note(publication)
        if publication.channel == self._jobs_channel:
            publication = self._number(publication)
        self._deliverer.deliver(publication, receipt)

    def listen(self, channel: str, ready: Callable[[], None]) -> None:
        """Call `ready` at once: what is published from now on arrives."""
        ready()

    def unlisten(self, channel: str) -> None:
        """Nobody elsewhere has to know."""

    def find_metrics(self, channel: str, metric_type: str, answer: Callable[[object], None]) -> None:
        """Answer with the data of the last `metrics_update` of that type on `channel`; {} where there is none."""
        answer(self.last_metrics.find(channel, metric_type))

    def remote_count(self, channel: str) -> int:
        """Subscribers of `channel` in other processes: there are none."""
        return 0

    def _number(self, publication: Publication) -> Publication:
        self._seq += 1
        job_id, status = job_of(publication)
        return replace(
            publication,
            seq=self._seq,
            timestamp=int(time.time()) if publication.timestamp is None else publication.timestamp,
            attributes={"job_id": job_id, "status": status},
        )
