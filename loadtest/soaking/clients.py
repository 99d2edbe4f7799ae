"""Creates all clients of a soak."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from typing import Protocol

from soaking.basic_clients import Listener, Publisher, Resetter, SlowReader
from soaking.hasty import HastyBrowserClient, HastyPythonClient, can_run_browser_client
from soaking.jittery import CrowdMember, JitteryReader, options_of_publisher
from soaking.ledger import DeliveryCheck, Ledger
from soaking.revoked import Door, RevocationWatch
from soaking.servers import Servers
from soaking.strangers import Stranger
from soaking.tls import EagerTlsClient

CHURN_SECONDS = 2.0
HASTY_BROWSER_CLIENTS = 2
EAGER_TLS_CLIENTS = 4
STRANGERS = 2


class Client(Protocol):
    is_stopping: bool

    async def run(self) -> None: ...


class Subscriber(Client, Protocol):
    """A client that stays to the end and must have received everything by then."""

    check: DeliveryCheck | None


class Clients:
    """`publishers`, `subscribers` and `others`, by the kinds of a run. Each draws its own random numbers."""

    def __init__(self, options: argparse.Namespace, kinds: set[str], servers: Servers, ledger: Ledger) -> None:
        self._options, self._kinds, self._servers, self._ledger = options, kinds, servers, ledger
        channels = [f"soak-{number}" for number in range(options.channels)]
        self.publishers = list(self._make_publishers(channels))
        self._channels_used = [channels[n % len(channels)] for n in range(options.publishers)]
        self.subscribers: list[Subscriber] = [*self._make_listeners(), *self._make_crowd()]
        self.revocations = RevocationWatch(self._doors(), ledger, self._rng("revocations"))
        self.others: list[Client] = list(self._make_others())

    def all(self) -> list[Client]:
        return [*self.publishers, *self.subscribers, *self.others]

    def _rng(self, name: str) -> random.Random:
        return random.Random(f"{self._options.seed}/{name}")

    def _make_publishers(self, channels: list[str]) -> Iterator[Publisher]:
        url, ledger, options = self._servers.url, self._ledger, self._options
        for n in range(options.publishers):
            name = f"publisher-{n}"
            yield Publisher(url, ledger, name, channels[n % len(channels)], options.rate, self._rng(name))
        if "jittery" in self._kinds:
            yield Publisher(url, ledger, "burst", rng=self._rng("burst"), **options_of_publisher())

    def _make_listeners(self) -> Iterator[Subscriber]:
        url, ledger = self._servers.url, self._ledger
        if "listeners" in self._kinds:
            for n in range(self._options.listeners):
                yield Listener(url, ledger, f"listener-{n}", self._channels_used, self._rng(f"listener-{n}"))
        if "tls" in self._kinds:
            for n in range(self._options.tls):
                name = f"tls-listener-{n}"
                tls = self._servers.client_context()
                yield Listener(self._servers.tls_url, ledger, name, self._channels_used, self._rng(name), tls=tls)

    def _make_crowd(self) -> Iterator[Subscriber]:
        if "jittery" not in self._kinds:
            return
        for number in range(self._options.crowd):
            # Jittery readers are spread among the others, so that each slice of a fan-out has some.
            place = number % max(1, self._options.crowd // max(1, self._options.jittery))
            make = CrowdMember if place else JitteryReader
            name = f"{'crowd' if place else 'jittery'}-{number}"
            yield make(self._servers.url, self._ledger, name, self._rng(name))

    def _make_others(self) -> Iterator[Client]:
        url, ledger, options, kinds = self._servers.url, self._ledger, self._options, self._kinds
        counts = {"churners": options.churners, "slow": options.slow, "resetters": options.resetters}
        for kind, count in counts.items():
            for n in range(count if kind in kinds else 0):
                rng = self._rng(f"{kind}-{n}")
                if kind == "churners":
                    yield Listener(url, ledger, f"churner-{n}", self._channels_used, rng, stay_seconds=CHURN_SECONDS)
                elif kind == "slow":
                    yield SlowReader(url, ledger, self._channels_used, rng)
                else:
                    yield Resetter(url, ledger)
        yield from self._make_hasty()
        yield from self._make_own_server_kinds()

    def _make_hasty(self) -> Iterator[Client]:
        if "hasty" not in self._kinds:
            return
        for n in range(self._options.hasty):
            name = f"hasty-{n}"
            yield HastyPythonClient(self._servers.url, self._ledger, name, self._channels_used, self._rng(name))
        for n in range(HASTY_BROWSER_CLIENTS if can_run_browser_client() else 0):
            name = f"hasty-js-{n}"
            yield HastyBrowserClient(self._servers.url, self._ledger, name, self._channels_used, self._rng(name))

    def _make_own_server_kinds(self) -> Iterator[Client]:
        ledger = self._ledger
        if "tls" in self._kinds:
            for n in range(EAGER_TLS_CLIENTS):
                name, tls = f"tls-eager-{n}", self._servers.client_context()
                yield EagerTlsClient(self._servers.tls_url, ledger, name, self._channels_used, self._rng(name), tls)
        if "rights" in self._kinds:
            for n in range(STRANGERS):
                yield Stranger(self._servers.url, ledger, self._rng(f"stranger-{n}"))
        if "revocations" in self._kinds:
            yield self.revocations

    def _doors(self) -> list[Door]:
        doors = [Door(self._servers.url)]
        if "tls" in self._kinds:
            doors.append(Door(self._servers.tls_url, self._servers.client_context()))
        return doors
