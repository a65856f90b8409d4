"""What `status` and `history` read from the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import connection_settings
from analytics_refreshd.core.alerts.lifecycle import AlertRecord, AlertState
from analytics_refreshd.core.errors import UsageError
from analytics_refreshd.core.model import Delta, LeaderInfo, Outcome, Pause, Progress, Run, ViewResult
from analytics_refreshd.core.staleness import Age, Verdict, age_of, verdict
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.state.alerts import PostgresAlertStore
from analytics_refreshd.postgres.state.history import PostgresHistory
from analytics_refreshd.postgres.state.status import PostgresStatusReader


@dataclass(frozen=True, slots=True)
class ViewPicture:
    """One view in a status. `last` is its result in the last run that touched it."""

    view: str
    age: Age
    verdict: Verdict
    rows: int | None
    size_bytes: int | None
    last: ViewResult | None


@dataclass(frozen=True, slots=True)
class Picture:
    """The database as `status` shows it; read from the database only, never from another process."""

    database: str
    server_now: datetime
    views: tuple[ViewPicture, ...]
    leader: LeaderInfo | None
    progress: Progress | None
    pause: Pause | None
    delta: Delta
    alerts: tuple[AlertRecord, ...]
    history_available: bool
    problem: str | None

    @property
    def healthy(self) -> bool:
        """Every view fresh or merely late, its last run a success, the rollups exact, and nothing firing."""
        fine = all(
            item.verdict in (Verdict.FRESH, Verdict.LATE) and (item.last is None or item.last.success)
            for item in self.views
        )
        fine = fine and not self.delta.problems
        return fine and not any(record.state is AlertState.FIRING for record in self.alerts)


def _reading(config: Config) -> tuple[Session, PostgresStatusReader, PostgresHistory]:
    session = Session(Connector(connection_settings(config)))
    reader = PostgresStatusReader(session, config.refresh.status_function, config.refresh.views)
    return session, reader, PostgresHistory(session)


def database_picture(config: Config) -> Picture:
    """Read everything `status` shows. Raises DatabaseFault where the database cannot be reached."""
    session, reader, history = _reading(config)
    limits = config.limits()
    try:
        status = reader.read()
        runs = history.recent(20) if history.available else []
        views = []
        for item in status.views:
            age = age_of(item, status.server_now)
            results = (
                result
                for run in runs
                if run.outcome not in (None, Outcome.SKIPPED, Outcome.CANCELLED)
                for result in run.views
                if result.view == item.view
            )
            views.append(
                ViewPicture(
                    item.view,
                    age,
                    verdict(age.seconds, limits.max_age_seconds[item.view], limits.interval_seconds),
                    item.rows,
                    item.size_bytes,
                    next(results, None),
                )
            )
        alerts = PostgresAlertStore(session).load() if history.available else []
        return Picture(
            database=config.name,
            server_now=status.server_now,
            views=tuple(views),
            leader=reader.leader(),
            progress=reader.progress(),
            pause=reader.pause(),
            delta=reader.delta(),
            alerts=tuple(record for record in alerts if record.state is not AlertState.RESOLVED),
            history_available=history.available,
            problem=status.problem,
        )
    finally:
        session.close()


def past_runs(
    config: Config, *, since: timedelta | datetime, view: str | None, outcomes: Sequence[Outcome], limit: int
) -> list[Run]:
    """Runs from history since then, or that far back by the server's clock, newest first.

    Raises DatabaseFault without a database, UsageError without our tables.
    """
    session, reader, history = _reading(config)
    try:
        begin = since if isinstance(since, datetime) else reader.read().server_now - since
        runs = history.recent(limit, since=begin, view=view, outcomes=outcomes)
        if not history.available:
            raise UsageError("no history is kept here: `analytics-refreshd migrate` installs the tables for it")
        return runs
    finally:
        session.close()
