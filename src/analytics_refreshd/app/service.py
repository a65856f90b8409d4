"""Builds the adapters and connects them to the cycles."""

import os
from collections.abc import Callable
from dataclasses import replace

from analytics_refreshd import __version__
from analytics_refreshd.app.alerts import AlertEvaluator
from analytics_refreshd.app.attempts import Attempts, Watching
from analytics_refreshd.app.availability import DatabaseAvailability
from analytics_refreshd.app.clock import SystemClock
from analytics_refreshd.app.cycle_settings import CycleSettings
from analytics_refreshd.app.election import Election
from analytics_refreshd.app.evaluate_cycle import EvaluateCycle
from analytics_refreshd.app.evaluation_watch import EvaluationWatch
from analytics_refreshd.app.failing_triggers import FailingTriggers
from analytics_refreshd.app.health import HealthChecks
from analytics_refreshd.app.outlook import LimitOutlooks
from analytics_refreshd.app.probing import Prober
from analytics_refreshd.app.recorder import Recorder
from analytics_refreshd.app.refresh_cycle import RefreshCycle
from analytics_refreshd.app.requests import OperatorRequests
from analytics_refreshd.app.run_logger import RunLogger
from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.app.state import StateHolder, initial_state
from analytics_refreshd.app.telemetry import STOP_SECONDS, telemetry
from analytics_refreshd.app.unusual import UnusualHours
from analytics_refreshd.app.warehouse import WarehouseForwarder
from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import (
    connection_settings,
    delivery_settings,
    http_names,
    receiver_settings,
    refresh_settings,
    warehouse_settings,
)
from analytics_refreshd.core.errors import ConfigError, RefreshdError
from analytics_refreshd.core.metrics import DATABASE_RECONNECTS
from analytics_refreshd.core.model import Run
from analytics_refreshd.core.otel_metrics import OTEL_EXPORT_FAILURES
from analytics_refreshd.core.parts import Part
from analytics_refreshd.core.telemetry import NoTracer
from analytics_refreshd.notify.delivery import Delivery
from analytics_refreshd.observe.http import HttpServer, HttpSettings
from analytics_refreshd.observe.log.sink import JsonLog, LogSettings, configure
from analytics_refreshd.observe.metrics.counters import PrometheusMetrics
from analytics_refreshd.observe.systemd import SystemdNotifier
from analytics_refreshd.postgres.catalogue.definition import Query
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.probes import PostgresProbes
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.refresh.refresher import PostgresRefresher
from analytics_refreshd.postgres.state.alerts import PostgresAlertStore, PostgresDeliveryStore
from analytics_refreshd.postgres.state.history import PostgresHistory
from analytics_refreshd.postgres.state.hours import PostgresHourCells
from analytics_refreshd.postgres.state.leader import PostgresLeader
from analytics_refreshd.postgres.state.outlook import PostgresLimitDays
from analytics_refreshd.postgres.state.requests import PostgresRequests
from analytics_refreshd.postgres.state.status import PostgresStatusReader
from analytics_refreshd.postgres.state.triggers import PostgresTriggerRates


def cycle_settings(config: Config) -> CycleSettings:
    """Return what the refresh cycle needs of the configuration."""
    return CycleSettings(
        views=tuple(config.refresh.views),
        interval=config.plan().shortest,
        lock_timeout_seconds=config.lock_timeout_seconds,
        deadline_seconds=config.deadline_seconds,
        isolation=config.refresh.isolation,
        rows_collapse_ratio=config.refresh.rows_collapse_ratio,
        slow_factor=config.refresh.slow_factor,
        own=config.view_times,
    )


_TAKEN_OVER = (
    "alerts.",
    "api.",
    "costs.",
    "http.hosts",
    "http.public_url",
    "log.level",
    "refresh.",
    "retention.",
    "schedule.",
    "staleness.",
    "thresholds.",
)
"""The keys that `Service.apply` takes over, or that only commands use; all others need a restart."""


def needs_restart(started: Config, config: Config) -> list[str]:
    """Return the changed keys that need a restart."""
    before, after = (
        {
            f"{section}.{key}": value
            for section, keys in each.model_dump(by_alias=True).items()
            for key, value in keys.items()
        }
        for each in (started, config)
    )
    differing = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    return sorted(key for key in differing if not key.startswith(_TAKEN_OVER))


def _queries_to_probe(config: Config) -> list[Query]:
    """Return the queries that `[queries] probes` names. Raises ConfigError, naming what is wrong."""
    try:
        catalogue = Catalogue.load(config.queries.directory)
        return [catalogue.get(name) for name in config.queries.probes]
    except RefreshdError as error:
        raise ConfigError([f"[queries] {error}"]) from error


class Service:
    """Builds and connects everything that a daemon consists of; starts nothing."""

    def __init__(self, config: Config, *, warnings: list[str]) -> None:
        self.config = config
        self._started = config
        self.warnings = warnings
        self.clock = SystemClock()
        self.state = StateHolder(initial_state(config), self.clock)
        probed = _queries_to_probe(config)
        self.log: JsonLog = configure(LogSettings(config.log.level, config.log.format), config.name, config.replica)
        self.metrics = PrometheusMetrics(
            config.name,
            __version__,
            config.refresh.views,
            endpoints=[query.endpoint for query in probed],
            receivers=tuple(config.receivers),
            log_lines_lost=lambda: self.log.lost,
            connections=lambda: self.connector.open_connections,
        )
        self.systemd = SystemdNotifier(os.environ)
        self.health = HealthChecks(self.state, self.clock)
        self.database = DatabaseAvailability(self.state, self.log, lambda: self.connector.connections_made)
        self.telemetry = telemetry(
            config,
            "analytics-refreshd",
            collect=self.metrics.registry.collect,
            log=self.log,
            count_failure=lambda signal: self.metrics.count(OTEL_EXPORT_FAILURES, signal=signal),
        )
        self.log.trace_ids = self.telemetry.ids
        tracer = self.telemetry.tracer or NoTracer()
        runtime = Runtime(self.state, self.database, self.log, self.metrics, self.clock, tracer)
        self.connector = Connector(
            connection_settings(config), on_reconnect=lambda: self.metrics.count(DATABASE_RECONNECTS)
        )
        self._build_adapters(config)
        self._build_cycles(config, runtime, probed)
        self.http = HttpServer(
            HttpSettings(config.http.host, config.http.port, config.http.page, http_names(config)),
            self.health,
            self.metrics,
        )
        self.on_leading: Callable[[], None] = lambda: None
        self.on_finished: Callable[[Run], None] = lambda run: None
        self.on_request: Callable[[], None] = lambda: None

    def _build_adapters(self, config: Config) -> None:
        self.session = Session(self.connector)
        self.status = PostgresStatusReader(self.session, config.refresh.status_function, config.refresh.views)
        self.history = PostgresHistory(self.session)
        self.notifier = Delivery(
            receiver_settings(config),
            delivery_settings(config, config.name, config.replica),
            store=PostgresDeliveryStore(self.session),
            log=self.log,
            metrics=self.metrics,
            clock=self.clock,
        )
        self.refresher = PostgresRefresher(self.connector, refresh_settings(config))
        self.leader = PostgresLeader(self.connector, on_request=lambda: self.on_request())

    def _build_cycles(self, config: Config, runtime: Runtime, probed: list[Query]) -> None:
        self.recorder = Recorder(runtime, self.history, config.history.buffer)
        probes = PostgresProbes(self.session, probed, self.clock.monotonic)
        self.prober = Prober(runtime, probes, config.queries.probe_budget.total_seconds())
        self.election = Election(runtime, self.leader, on_acquired=self._acquired, on_lost=self._lost)
        self.run_logger = run_logger = RunLogger(self.log, self.metrics, self.database)
        self.attempts = Attempts(
            runtime,
            cycle_settings(config),
            refresher=self.refresher,
            status=self.status,
            run_logger=run_logger,
            watching=Watching(self.election.watch, self.election.unwatch),
        )
        self.cycle = RefreshCycle(
            runtime,
            attempts=self.attempts,
            recorder=self.recorder,
            status=self.status,
            run_logger=run_logger,
            notifier=self.notifier,
            after_run=lambda run: self.on_finished(run),
        )
        store = PostgresAlertStore(self.session)
        self.alerts = AlertEvaluator(
            runtime,
            store=store,
            history=self.history,
            notifier=self.notifier,
            on_lead_over=self.election.ask,
        )
        self.evaluation_watch = EvaluationWatch(runtime, store=store, notifier=self.notifier)
        store_of_requests = PostgresRequests(self.session, config.replica)
        self.requests = OperatorRequests(runtime, store=store_of_requests, status=self.status)
        self.requests.on_joined = run_logger.quiet_runs.join
        self.forwarder = self._build_forwarder(config, runtime)
        self.unusual = UnusualHours(runtime, PostgresHourCells(self.session))
        self.triggers = FailingTriggers(runtime, PostgresTriggerRates(self.session))
        self.outlooks = LimitOutlooks(runtime, PostgresLimitDays(self.session))
        self.evaluate = EvaluateCycle(
            runtime,
            status=self.status,
            history=self.history,
            recorder=self.recorder,
            alerts=self.alerts,
            retention=config.history.retention,
            within=self.session.within,
            others={
                Part.REQUESTS: self.requests.serve,
                Part.UNUSUAL: self.unusual.read,
                Part.TRIGGERS: self.triggers.read,
                Part.OUTLOOK: self.outlooks.read,
                **({Part.OUTBOX: self.forwarder.read} if self.forwarder is not None else {}),
            },
        )

    def _build_forwarder(self, config: Config, runtime: Runtime) -> WarehouseForwarder | None:
        """Build what sends to the warehouse, None without one: nothing of it is imported then."""
        settings = warehouse_settings(config)
        if settings is None:
            return None
        from analytics_refreshd.app.forwarding import build_sender

        return WarehouseForwarder(runtime, *build_sender(self.connector, self.session, settings, runtime.state.leads))

    def start_http(self) -> str:
        """Serve metrics, probes and page; return the address. Raises RefreshdError where the port cannot be bound."""
        return f"{self.config.http.host}:{self.http.start()}"

    def apply(self, config: Config) -> list[str]:
        """Take over what can change while running. Returns the keys that need a restart."""
        self.refresher.settings = refresh_settings(config)
        self.attempts.settings = cycle_settings(config)
        self.status.configure(config.refresh.status_function, config.refresh.views)
        self.log.set_level(config.log.level)
        self.http.allow(http_names(config))
        self.notifier.configure(delivery_settings(config, self._started.name, self._started.replica))
        self.metrics.configure(config.refresh.views, self.prober.endpoints, tuple(self._started.receivers))
        fresh = initial_state(config)
        self.state.change(
            lambda state: replace(
                state,
                views=fresh.views,
                limits=fresh.limits,
                isolation=fresh.isolation,
                runbooks_url=fresh.runbooks_url,
                unusual_enabled=fresh.unusual_enabled,
            )
        )
        self.config = config
        return needs_restart(self._started, config)

    def close(self, within_seconds: float) -> None:
        """Deliver what waits, then end every thread and connection."""
        until = self.clock.monotonic() + within_seconds
        self.run_logger.quiet_runs.flush()
        self.evaluate.finish(within_seconds * 0.2)
        if self.forwarder is not None:
            self.forwarder.stop()
        self.notifier.stop(max(0.1, within_seconds * 0.7))
        self.refresher.close()
        self.session.close()
        self.connector.stop()
        self.telemetry.stop(min(STOP_SECONDS, max(0.1, until - self.clock.monotonic())))
        if self.clock.monotonic() < until:
            self.http.close()

    def _acquired(self) -> None:
        self.alerts.invalidate()
        self.on_leading()

    def _lost(self) -> None:
        self.attempts.abandon()
        self.run_logger.quiet_runs.flush()
