"""The one place that builds adapters and connects them to the cycles."""

import os
from collections.abc import Callable

from analytics_refreshd import __version__
from analytics_refreshd.app.alerts import Alerts
from analytics_refreshd.app.attempts import Attempts, CycleSettings, Watching
from analytics_refreshd.app.clock import SystemClock
from analytics_refreshd.app.database_health import DatabaseHealth
from analytics_refreshd.app.election import Election
from analytics_refreshd.app.evaluate_cycle import EvaluateCycle
from analytics_refreshd.app.memory import Identity, Memory
from analytics_refreshd.app.probing import Prober
from analytics_refreshd.app.recorder import Recorder
from analytics_refreshd.app.refresh_cycle import RefreshCycle
from analytics_refreshd.app.run_logger import RunLogger
from analytics_refreshd.app.vitals import Vitals
from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import (
    connection_settings,
    delivery_settings,
    receiver_settings,
    refresh_settings,
)
from analytics_refreshd.core.errors import ConfigError, RefreshdError
from analytics_refreshd.core.model import Run
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
from analytics_refreshd.postgres.state.leader import PostgresLeader
from analytics_refreshd.postgres.state.status import PostgresStatusReader


def cycle_settings(config: Config) -> CycleSettings:
    """What the refresh cycle needs of the configuration."""
    return CycleSettings(
        views=tuple(config.refresh.views),
        interval=config.schedule.interval,
        lock_timeout_seconds=config.lock_timeout_seconds,
        deadline_seconds=config.deadline_seconds,
        isolation=config.refresh.isolation,
        rows_collapse_ratio=config.refresh.rows_collapse_ratio,
        slow_factor=config.refresh.slow_factor,
    )


def new_memory(config: Config, clock: SystemClock) -> Memory:
    """The memory for a process of this configuration."""
    return Memory(
        Identity(config.name, config.replica, __version__),
        views=config.refresh.views,
        limits=config.limits(),
        isolation=config.refresh.isolation,
        clock=clock,
    )


_TAKEN_OVER = ("alerts.", "http.public_url", "log.level", "refresh.", "schedule.", "staleness.")
"""Whose change `Service.apply` takes over; a key that is added elsewhere needs a restart until it is named here."""


def needs_restart(started: Config, config: Config) -> list[str]:
    """The keys in which `config` differs from what the process started with, and which only a start can change."""
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
    """The queries that `[queries] probes` names. Raises ConfigError, naming what is wrong."""
    try:
        catalogue = Catalogue.load(config.queries.directory)
        return [catalogue.get(name) for name in config.queries.probes]
    except RefreshdError as error:
        raise ConfigError([f"[queries] {error}"]) from error


class Service:
    """Everything a daemon consists of, built and connected, not yet started."""

    def __init__(self, config: Config, *, warnings: list[str]) -> None:
        self.config = config
        self._started = config
        self.warnings = warnings
        self.clock = SystemClock()
        self.memory = new_memory(config, self.clock)
        probed = _queries_to_probe(config)
        replica = self.memory.identity.replica
        self.log: JsonLog = configure(LogSettings(config.log.level, config.log.format), config.name, replica)
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
        self.health = Vitals(self.memory, self.clock)
        self.database = DatabaseHealth(self.memory, self.log)
        self.connector = Connector(connection_settings(config), on_reconnect=self.metrics.reconnected)
        self.session = Session(self.connector)
        self.status = PostgresStatusReader(self.session, config.refresh.status_function, config.refresh.views)
        self.history = PostgresHistory(self.session)
        self.notifier = Delivery(
            receiver_settings(config),
            delivery_settings(config, self.memory.identity.database, self.memory.identity.replica),
            store=PostgresDeliveryStore(self.session),
            log=self.log,
            metrics=self.metrics,
            clock=self.clock,
        )
        self.recorder = Recorder(self.history, self.memory, self.log, self.metrics, self.clock, config.history.buffer)
        self.prober = Prober(
            PostgresProbes(self.session, probed, self.clock.monotonic),
            config.queries.probe_budget.total_seconds(),
            metrics=self.metrics,
            memory=self.memory,
            log=self.log,
        )
        self.refresher = PostgresRefresher(self.connector, refresh_settings(config))
        self.leader = PostgresLeader(self.connector)
        self.election = Election(
            self.leader,
            self.memory,
            self.log,
            self.clock,
            on_acquired=self._acquired,
            on_lost=self._lost,
            on_fault=self.database.failed,
            on_answer=self.database.answered,
        )
        run_logger = RunLogger(self.log, self.metrics, self.database)
        self.attempts = Attempts(
            cycle_settings(config),
            refresher=self.refresher,
            status=self.status,
            memory=self.memory,
            health=self.database,
            log=self.log,
            metrics=self.metrics,
            run_logger=run_logger,
            clock=self.clock,
            watching=Watching(self.election.watch, self.election.unwatch),
        )
        self.cycle = RefreshCycle(
            attempts=self.attempts,
            recorder=self.recorder,
            status=self.status,
            memory=self.memory,
            health=self.database,
            log=self.log,
            run_logger=run_logger,
            metrics=self.metrics,
            notifier=self.notifier,
            clock=self.clock,
            after_run=lambda run: self.on_finished(run),
        )
        self.alerts = Alerts(
            store=PostgresAlertStore(self.session),
            history=self.history,
            notifier=self.notifier,
            recorder=self.recorder,
            memory=self.memory,
            health=self.database,
            log=self.log,
            clock=self.clock,
        )
        self.evaluate = EvaluateCycle(
            status=self.status,
            history=self.history,
            recorder=self.recorder,
            alerts=self.alerts,
            memory=self.memory,
            health=self.database,
            log=self.log,
            metrics=self.metrics,
            clock=self.clock,
            retention=config.history.retention,
        )
        self.http = HttpServer(
            HttpSettings(config.http.host, config.http.port, config.http.page), self.health, self.metrics
        )
        self.on_leading: Callable[[], None] = lambda: None
        self.on_finished: Callable[[Run], None] = lambda run: None

    def start_http(self) -> str:
        """Serve metrics, probes and page; returns the address. RefreshdError where the port cannot be bound."""
        return f"{self.config.http.host}:{self.http.start()}"

    def apply(self, config: Config) -> list[str]:
        """Take over what can change while running; returns the keys whose change needs a restart."""
        self.refresher.settings = refresh_settings(config)
        self.attempts.settings = cycle_settings(config)
        self.status.configure(config.refresh.status_function, config.refresh.views)
        self.log.set_level(config.log.level)
        self.notifier.configure(delivery_settings(config, self.memory.identity.database, self.memory.identity.replica))
        self.metrics.configure(config.refresh.views, self.prober.endpoints, tuple(self._started.receivers))
        self.memory.update(
            views=tuple(config.refresh.views), limits=config.limits(), isolation=config.refresh.isolation
        )
        self.config = config
        return needs_restart(self._started, config)

    def close(self, within_seconds: float) -> None:
        """Deliver what waits, then end every thread and connection."""
        until = self.clock.monotonic() + within_seconds
        self.evaluate.finish(within_seconds * 0.2)
        self.notifier.stop(max(0.1, within_seconds * 0.7))
        self.refresher.close()
        self.session.close()
        self.connector.stop()
        if self.clock.monotonic() < until:
            self.http.close()

    def _acquired(self) -> None:
        self.alerts.invalidate()
        self.on_leading()

    def _lost(self) -> None:
        self.attempts.abandon()
