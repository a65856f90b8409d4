"""Runs and their views in the database."""

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Origin, Outcome, Reason, Run, ViewResult
from analytics_refreshd.postgres.bounded import BoundedConnection
from analytics_refreshd.postgres.session import Session
from analytics_refreshd.postgres.sqlfiles import blocks
from analytics_refreshd.postgres.trust import trusting

_SECONDS = 5.0
_PATIENCE_SECONDS = 1.0
"""How long a refresh waits for other work on the shared connection; its record is written later then."""
_GONE = frozenset({"42P01", "3F000"})
_BIGGEST_COUNT = 2**63 - 1
_Value = TypeVar("_Value")
_Member = TypeVar("_Member", bound=Enum)


class PostgresHistory:
    """`core.ports.History` on the shared session.

    Columns are always listed, so that a schema one version newer serves as well. Statements and locks have 5 s: a
    table that somebody locked costs a delayed row, not a slot.
    """

    def __init__(self, session: Session, *, seconds: float = _SECONDS) -> None:
        self._session = session
        self._seconds = seconds
        self._statements = blocks("history.sql")
        self._present: bool | None = None

    @property
    def available(self) -> bool:
        """As `core.ports.History.available`; True while nobody knows. Looked up by the other calls; never raises."""
        return self._present is not False

    def begin(self, run: Run) -> None:
        """As `core.ports.History.begin`; started_at is the server's, unless the run's clock is the daemon's."""
        row = self._row(run)
        self._run(lambda connection: connection.execute(self._statements["begin_run"], row), None, _PATIENCE_SECONDS)

    def finish(self, run: Run) -> None:
        """As `core.ports.History.finish`, in one transaction; a second call changes neither time."""

        def work(connection: BoundedConnection) -> None:
            connection.execute(self._statements["finish_run"], self._row(run))
            if run.views:
                connection.execute(self._statements["finish_view"], _view_rows(run))

        self._run(work, None)

    def recent(
        self,
        limit: int,
        *,
        since: datetime | None = None,
        view: str | None = None,
        outcomes: Sequence[Outcome] = (),
    ) -> list[Run]:
        """As `core.ports.History.recent`; with `view` only the runs that have a result of it."""
        parameters = {"limit": limit, "since": since, "view": view, "outcomes": [str(outcome) for outcome in outcomes]}

        def work(connection: BoundedConnection) -> list[Run]:
            runs = connection.execute(self._statements["recent_runs"], parameters).fetchall()
            views: dict[UUID, list[ViewResult]] = {row[0]: [] for row in runs}
            chosen = {"run_ids": list(views), "view": view}
            for row in connection.execute(self._statements["recent_views"], chosen):
                views[row[0]].append(_view_of(row))
            return [_run_of(row, views[row[0]]) for row in runs]

        return self._run(work, [])

    def close_abandoned(self) -> int:
        """As `core.ports.History.close_abandoned`."""
        return self._run(lambda connection: connection.execute(self._statements["close_abandoned"]).rowcount, 0)

    def prune(self, retention: timedelta, batch: int) -> int:
        """As `core.ports.History.prune`."""
        parameters = {"retention": retention, "batch": batch}
        return self._run(lambda connection: connection.execute(self._statements["prune"], parameters).rowcount, 0)

    def _run(
        self, work: Callable[[BoundedConnection], _Value], without: _Value, wait_seconds: float | None = None
    ) -> _Value:
        """Do `work`, or return `without` where our schema is not there."""

        def guarded(connection: BoundedConnection) -> _Value:
            # each time: it may be dropped under a running daemon, and be another role's after that
            row = connection.execute(trusting("history.sql"), {"app_schema": self._session.app_schema}).fetchone()
            self._present = bool(row and row[0])
            return work(connection) if self._present else without

        try:
            return self._session.run(
                guarded,
                seconds=self._seconds,
                lock_seconds=self._seconds,
                wait_seconds=self._seconds if wait_seconds is None else wait_seconds,
            )
        except DatabaseFault as fault:
            if fault.sqlstate in _GONE:
                self._present = None
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
        "row_counts": [view.rows if view.rows is None or view.rows <= _BIGGEST_COUNT else None for view in views],
        "durations": [_finite(view.duration_seconds) for view in views],
        "reported": [_finite(view.reported_seconds) for view in views],
        "observed": [_finite(view.observed_seconds) for view in views],
    }


def _run_of(row: Sequence[Any], views: Sequence[ViewResult]) -> Run:
    return Run(
        run_id=row[0],
        origin=_member(Origin, row[1], Origin.COMMAND),
        started_at=row[2],
        scheduled_at=row[3],
        finished_at=row[4],
        outcome=_member(Outcome, row[5], Outcome.UNKNOWN) if row[5] is not None else None,
        reason=_member(Reason, row[6], Reason.OTHER) if row[6] is not None else None,
        sqlstate=row[7],
        error=row[8],
        duration_seconds=row[9],
        lateness_seconds=row[10],
        attempts=row[11],
        replica=row[12],
        leader_epoch=row[13],
        isolation=row[14] or "cycle",
        clock=row[15],
        views=tuple(views),
    )


def _view_of(row: Sequence[Any]) -> ViewResult:
    return ViewResult(
        view=row[1],
        success=row[2],
        reason=_member(Reason, row[3], Reason.OTHER) if row[3] is not None else None,
        sqlstate=row[4],
        error=row[5],
        rows=row[6],
        duration_seconds=row[7],
        reported_seconds=row[8],
        observed_seconds=row[9],
    )


def _member(kind: type[_Member], text: str, otherwise: _Member) -> _Member:
    """The enum's member; `otherwise` for a word that only a newer version knows."""
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
