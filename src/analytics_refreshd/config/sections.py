"""The configuration's sections, and the values derived from them."""

import os
import socket
import stat
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from psycopg import conninfo
from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from analytics_refreshd.config.alerts import AlertsSection, StalenessSection
from analytics_refreshd.config.api import ApiSection
from analytics_refreshd.config.costs import CostsSection
from analytics_refreshd.config.otel import OtelSection
from analytics_refreshd.config.outlets import HttpSection, LogSection
from analytics_refreshd.config.receivers import AnyReceiver
from analytics_refreshd.config.retention import HistorySection, RetentionSection
from analytics_refreshd.config.schedule import ScheduleSection, own_times, times
from analytics_refreshd.config.thresholds import ThresholdsSection
from analytics_refreshd.config.values import (
    Duration,
    Identifier,
    PositiveDuration,
    SchemaName,
    Section,
    ViewName,
    between,
)
from analytics_refreshd.config.warehouse import WarehouseSection, warehouse_warnings
from analytics_refreshd.core.model import VIEWS, Limits
from analytics_refreshd.core.names import REFRESH_FUNCTION, STATUS_FUNCTION
from analytics_refreshd.core.schedule import Schedule, ViewTimes, splay_offset
from analytics_refreshd.postgres.connection.libpq import used_by_libpq

PREFIX = "ANALYTICS_REFRESHD_"
_SECRET = {"database": {"url", "password_command"}, "api": {"write_url"}}
"""What is not logged: a URL may hold a password."""


class ServiceSection(Section):
    """Who this daemon is."""

    name: str | None = None
    replica: str | None = None


class DatabaseSection(Section):
    """How to reach the database.

    What is left out is up to libpq: environment, service file, PGPASSFILE.
    """

    url: str | None = None
    host: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    dbname: str | None = None
    user: str | None = None
    service: str | None = None
    db_schema: Annotated[SchemaName, Field(alias="schema")] = "public"
    sslmode: str | None = None
    sslrootcert: str | None = None
    password_file: Path | None = None
    password_command: list[str] | None = None
    connect_timeout: Annotated[Duration, between("2s")] = timedelta(seconds=5)

    def parameters(self) -> dict[str, str | int]:
        """Return libpq's keywords that have a key of their own here."""
        keys = ("host", "port", "dbname", "user", "service", "sslmode", "sslrootcert")
        return {key: value for key in keys if (value := getattr(self, key)) is not None}


class RefreshSection(Section):
    """What to call, and how long it may take."""

    function: Identifier = REFRESH_FUNCTION
    status_function: Identifier = STATUS_FUNCTION
    views: Annotated[list[ViewName], Field(min_length=1, max_length=100)] = Field(default_factory=lambda: list(VIEWS))
    isolation: Literal["cycle", "view"] = "cycle"
    parallel: Annotated[int, Field(ge=1, le=8)] = 2
    lock_timeout: PositiveDuration | None = None
    statement_timeout: PositiveDuration | None = None
    deadline: PositiveDuration | None = None
    rows_collapse_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.5
    slow_factor: Annotated[float, Field(ge=0)] = 3.0


class QueriesSection(Section):
    """The user's own queries, and which to probe."""

    directory: Path | None = None
    probes: list[str] = Field(default_factory=list)
    probe_budget: PositiveDuration = timedelta(seconds=10)


class EnvironmentFirst(BaseSettings):
    """Let the environment override settings."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the environment first, then what `load` read.

        An .env file and a secrets folder are not read.
        """
        return (env_settings, init_settings)


class Config(EnvironmentFirst):
    """The whole configuration, validated.

    Sections are attributes; derived values are properties and methods.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    service: ServiceSection = ServiceSection()
    database: DatabaseSection = DatabaseSection()
    schedule: ScheduleSection = ScheduleSection()
    refresh: RefreshSection = RefreshSection()
    staleness: StalenessSection = StalenessSection()
    alerts: AlertsSection = AlertsSection()
    receivers: dict[str, AnyReceiver] = Field(default_factory=dict)
    history: HistorySection = HistorySection()
    retention: RetentionSection = RetentionSection()
    queries: QueriesSection = QueriesSection()
    http: HttpSection = HttpSection()
    log: LogSection = LogSection()
    otel: OtelSection = OtelSection()
    api: ApiSection = ApiSection()
    costs: CostsSection = CostsSection()
    thresholds: ThresholdsSection = ThresholdsSection()
    warehouse: WarehouseSection = WarehouseSection()

    # -- what follows from the sections -------------------------------------------------------------------

    @property
    def interval_seconds(self) -> float:
        """Return the slot length in seconds."""
        return self.schedule.interval.total_seconds()

    @property
    def shortest_interval_seconds(self) -> float:
        """Return the shortest interval of a view in seconds."""
        return self.schedule.shortest_seconds(self.refresh.views)

    def plan(self, name: str | None = None) -> Schedule:
        """Return the slots of all views. `name` decides on their splay, the daemon's own by default."""
        offset = splay_offset(name or self.name, self.schedule.splay)
        return Schedule(self.schedule.interval, offset, tuple(self.refresh.views), self.schedule.views)

    @property
    def lock_timeout_seconds(self) -> float:
        """Return how long one view may wait for its lock. The default is 10 % of the shortest interval."""
        return times(self.shortest_interval_seconds, self.refresh.lock_timeout, None, None).lock_timeout_seconds

    @property
    def statement_timeout_seconds(self) -> float:
        """Return how long the server lets the call run. The default is 80 % of the interval."""
        return times(self.interval_seconds, None, self.refresh.statement_timeout, None).statement_timeout_seconds

    @property
    def deadline_seconds(self) -> float:
        """Return after how long the daemon ends the call itself. The default is 83 % of the interval."""
        return times(self.interval_seconds, None, None, self.refresh.deadline).deadline_seconds

    @property
    def view_times(self) -> dict[str, ViewTimes]:
        """Return the times of views with an interval of their own."""
        most, refresh = self.lock_timeout_seconds, self.refresh
        return {
            view: own_times(own.total_seconds(), most, refresh.statement_timeout, refresh.deadline)
            for view, own in self.schedule.views.items()
        }

    @property
    def evaluate_seconds(self) -> float:
        """Return how often alerts are evaluated. The default is the smaller of 30 s and the shortest interval."""
        every = self.alerts.evaluate_every
        return every.total_seconds() if every else min(30.0, self.shortest_interval_seconds)

    @property
    def conninfo(self) -> dict[str, str]:
        """Return the configured libpq keywords."""
        return libpq_keywords(self.database)

    @property
    def name(self) -> str:
        """Return the daemon's name, by default the database's."""
        if self.service.name:
            return self.service.name
        given = self.conninfo
        # without a service that can be read libpq does not say
        return (used_by_libpq(given) or given).get("dbname") or given.get("service") or "postgres"

    @property
    def replica(self) -> str:
        """Return this replica's name, by default host name and process id."""
        return self.service.replica or f"{socket.gethostname()}-{os.getpid()}"

    def limits(self) -> Limits:
        """Return the thresholds of the alert rules."""
        interval = self.interval_seconds
        general = self.staleness.max_age.total_seconds() if self.staleness.max_age else 2 * interval
        critical = self.staleness.critical_age.total_seconds() if self.staleness.critical_age else 2 * general
        every = {view: own.total_seconds() for view, own in self.schedule.views.items()}
        own = {} if self.staleness.max_age else {view: 2 * seconds for view, seconds in every.items()}
        own |= {view: age.total_seconds() for view, age in self.staleness.views.items()}
        stale_for = self.alerts.stale_for
        return Limits(
            interval_seconds=interval,
            view_interval_seconds=every,
            view_stale_for_seconds={view: min(60.0, seconds) for view, seconds in every.items() if stale_for is None},
            shortest_interval_seconds=self.shortest_interval_seconds if every else None,
            max_age_seconds={view: own.get(view, general) for view in self.refresh.views},
            critical_age_seconds={view: 2 * own[view] if view in own else critical for view in self.refresh.views},
            stale_for_seconds=min(60.0, interval) if stale_for is None else stale_for.total_seconds(),
            slow_seconds=self.alerts.slow_after.total_seconds(),
            slow_after_runs=self.alerts.slow_after_runs,
            failed_after_runs=self.alerts.failed_after_runs,
            resolve_after_runs=self.alerts.resolve_after_runs,
            success_rate_min_percent=self.alerts.success_rate_min,
            latency_p95_max_seconds=self.alerts.latency_p95_max.total_seconds(),
            min_executions=self.alerts.min_executions,
            trigger_success_rate_min_percent=self.alerts.trigger_success_rate_min,
            trigger_min_executions=self.alerts.trigger_min_executions,
            database_unavailable_for_seconds=self.alerts.database_unavailable_for.total_seconds(),
            history_failing_for_seconds=self.alerts.history_failing_for.total_seconds(),
            no_leader_for_seconds=self.alerts.no_leader_for.total_seconds(),
            evaluate_seconds=self.evaluate_seconds,
            retention_overdue_seconds=self.retention.overdue_seconds,
            warehouse_behind_seconds=self.warehouse.behind_seconds,
            disk_bytes=self.alerts.disk_bytes,
            disk_full_within_seconds=self.alerts.disk_full_within.total_seconds(),
        )

    def warnings(self, path: Path | None = None) -> list[str]:
        """Return what is accepted but unwise, one sentence each."""
        found = []
        secret = self.database.password_file
        if secret is not None and stat.S_IMODE(secret.stat().st_mode) & 0o004:
            found.append("database.password_file can be read by every user of this machine; chmod 600 it")
        holds_password = "password" in self.conninfo
        if holds_password and path is not None and stat.S_IMODE(path.stat().st_mode) & 0o004:
            found.append("the configuration file holds a password and can be read by every user; chmod 600 it")
        return [*found, *warehouse_warnings(self.warehouse)]

    def public(self) -> dict[str, Any]:
        """Return the configuration for the log, without secrets.

        Addresses of receivers and the connection string are left out.
        """
        shown = self.model_dump(mode="json", by_alias=True, exclude=_SECRET)
        for name, receiver in self.receivers.items():
            for key in receiver.secret_keys():
                del shown["receivers"][name][key]
        return shown


def libpq_keywords(database: DatabaseSection) -> dict[str, str]:
    """Return the configured libpq keywords, without those of libpq's environment."""
    given = {
        key: str(value) for key, value in conninfo.conninfo_to_dict(database.url or "").items() if value is not None
    }
    return given | {key: str(value) for key, value in database.parameters().items()}
