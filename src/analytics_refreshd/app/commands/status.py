"""Reads from the database what `status` and `history` show."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from analytics_refreshd.app.clock import SystemClock
from analytics_refreshd.app.state import initial_state
from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import connection_settings
from analytics_refreshd.core.errors import DatabaseFault, RefreshdError
from analytics_refreshd.core.evidence import overdue_since
from analytics_refreshd.core.model import Outcome, Run
from analytics_refreshd.core.outlook import day_outlooks, unknown_outlooks
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.state import Source
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.state.alerts import PostgresAlertStore
from analytics_refreshd.postgres.state.history import PostgresHistory
from analytics_refreshd.postgres.state.outbox import PostgresOutbox
from analytics_refreshd.postgres.state.outlook import PostgresLimitDays
from analytics_refreshd.postgres.state.sessions import server_now
from analytics_refreshd.postgres.state.status import PostgresStatusReader

_RUNS_READ = 400
_Value = TypeVar("_Value")


class NoHistory(RefreshdError):
    """The database keeps no history."""


def _reading(config: Config) -> tuple[Session, PostgresStatusReader, PostgresHistory]:
    session = Session(Connector(connection_settings(config)))
    reader = PostgresStatusReader(session, config.refresh.status_function, config.refresh.views)
    return session, reader, PostgresHistory(session)


class _Parts:
    """Reads part by part. What cannot be read, such as a locked table, keeps nothing else from being shown."""

    def __init__(self) -> None:
        self.unread: list[str] = []

    def read(self, what: str, read: Callable[[], _Value]) -> _Value | None:
        """Return what `read` does; None, and a sentence in `unread`, where it cannot be read."""
        try:
            return read()
        except DatabaseFault as fault:
            if fault.error_class.away:
                raise
            self.unread.append(f"{what}: {fault.message}")
            return None


def database_snapshot(config: Config) -> Snapshot:
    """Read everything that `status` shows. Raises DatabaseFault where the database cannot be reached."""
    clock = SystemClock()
    session, reader, history = _reading(config)
    try:
        status = reader.read()
        read_monotonic = clock.monotonic()
        parts = _Parts()
        parts.unread += [f"status_function: {text}" for text in (status.problem, status.blocked) if text]
        parts.unread += [f"records: {status.unread}"] if status.unread else []
        runs = parts.read("runs", lambda: history.recent(_RUNS_READ)) or []
        alerts = parts.read("alerts", PostgresAlertStore(session).load) or []
        sizes = parts.read("disk", lambda: history.sizes(measure=False)) if config.alerts.disk_bytes else None
        began = initial_state(config)
        days = parts.read("outlook", lambda: PostgresLimitDays(session).read(began.limits.min_executions))
        state = replace(
            began,
            source=Source.DATABASE,
            replica=None,
            history_pending=None,
            database_reached=True,
            status=status,
            evaluated_monotonic=read_monotonic,
            rates=parts.read("rates", reader.rates),
            pause=parts.read("pause", reader.pause),
            leader=parts.read("leader", reader.leader),
            progress=parts.read("progress", reader.progress),
            delta=parts.read("delta", reader.delta),
            retention=parts.read("retention", reader.retention),
            outlooks=day_outlooks(days, began.limits) if days else unknown_outlooks(began.limits, "it cannot be read"),
            warehouse=parts.read("outbox", PostgresOutbox(session).state) if config.warehouse.url else None,
            installation_problems=parts.read("installation", reader.installation_problems) or (),
            runs=tuple(runs),
            sizes=tuple(sizes or ()),
            alerts={(record.alert, record.view): record for record in alerts},
            history_available=history.available,
        )
        state = replace(state, unread=tuple(parts.unread))
        snapshot = Snapshot(state, clock.now(), clock.monotonic())
        if state.delta is None:
            return snapshot
        overdue = replace(state.delta, overdue_since=overdue_since(snapshot))
        return replace(snapshot, state=replace(state, delta=overdue))
    finally:
        session.close()


def past_runs(
    config: Config, *, since: timedelta | datetime, view: str | None, outcomes: Sequence[Outcome], limit: int
) -> list[Run]:
    """Read runs from history, newest first. `since` may count back from the server's now.

    Raises DatabaseFault without a database, NoHistory without our tables.
    """
    session, _, history = _reading(config)
    try:
        begin = since if isinstance(since, datetime) else session.run(server_now) - since
        runs = history.recent(limit, since=begin, view=view, outcomes=outcomes)
        if not history.available:
            raise NoHistory("no history is kept here: `analytics-refreshd migrate` installs the tables for it")
        return runs
    finally:
        session.close()
