"""What the database knows about itself: ages, sizes, rates, the leader, the refresh under way, the pause."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import (
    DatabaseStatus,
    Delta,
    LeaderInfo,
    Pause,
    Progress,
    Rates,
    Reason,
    ViewStatus,
)
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.bounded import BoundedConnection
from analytics_refreshd.postgres.connections import search_path
from analytics_refreshd.postgres.errors import fault_of
from analytics_refreshd.postgres.incremental import state
from analytics_refreshd.postgres.names import identifier
from analytics_refreshd.postgres.session import Session
from analytics_refreshd.postgres.sessions_seen import blocker_of, leader_of
from analytics_refreshd.postgres.sqlfiles import blocks
from analytics_refreshd.postgres.trust import trusting

_TIMEOUT_SECONDS = 10.0
_NOT_POPULATED = "55000"
_MOST_UNKNOWN = 5
_MOST_NAME_CHARACTERS = 200


class PostgresStatusReader:
    """`core.ports.StatusReader` on the shared session. Everything works without our schema, and says less then."""

    def __init__(self, session: Session, function: str, views: Sequence[str]) -> None:
        self._session = session
        self._statements = blocks("status.sql")
        self.configure(function, views)

    def configure(self, function: str, views: Sequence[str]) -> None:
        """Ask `function` (one part, in the application's schema, or two) about `views` from now on."""
        self._function_name = function
        self._function = identifier(function, self._session.app_schema)
        self._views = tuple(views)

    def read(self) -> DatabaseStatus:
        """As `core.ports.StatusReader.read`. A status function that fails is told in `problem`, and is no fault."""
        return self._session.run(self._read, seconds=_TIMEOUT_SECONDS)

    def rates(self) -> Rates:
        """As `core.ports.StatusReader.rates`; the p95 is the mean of the hourly ones, weighted by executions, or exact
        where the incremental mode's histograms can be read."""

        def work(connection: BoundedConnection) -> Rates:
            query = sql.SQL(self._statements["rates"]).format(app=sql.Identifier(self._session.app_schema))
            row = connection.execute(query).fetchone()
            rates = Rates(*row) if row else Rates(0, None, None)
            if {"hour_cells", "duration_counts"} <= self._present(connection):
                connection.execute(self._statements["without_jit"])
                exact = connection.execute(self._statements["exact_p95"]).fetchone()
                # none before the rollups are built, while the views still hold what was
                return replace(rates, latency_p95_seconds=exact[0]) if exact else rates
            return rates

        try:
            return self._session.run(work, seconds=_TIMEOUT_SECONDS)
        except DatabaseFault as fault:
            if fault.sqlstate == _NOT_POPULATED:
                return Rates(0, None, None)
            raise

    def pause(self, wait_seconds: float = 15.0) -> Pause | None:
        """As `core.ports.StatusReader.pause`; of several, the one that ends last."""

        def work(connection: BoundedConnection) -> Pause | None:
            if "pauses" not in self._present(connection):
                return None
            row = connection.execute(self._statements["pause"]).fetchone()
            return Pause(row[0], row[1], printable(row[2]), row[3]) if row else None

        return self._session.run(work, wait_seconds=wait_seconds)

    def leader(self) -> LeaderInfo | None:
        """As `core.ports.StatusReader.leader`; its replica by the runs it made, until then by its session's name."""

        def work(connection: BoundedConnection) -> LeaderInfo | None:
            row = connection.execute(self._statements["leader"]).fetchone()
            if row is None:
                return None
            replica = None
            if row[4] is not None and "runs" in self._present(connection):
                found = connection.execute(self._statements["leader_replica"], {"epoch": row[4]}).fetchone()
                replica = printable(found[0]) if found else None
            return leader_of(row[:4], replica)

        return self._session.run(work)

    def progress(self) -> Progress | None:
        """As `core.ports.StatusReader.progress`.

        In one transaction for all views the current one is the last, in the configured order, whose lock is held;
        since when is then unknown, `view_seconds` None. None also where the fence's holder carries no run_id.
        """
        return self._session.run(self._progress)

    def delta(self) -> Delta:
        """As `core.ports.StatusReader.delta`."""

        def work(connection: BoundedConnection) -> Delta:
            if "installation" not in self._present(connection):
                return Delta()
            try:
                with connection.transaction():
                    found = state(connection)
            except psycopg.errors.InsufficientPrivilege:
                row = connection.execute(self._statements["mode"]).fetchone()
                return Delta(str(row[0])) if row else Delta()
            if found.mode != "incremental":
                return Delta(found.mode)
            return Delta(
                found.mode,
                found.delta_rows,
                found.verified_at,
                found.verified_ok,
                found.verified_differences,
                found.fold_seconds,
                printable(found.rebuild_reason) if found.rebuild_reason else None,
                tuple(printable(name) for name in found.uncaptured[:_MOST_UNKNOWN]),
                found.built,
            )

        return self._session.run(work)

    def _read(self, connection: BoundedConnection) -> DatabaseStatus:
        views = list(self._views)
        rows, problem = self._call(connection)
        by_view: dict[str, Sequence[Any]] = {row[0]: row for row in rows if row[0] is not None}
        recorded = self._recorded(connection, views)
        parameters = {"schema": self._session.app_schema, "views": views}
        vacuumed = {
            row[0]: tuple(at for at in row[1:] if at is not None)
            for row in connection.execute(self._statements["vacuumed"], parameters)
        }
        now = _one(connection.execute(self._statements["server_now"]).fetchone())
        statuses = []
        for view in views:
            row = by_view.get(view, (view, None, None, None))
            exists = view in by_view or view in vacuumed
            at = vacuumed.get(view, ())
            statuses.append(ViewStatus(view, row[1], row[2], row[3], recorded.get(view), at, exists))
        return DatabaseStatus(now, tuple(statuses), problem)

    def _call(self, connection: BoundedConnection) -> tuple[list[tuple[Any, ...]], str | None]:
        try:
            with connection.transaction():
                # an older install's function names its views without a schema
                self._find_in(connection, search_path(self._session.app_schema))
                query = sql.SQL(self._statements["call_status"]).format(function=self._function)
                rows = connection.execute(query).fetchall()
                self._find_in(connection, search_path())
                return rows, None
        except psycopg.Error as error:
            if connection.closed:
                raise
            fault = fault_of(error, closed=False)
        if fault.reason is Reason.TIMEOUT:
            return [], f"{self._function_name}() did not answer within {_TIMEOUT_SECONDS:g} s"
        return [], f"{self._function_name}() failed: {fault.message}"

    def _find_in(self, connection: BoundedConnection, path: str) -> None:
        connection.execute(self._statements["search_path"], {"search_path": path})

    def _recorded(self, connection: BoundedConnection, views: list[str]) -> dict[str, datetime]:
        """Each view's last known success: of the refresh functions' own table and of history, the later one."""
        present = self._present(connection)
        recorded: dict[str, datetime] = {}
        for table, statement in (("last_refresh", "last_refresh"), ("view_results", "last_success")):
            if table in present:
                for view, at in connection.execute(self._statements[statement], {"views": views}):
                    recorded[view] = max(at, recorded.get(view, at))
        return recorded

    def _progress(self, connection: BoundedConnection) -> Progress | None:
        holders = connection.execute(self._statements["refreshing"]).fetchall()
        if not holders:
            return None
        run_id = _run_id(holders[0][1])
        if run_id is None:
            return None
        pids = [row[0] for row in holders]
        began, now = holders[0][2] or holders[0][3], holders[0][3]
        started = None
        if "runs" in self._present(connection):
            started = connection.execute(self._statements["run_started"], {"run_id": run_id}).fetchone()
        started_at = started[0] if started else began
        views = list(self._views)
        parameters = {"pids": pids, "views": views, "schema": self._session.app_schema}
        locks = connection.execute(self._statements["refresh_locks"], parameters).fetchall()
        seen = [row[2] for row in locks if row[2] is not None]
        waits = [row for row in locks if not row[1]]
        current = next((row[2] for row in waits if row[2] is not None), None)
        if current is None and seen:
            current = max(seen, key=views.index)
        blocker, waiting_seconds = None, None
        if waits:
            blocker = blocker_of(connection.execute(blocks("elector.sql")["blocker"], {"pids": pids}).fetchall())
            since = min((row[3] for row in waits if row[3] is not None), default=None)
            waiting_seconds = max(0.0, (now - since).total_seconds()) if since else None
        return Progress(
            run_id,
            started_at,
            max(0.0, (now - started_at).total_seconds()),
            view=current,
            blocker=blocker,
            waiting_seconds=waiting_seconds,
        )

    def _present(self, connection: BoundedConnection) -> set[str]:
        parameters = {"app_schema": self._session.app_schema}
        return {row[0] for row in connection.execute(trusting("status.sql"), parameters)}


def _run_id(application: str | None) -> UUID | None:
    try:
        return UUID(str(application).rpartition("/")[2])
    except ValueError:
        return None


def _one(row: Sequence[Any] | None) -> Any:
    if row is None:
        raise AssertionError("a query of one row returned none")
    return row[0]
