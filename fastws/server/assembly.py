"""The composition root: makes the parts of a server and connects them. Contains no logic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from fastws.access.hosts import scrape_hosts
from fastws.access.rate_limit import Bucket
from fastws.access.sigv4 import AwsCredentials
from fastws.admission.capacity import free_descriptors
from fastws.admission.gate import Gate, GateRules
from fastws.brokers.memory import MemoryBroker
from fastws.brokers.redis.broker import RedisBroker
from fastws.callouts.authorizer import Authorizer
from fastws.callouts.event_hook import EventHook
from fastws.callouts.metrics_hook import MetricsHook
from fastws.cluster.channel_presence import PresenceRule
from fastws.cluster.members import HubPresence, ProcessMembers
from fastws.cluster.one_process import OneProcess
from fastws.cluster.presence import PresenceMembers, ProcessPresence
from fastws.cluster.redis.cluster import RedisCluster
from fastws.config import Config
from fastws.counters import Counters
from fastws.endpoints.answers import error_response
from fastws.endpoints.application import Application
from fastws.endpoints.bearer import BearerTokens
from fastws.endpoints.log_level import LogLevelEndpoint
from fastws.endpoints.router import SCRAPE_PATHS, Handler, Route, Router
from fastws.endpoints.upgrade_check import UpgradeCheck
from fastws.hub.hub import Hub, LongestRun
from fastws.hub.roster import Roster
from fastws.hub.rules import Rules
from fastws.logs import LogLevel
from fastws.server.admittance import Admittance
from fastws.server.app_channels import (
    make_app_subscribers,
    make_history,
    make_history_rules,
    make_subscription_counts,
)
from fastws.server.embedding import InProcessBroadcaster
from fastws.server.sibling_revocations import REVOCATIONS
from fastws.server.status import Status
from fastws.server.tasks import Tasks
from fastws.session.commands import COMMANDS
from fastws.session.joining import stop_listening
from fastws.session.metrics_source import MetricsSource
from fastws.session.services import Services
from fastws.session.verifications import Verifications
from fastws.settings import (
    flush_intervals,
    presence_intervals,
    presence_modes,
    priorities,
    slow_policies,
)
from fastws.telemetry.all_workers import AllWorkerMetrics, WorkerMetrics
from fastws.telemetry.exposition import Exposition, OnHosts, not_on_this_port
from fastws.transport.connection_log import ConnectionLog
from fastws.transport.heartbeat import Heartbeat
from fastws.transport.http import HttpConnection
from fastws.transport.lifecycle import Lifecycle
from fastws.transport.opening import Opening
from fastws.transport.outbox import Bounds
from fastws.transport.services import TransportServices
from fastws.transport.write_batch import WriteBatch
from fastws.vocabulary.channel_table import ChannelTable
from fastws.vocabulary.connection_ids import node_of
from fastws.vocabulary.presence import PresenceMode

if TYPE_CHECKING:
    from fastws.cluster.webhooks import Webhooks
    from fastws.hub.ports import Reports

log = structlog.stdlib.get_logger("fastws.server")

MAX_SIBLING_BODY_BYTES = 4096
# For the rest of a broadcast: names, ids to exclude.
MAX_BODY_OVERHEAD_BYTES = 4096


MakeHttp = Callable[[], HttpConnection]


class Assembly:
    """The parts of one running server. Must be made on its event loop."""

    def __init__(
        self,
        config: Config,
        admittance: Admittance,
        *,
        node_id: str,
        counters: Counters,
        roster: Roster,
        log_level: LogLevel,
        workers_folder: Path | None,
    ) -> None:
        self._config = config
        self._admittance = admittance
        self._counters = counters
        self._roster = roster
        self._log_level = log_level
        self.tasks = Tasks()
        self.heartbeat = self._make_heartbeat()
        self.batch = WriteBatch()
        self.hub = self._make_hub()
        self.broker = self._make_broker(node_id)
        self._make_presences(node_id)
        self.cluster = self._make_cluster()
        self._make_callouts()
        self.services = self._make_services()
        self.hub.emptied = partial(stop_listening, self.services)
        self._make_transport(node_id)
        self.broadcaster = self._make_broadcaster()
        self.application = self._make_application()
        self._make_protocols(workers_folder)

    def _protocol(self, router: Router, max_body_bytes: int, *, is_internal: bool) -> MakeHttp:
        """Return the factory of protocols for accepted connections. A partial costs less than a method for each."""
        return partial(
            HttpConnection,
            self.transport_services,
            self.gate,
            self.opening,
            router,
            error_response,
            self.tasks.spawn,
            max_body_bytes,
            is_internal=is_internal,
        )

    def _make_heartbeat(self) -> Heartbeat:
        config = self._config
        return Heartbeat(
            self._roster,
            self._counters,
            ping_seconds=config.ping_interval,
            idle_seconds=config.idle_timeout,
            max_message_bytes=config.max_message_bytes,
        )

    def _make_hub(self) -> Hub:
        config, loop = self._config, asyncio.get_running_loop()
        return Hub(
            counters=self._counters,
            schedule=loop.call_soon,
            schedule_later=loop.call_later,
            rules=Rules(slow_policies(config), flush_intervals(config)),
            # Half of a queue, so that a client that has just received one run has room for the next.
            longest_run=LongestRun(max(config.max_queue_messages // 2, 1), max(config.max_queue_bytes // 2, 1)),
            after_flush=self.batch,
            failed=_log_channel_error,
        )

    def _make_broker(self, node_id: str) -> MemoryBroker | RedisBroker:
        rules = make_history_rules(self._config, self._admittance.pusher_apps)
        if self._config.redis_url is None:
            return MemoryBroker(self.hub, self._config, make_history(self._config, rules, self.hub))
        return RedisBroker(
            self.hub,
            self._config,
            node_id=node_id,
            counters=self._counters,
            log_level=self._log_level,
            rules=rules,
        )

    def _make_presence(self, node_id: str) -> ProcessPresence | None:
        config, loop = self._config, asyncio.get_running_loop()
        modes, intervals = presence_modes(config), ChannelTable(presence_intervals(config))
        if not any(mode for _, mode in modes):
            return None
        find_mode: ChannelTable[PresenceMode] = ChannelTable(modes)

        def rule(channel: str) -> PresenceRule | None:
            mode = find_mode(channel)
            return None if mode is None else PresenceRule(mode, intervals(channel))

        members = PresenceMembers(self._roster)
        return ProcessPresence(
            *(rule, members, self.hub.notify, loop.call_soon, loop.call_later, self._counters, node_id)
        )

    def _make_presences(self, node_id: str) -> None:
        loop, has_members = asyncio.get_running_loop(), self._admittance.mounts.has_members
        self.presence = self._make_presence(node_id)
        self.members = ProcessMembers(
            node_id, self.hub.notify, loop.call_soon, loop.call_later, lambda: self.broker.is_up
        )
        self.hub.presence = (
            self.presence if has_members is None else HubPresence(self.members, has_members, self.presence)
        )

    def _make_cluster(self) -> OneProcess | RedisCluster:
        revocations = self._admittance.revocations
        apps = self.app_subscribers = make_app_subscribers(self._admittance.pusher_apps, self.hub)
        local = OneProcess(self.hub, self._roster, revocations, apps)
        if isinstance(self.broker, MemoryBroker):
            return local
        mounts = self._admittance.mounts
        return RedisCluster(
            *(self.broker, local, self.hub, self._roster, revocations),
            [each for each in (self.presence, mounts.has_members and self.members) if each is not None],
            find_node=mounts.node_of if mounts.id_schemes else node_of,
            apps=apps,
        )

    def _make_subscription_counts(self) -> None:
        apps, total = self._admittance.pusher_apps, self.cluster.app_subscribers
        counts = make_subscription_counts(apps, self.app_subscribers, self.hub, total, self.reports)
        if counts is not None and isinstance(self.cluster, RedisCluster):
            self.cluster.registry.count_changed = counts.changed

    def _make_webhooks(self) -> None:
        self.webhooks: Webhooks | None = None
        self.reports: Reports | None = None
        config, apps = self._config, self._admittance.pusher_apps
        if not config.webhooks and not config.pusher_webhooks:
            return
        from fastws.server.webhooks import ChannelReports, make_webhooks  # only loaded if a setting names a URL

        self.webhooks = make_webhooks(config, apps, self.broker, self._counters)
        if self.webhooks is not None:
            self.reports = self.members.reports = ChannelReports(
                *(self.webhooks, self.hub, config, apps, self.app_subscribers)
            )

    def _make_callouts(self) -> None:
        config = self._config
        metrics, authorizer, events = config.metrics_hook, config.authorizer, config.event_hook
        self.metrics_hook = (
            None if metrics is None else MetricsHook(metrics, config.workspace_channel, self.tasks.spawn)
        )
        self.authorizer = (
            None if authorizer is None else Authorizer(authorizer, timeout_seconds=config.authorizer_timeout)
        )
        self.event_hook = None if events is None else EventHook(events, self._counters)
        self._make_webhooks()
        self._make_subscription_counts()

    def _make_services(self) -> Services:
        admittance = self._admittance
        self.verifications = Verifications(admittance.tokens)
        return Services(
            config=self._config,
            commands=COMMANDS,
            mounts=admittance.mounts,
            hub=self.hub,
            broker=self.broker,
            history=self.broker.history,
            members=self.members,
            reports=self.reports,
            roster=self._roster,
            counters=self._counters,
            permissions=admittance.permissions,
            token_verifier=admittance.tokens,
            revocations=admittance.revocations,
            authorizer=self.authorizer,
            verifications=self.verifications,
            spawn=self.tasks.spawn,
            log_level=self._log_level,
            expiry=self.heartbeat,
            batch=self.batch,
            send_elsewhere=self.cluster.send,
            realm_connections_elsewhere=self.cluster.realm_connections_elsewhere,
            metrics_source=MetricsSource(self.hub, self.broker, self.metrics_hook).find,
            hook=self.event_hook,
        )

    def _make_transport(self, node_id: str) -> None:
        admittance, is_tls = self._admittance, self._admittance.tls is not None
        self.gate = Gate(self.services, admittance.mounts, self._gate_rules(node_id))
        self.status = Status(self.gate, self.broker)
        self.connection_log = ConnectionLog(self._log_level)
        self.transport_services = self._make_transport_services()
        self.opening = Opening(self.services, self.transport_services, self._config, is_tls=is_tls)

    def _make_transport_services(self) -> TransportServices:
        lifecycle = Lifecycle(
            gate=self.gate,
            hub=self.hub,
            roster=self._roster,
            counters=self._counters,
            heartbeat=self.heartbeat,
            log=self.connection_log,
            hook=self.event_hook,
        )
        return TransportServices(
            config=self._config,
            bounds=Bounds(self._config.max_queue_messages, self._config.max_queue_bytes),
            priorities=self._make_priorities(),
            hub=self.hub,
            roster=self._roster,
            counters=self._counters,
            batch=self.batch,
            heartbeat=self.heartbeat,
            lifecycle=lifecycle,
        )

    def _make_priorities(self) -> ChannelTable[str] | None:
        table = priorities(self._config)
        return ChannelTable(table) if any(priority for _, priority in table) else None

    def _gate_rules(self, node_id: str) -> GateRules:
        admittance = self._admittance
        return GateRules(
            config=self._config,
            node_id=node_id,
            allow_anonymous=admittance.permissions.allow_anonymous,
            local_peers=admittance.local_peers,
            allowed_origins=admittance.allowed_origins,
            allowed_hosts=admittance.allowed_hosts,
            trusted_proxies=admittance.trusted_proxies,
            descriptors=free_descriptors(),
        )

    def _make_broadcaster(self) -> InProcessBroadcaster:
        return InProcessBroadcaster(
            self._config,
            hub=self.hub,
            broker=self.broker,
            roster=self._roster,
            cluster=self.cluster,
            counters=self._counters,
            log_level=self._log_level,
        )

    def _make_application(self) -> Application:
        config, admittance = self._config, self._admittance
        return Application(
            hub=self.hub,
            broker=self.broker,
            history=self.broker.history,
            roster=self._roster,
            counters=self._counters,
            log_level=self._log_level,
            cluster=self.cluster,
            status=self.status,
            tokens=admittance.tokens,
            revocations=admittance.revocations,
            permissions=admittance.permissions,
            has_authorizer=self.authorizer is not None,
            broadcast_keys=admittance.broadcast_keys,
            aws_credentials=AwsCredentials(config.aws_credentials),
            has_configured_keys=admittance.has_configured_keys,
            local_peers=admittance.local_peers,
            broadcast_bucket=Bucket.of_rate(config.broadcast_rate),
            identify=BearerTokens(admittance.tokens, admittance.revocations, self.verifications),
            max_message_bytes=config.max_message_bytes,
        )

    def _make_protocols(self, workers_folder: Path | None) -> None:
        exposition = Exposition(self._counters, self.hub, self._roster, self.broker, self.webhooks)
        metrics: Handler = exposition
        endpoint = LogLevelEndpoint(self._log_level)
        check = UpgradeCheck(self.gate)
        self.worker_metrics: WorkerMetrics | None = None
        if workers_folder is not None:
            self.worker_metrics = WorkerMetrics(exposition, workers_folder)
            own = Router(self.application, self.worker_metrics, endpoint, check, private=[REVOCATIONS])
            # For connections from another worker of this machine.
            self.worker_protocol = self._protocol(own, MAX_SIBLING_BODY_BYTES, is_internal=True)
            metrics = workers = AllWorkerMetrics(self.worker_metrics, workers_folder)
            endpoint = LogLevelEndpoint(self._log_level, workers.forward)
        scraped = OnHosts(metrics, scrape_hosts(self._config))
        scrapes = Router(self.application, scraped, endpoint, check, only=SCRAPE_PATHS)
        # For connections to `metrics_address`.
        self.scrape_protocol = self._protocol(scrapes, MAX_SIBLING_BODY_BYTES, is_internal=True)
        public = metrics if self._config.metrics_address is None else not_on_this_port
        paths = self._admittance.mounts.table
        max_body_bytes = self._config.max_message_bytes + MAX_BODY_OVERHEAD_BYTES
        pusher = self._pusher_routes()
        clients = Router(
            *(self.application, public, endpoint, check),
            private=pusher,
            websocket_paths=paths,
            max_body_bytes=max_body_bytes,
        )
        largest = max(max_body_bytes, *(route.max_body_bytes or 0 for route in pusher), 0)
        self.client_protocol = self._protocol(clients, largest, is_internal=False)

    def _pusher_routes(self) -> list[Route]:
        apps = self._admittance.pusher_apps
        if not apps:
            return []
        from fastws.endpoints.pusher import PusherApi  # only loaded if there is an app

        return PusherApi(apps, self.members.read).routes()


def _log_channel_error(error: Exception) -> None:
    log.error("internal error while writing a channel", exc_info=error)
