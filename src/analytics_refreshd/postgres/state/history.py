"""Stores runs and their views in the database."""

import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import class_row, dict_row

from analytics_refreshd.core.cost import FIGURES, Cost, known_cost
from analytics_refreshd.core.disk import SizeSample
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Origin, Outcome, Reason, Run, ViewResult
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.server import BIGGEST_BIGINT
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import trusting

_SECONDS = 5.0
_TURN_SECONDS = 1.0
"""How long a starting refresh waits for the shared connection; after that its row is written later."""
_LOCK_SECONDS = 1.0
"""How long to wait for a lock on our tables: others wait for the connection, and the next call comes soon."""
_GONE = frozenset({"42P01", "3F000"})
_Value = TypeVar("_Value")
_Member = TypeVar("_Member", bound=Enum)


class PostgresHistory:
    """`core.ports.History` on the shared session.

    Columns are always listed, so that a schema one version newer works as well. Statements have 5 s, and a
    lock has one: a locked table delays a row, and no refresh.
    """

    def __init__(self, session: Session, *, seconds: float = _SECONDS) -> None:
        self._session = session
        self._seconds = seconds
        self._statements = blocks("state/history.sql")
        self._present: bool | None = None
        self._dates_views = False
        self._records_costs = False
        self._records_sizes = False
        self._may_record = False

    @property
    def available(self) -> bool:
        """As `core.ports.History.available`; True until another call has looked."""
        return self._present is not False

    def begin(self, run: Run) -> None:
        """As `core.ports.History.begin`; started_at is by the clock that the run names."""
        row = self._row(run)
        self._run(lambda connection: connection.execute(self._statements["begin_run"], row), None, _TURN_SECONDS)

    def finish(self, run: Run) -> None:
        """As `core.ports.History.finish`, in one transaction; a second call keeps both times."""

        asked = time.monotonic()

        def work(connection: BoundedConnection) -> None:
            connection.execute(self._with_costs("finish_run", "run"), self._row(run))
            if run.views:
                connection.execute(self._with_costs("finish_view", "view"), _view_rows(run))
            if run.views and self._dates_views:
                # the server dated the run when it wrote it, which is later than its end
                late = time.monotonic() - asked if run.clock == "server" else 0.0
                connection.execute(self._statements["date_views"], _view_ends(run, timedelta(seconds=late)))
            if self._may_record and any(view.success for view in run.views):
                self._record_successes(connection, run.run_id)

        self._run(work, None)

    def recent(
        self,
        limit: int,
        *,
        since: datetime | None = None,
        view: str | None = None,
        outcomes: Sequence[Outcome] = (),
    ) -> list[Run]:
        """As `core.ports.History.recent`; with `view`, only runs that have its result."""
        parameters = {"limit": limit, "since": since, "view": view, "outcomes": [str(outcome) for outcome in outcomes]}

        def work(connection: BoundedConnection) -> list[Run]:
            cursor = connection.cursor(row_factory=dict_row)
            of_view = self._statements["of_view"] if view is not None else ""
            runs = cursor.execute(self._with_costs("recent_runs", "run", of_view=of_view), parameters).fetchall()
            views: dict[UUID, list[ViewResult]] = {row["run_id"]: [] for row in runs}
            chosen = {"run_ids": list(views), "view": view}
            for row in cursor.execute(self._with_costs("recent_views", "view"), chosen):
                views[row.pop("run_id")].append(_view_of(row))
            return [_run_of(row, views[row["run_id"]]) for row in runs]

        return self._run(work, [])

    def sizes(self, *, measure: bool) -> Sequence[SizeSample]:
        """As `core.ports.History.sizes`; none where the schema has no column for them."""

        def work(connection: BoundedConnection) -> list[SizeSample]:
            if not self._records_sizes:
                return []
            if measure:
                connection.execute(self._statements["measure_size"])
            cursor = connection.cursor(row_factory=class_row(SizeSample))
            return cursor.execute(self._statements["sizes"]).fetchall()

        return self._run(work, [])

    def close_abandoned(self) -> int:
        """As `core.ports.History.close_abandoned`."""
        return self._run(lambda connection: connection.execute(self._statements["close_abandoned"]).rowcount, 0)

    def prune(self, retention: timedelta, batch: int) -> int:
        """As `core.ports.History.prune`."""
        parameters = {"retention": retention, "batch": batch}

        def work(connection: BoundedConnection) -> int:
            old = connection.execute(self._statements["prune"], parameters)
            like_others = connection.execute(self._thinning(), parameters)
            return max(old.rowcount, like_others.rowcount)

        return self._run(work, 0)

    def _run(
        self, work: Callable[[BoundedConnection], _Value], without: _Value, wait_seconds: float | None = None
    ) -> _Value:
        """Do `work`; without our schema, return `without`."""

        def guarded(connection: BoundedConnection) -> _Value:
            # each time: it may be dropped under a running daemon, and be another role's after that
            row = connection.execute(trusting("state/history.sql"), {"app_schema": self._session.app_schema}).fetchone()
            present, dates_views, costs, sizes, may_record = row or (False,) * 5
            self._present, self._dates_views, self._may_record = present, dates_views, may_record
            self._records_costs, self._records_sizes = costs, sizes
            return work(connection) if self._present else without

        try:
            return self._session.run(
                guarded,
                seconds=self._seconds,
                lock_seconds=min(_LOCK_SECONDS, self._seconds),
                wait_seconds=self._seconds if wait_seconds is None else wait_seconds,
            )
        except DatabaseFault as fault:
            if fault.sqlstate in _GONE:
                self._present = None
            raise

    def _with_costs(self, name: str, kind: str, **others: str) -> str:
        """Return a statement with the columns for the cost of a "run" or "view"; without them on an older schema."""
        parts = ("columns", "values", "updates")
        costs = {
            f"cost_{part}": self._statements[f"{kind}_cost_{part}"] if self._records_costs else "" for part in parts
        }
        return self._statements[name].format(**costs, **others)

    def _thinning(self) -> str:
        """Return the statement that thins the history of days that are over."""
        like_others = self._statements["like_others"].format(among=self._statements["thinned_days"])
        return self._statements["thin"].format(like_others=like_others)

    def _record_successes(self, connection: BoundedConnection, run_id: UUID) -> None:
        """Keep what `status` finds without the history. A refresh under way may hold the row: the run's own counts."""
        try:
            with connection.transaction():
                connection.execute(blocks("state/status.sql")["brief_lock"])
                connection.execute(self._statements["record_successes"], {"run_id": run_id})
        except psycopg.Error:
            if connection.closed:
                raise

    def _row(self, run: Run) -> dict[str, Any]:
        return {
            "run_id": run.run_id,
            "database_name": self._session.name,
            "replica": run.replica,
            "origin": str(run.origin),
            "scheduled_at": run.scheduled_at,
            "started_at": run.started_at,
            "finished_at": run.finished_at,
            "outcome": str(run.outcome) if run.outcome else None,
            "reason": str(run.reason) if run.reason else None,
            "sqlstate": run.sqlstate,
            "error": _text(run.error),
            "duration_seconds": _seconds(run.duration_seconds),
            "lateness_seconds": _finite(run.lateness_seconds),
            "attempts": max(0, run.attempts),
            "leader_epoch": run.leader_epoch,
            "clock": run.clock,
            "isolation": run.isolation,
            "rows_folded": _count(run.rows_folded),
            **{name: _figure(run.cost, name) for name in FIGURES},
        }


def _view_rows(run: Run) -> dict[str, Any]:
    views = run.views
    return {
        "run_id": run.run_id,
        "view_names": [view.view for view in views],
        "successes": [view.success for view in views],
        "reasons": [str(view.reason) if view.reason else None for view in views],
        "sqlstates": [view.sqlstate for view in views],
        "errors": [_text(view.error) for view in views],
        "row_counts": [_count(view.rows) for view in views],
        "durations": [_finite(view.duration_seconds) for view in views],
        "reported": [_finite(view.reported_seconds) for view in views],
        "observed": [_finite(view.observed_seconds) for view in views],
        "rows_changed": [_count(view.rows_changed) for view in views],
        **{name: [_figure(view.cost, name) for view in views] for name in FIGURES},
    }


def _view_ends(run: Run, late: timedelta) -> dict[str, Any]:
    ended = run.finished_at or run.started_at
    longest = timedelta(seconds=_seconds(run.duration_seconds) or 0.0)
    return {
        "run_id": run.run_id,
        "view_names": [view.view for view in run.views],
        # within the run, should the two be dated by different clocks
        "before_run_ended": [
            None if view.finished_at is None else late + min(max(timedelta(0), ended - view.finished_at), longest)
            for view in run.views
        ],
    }


def _run_of(row: dict[str, Any], views: Sequence[ViewResult]) -> Run:
    known = {
        "origin": _member(Origin, row["origin"], Origin.COMMAND),
        "outcome": _member(Outcome, row["outcome"], Outcome.UNKNOWN) if row["outcome"] is not None else None,
        "reason": _reason(row["reason"]),
        "cost": _cost_of(row),
    }
    return Run(**row | known, views=tuple(views))


def _view_of(row: dict[str, Any]) -> ViewResult:
    return ViewResult(**{"cost": _cost_of(row)} | row | {"reason": _reason(row["reason"])})


def _cost_of(row: dict[str, Any]) -> Cost | None:
    """Take a cost's columns out of a row; an older schema has none."""
    return known_cost({name: row.pop(name, None) for name in FIGURES})


def _figure(cost: Cost | None, name: str) -> int | None:
    return _count(getattr(cost, name)) if cost is not None else None


def _count(number: int | None) -> int | None:
    return number if number is None or number <= BIGGEST_BIGINT else None


def _reason(text: str | None) -> Reason | None:
    return _member(Reason, text, Reason.OTHER) if text is not None else None


def _member(kind: type[_Member], text: str, otherwise: _Member) -> _Member:
    """Return the enum's member; `otherwise` for a word of a newer version."""
    try:
        return kind(text)
    except ValueError:
        return otherwise


def _text(text: str | None) -> str | None:
    return text.replace("\0", "") if text is not None else None


def _finite(seconds: float | None) -> float | None:
    return seconds if seconds is not None and math.isfinite(seconds) else None


def _seconds(seconds: float | None) -> float | None:
    finite = _finite(seconds)
    return max(0.0, finite) if finite is not None else None
