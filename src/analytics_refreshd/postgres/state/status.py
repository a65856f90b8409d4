"""Reads what the database knows about its views, refreshes, leader and pause."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row, scalar_row

from analytics_refreshd.core.delta import Delta, Waiting
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass, not_writable
from analytics_refreshd.core.model import VIEWS, DatabaseStatus, LeaderInfo, Pause, Progress, Rates, Reason, ViewStatus
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.core.retention import LastRuns
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.connector import search_path
from analytics_refreshd.postgres.connection.errors import fault_of
from analytics_refreshd.postgres.connection.names import identifier, quoted
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import trusting
from analytics_refreshd.postgres.incremental.state import state
from analytics_refreshd.postgres.schema.installation import installation_problems, recorded_views
from analytics_refreshd.postgres.state.aside import aside, waiting_for
from analytics_refreshd.postgres.state.rates import read_rates
from analytics_refreshd.postgres.state.retention import last_runs
from analytics_refreshd.postgres.state.sessions import blocker_of, leader_of, server_of

_TIMEOUT_SECONDS = 10.0
_LOCK_SECONDS = 1.0
"""How long a reading waits for a lock: a run that begins or ends meanwhile needs the connection."""
_MOST_UNKNOWN = 5
_MOST_NAME_CHARACTERS = 200


class PostgresStatusReader:
    """`core.ports.StatusReader` on the shared session; without our schema it reads less."""

    def __init__(self, session: Session, function: str, views: Sequence[str]) -> None:
        self._session = session
        self._statements = blocks("state/status.sql")
        self.configure(function, views)

    def configure(self, function: str, views: Sequence[str]) -> None:
        """Ask `function` about `views` from now on.

        The name has one part, in the application's schema, or two.
        """
        self._function_name = function
        self._function = identifier(function, self._session.app_schema)
        self._views = tuple(views)

    def read(self) -> DatabaseStatus:
        """As `core.ports.StatusReader.read`; a failing status function is a `problem`."""
        return self._session.run(self._read, seconds=_TIMEOUT_SECONDS, lock_seconds=_LOCK_SECONDS)

    def reconnect(self) -> None:
        """As `core.ports.StatusReader.reconnect`. The old one ends, unless other work still holds it."""
        self._session.renew()

    def rates(self) -> Rates:
        """As `core.ports.StatusReader.rates`."""
        schema = self._session.app_schema
        try:
            return self._session.run(
                lambda connection: read_rates(connection, schema, self._present(connection)), seconds=_TIMEOUT_SECONDS
            )
        except DatabaseFault as fault:
            if fault.reason is Reason.PERMISSION:
                view = quoted(schema, "action_metrics_hourly")
                text = "the success rate and the p95 cannot be read"
                raise fault.reworded(f"{text}: {fault.message}: GRANT SELECT ON {view} TO this daemon's role") from None
            raise

    def pause(self, wait_seconds: float = 15.0) -> Pause | None:
        """As `core.ports.StatusReader.pause`; of several, the one that ends last."""

        def work(connection: BoundedConnection) -> Pause | None:
            if "pauses" not in self._present(connection):
                return None
            found = connection.cursor(row_factory=class_row(Pause)).execute(self._statements["pause"]).fetchone()
            return replace(found, reason=printable(found.reason)) if found else None

        return self._session.run(work, wait_seconds=wait_seconds)

    def leader(self) -> LeaderInfo | None:
        """As `core.ports.StatusReader.leader`.

        The replica's name comes from the leader's runs; before its first, from its session.
        """

        def work(connection: BoundedConnection) -> LeaderInfo | None:
            cursor = connection.cursor(row_factory=dict_row)
            row = cursor.execute(self._statements["leader"]).fetchone()
            if row is None:
                return None
            replica = None
            if row["epoch"] is not None and "runs" in self._present(connection):
                found, _ = aside(connection, "leader_replica", {"epoch": row["epoch"]})
                replica = printable(found[0]["replica"]) if found else None
            return leader_of(row, replica)

        return self._session.run(work)

    def progress(self) -> Progress | None:
        """As `core.ports.StatusReader.progress`.

        Where one transaction refreshes all views, the current one is the last, in the configured order, whose lock is
        held; `view_seconds` is None, because its start is unknown. None also where the fence's holder is not one of our
        runs.
        """
        return self._session.run(self._progress)

    def delta(self, waiting: Waiting | None = None) -> Delta:
        """As `core.ports.StatusReader.delta`."""

        def work(connection: BoundedConnection) -> Delta:
            if "installation" not in self._present(connection):
                return Delta()
            try:
                with connection.transaction():
                    found = state(connection, waiting)
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
                found.folded_at,
                found.waiting,
                None,
                tuple(printable(text) for text in found.obstacles[:_MOST_UNKNOWN]),
                found.unheld,
                found.frozen_until,
                found.late_rows,
            )

        return self._session.run(work)

    def retention(self) -> LastRuns | None:
        """As `core.ports.StatusReader.retention`."""

        def work(connection: BoundedConnection) -> LastRuns | None:
            return last_runs(connection) if "retention_runs" in self._present(connection) else None

        return self._session.run(work)

    def installation_problems(self) -> tuple[str, ...]:
        """As `core.ports.StatusReader.installation_problems`."""

        def work(connection: BoundedConnection) -> tuple[str, ...]:
            row = None
            if "installation" in self._present(connection):
                row = connection.execute(self._statements["mode"]).fetchone()
            mode = str(row[0]) if row else None
            # of a view of the user's own nothing is known that it should read
            views = [view for view in self._views if view in VIEWS]
            return installation_problems(connection, self._session.app_schema, views, mode)

        return self._session.run(work)

    def views_of_others(self) -> list[str]:
        """Name the views that `migrate` kept by another definition."""

        def work(connection: BoundedConnection) -> list[str]:
            recorded = recorded_views(connection) if "installation" in self._present(connection) else {}
            return [name for name, noted in recorded.items() if not noted["ours"]]

        return self._session.run(work)

    def _read(self, connection: BoundedConnection) -> DatabaseStatus:
        views = list(self._views)
        rows, problem, blocked = self._call(connection)
        # at once, while the lock is still held
        waits = waiting_for(connection, self._function_name, self._session.app_schema, views) if blocked else None
        by_view = {row["view_name"]: row for row in rows if row["view_name"] is not None}
        recorded, unread = self._recorded(connection, views)
        parameters = {"schema": self._session.app_schema, "views": views}
        cursor = connection.cursor(row_factory=class_row(ViewStatus))
        catalogued = {one.view: one for one in cursor.execute(self._statements["catalogued"], parameters)}
        now, writable = connection.execute(self._statements["server_now"]).fetchall()[0]
        if not writable:
            raise not_writable()
        statuses = []
        for view in views:
            row = by_view.get(view, {})
            known = catalogued.get(view, ViewStatus(view, exists=view in by_view))
            statuses.append(
                replace(
                    known,
                    rows=row.get("row_count"),
                    size_bytes=row.get("size_bytes"),
                    claimed_at=row.get("last_refresh"),
                    recorded_at=recorded.get(view),
                    vacuumed_at=tuple(known.vacuumed_at),
                )
            )
        return DatabaseStatus(now, tuple(statuses), problem, waits, unread, server_of(connection))

    def _call(self, connection: BoundedConnection) -> tuple[list[dict[str, Any]], str | None, bool]:
        """Return the status function's rows, why it failed, and whether that was a lock."""
        try:
            with connection.transaction():
                # an older install's function names its views without a schema
                self._find_in(connection, search_path(self._session.app_schema))
                query = sql.SQL(self._statements["call_status"]).format(function=self._function)
                rows = connection.cursor(row_factory=dict_row).execute(query).fetchall()
                self._find_in(connection, search_path())
                return rows, None, False
        except psycopg.Error as error:
            if connection.closed:
                raise
            fault = fault_of(error, closed=False)
        if fault.error_class is ErrorClass.CONTENTION:
            return [], None, True
        if fault.reason is Reason.TIMEOUT:
            return [], f"{self._function_name}() did not answer within {_TIMEOUT_SECONDS:g} s", False
        return [], f"{self._function_name}() failed: {fault.message}", False

    def _find_in(self, connection: BoundedConnection, path: str) -> None:
        connection.execute(self._statements["search_path"], {"search_path": path})

    def _recorded(self, connection: BoundedConnection, views: list[str]) -> tuple[dict[str, datetime], str | None]:
        """Return each view's last success, by the functions' own table or history, and why one could not be read."""
        present = self._present(connection)
        recorded: dict[str, datetime] = {}
        unread = None
        for table, statement in (("last_refresh", "last_refresh"), ("view_results", "last_success")):
            if table not in present:
                continue
            rows, problem = aside(connection, statement, {"views": views})
            if problem is not None:
                unread = f"analytics_refresh.{table}: {problem}"
            for row in rows:
                view, at = row["view_name"], row["at"]
                recorded[view] = max(at, recorded.get(view, at))
        return recorded, unread

    def _progress(self, connection: BoundedConnection) -> Progress | None:
        cursor = connection.cursor(row_factory=dict_row)
        holders = cursor.execute(self._statements["refreshing"]).fetchall()
        if not holders:
            return None
        first = holders[0]
        run_id = _run_id(first["application_name"])
        if run_id is None:
            return None
        pids = [row["pid"] for row in holders]
        now = first["now"]
        began = first["xact_start"] or now
        started: list[dict[str, Any]] = []
        if "runs" in self._present(connection):
            started, _ = aside(connection, "run_started", {"run_id": run_id})
        started_at = started[0]["started_at"] if started else began
        views = list(self._views)
        parameters = {"pids": pids, "views": views, "schema": self._session.app_schema}
        locks = cursor.execute(self._statements["refresh_locks"], parameters).fetchall()
        seen = [row["relname"] for row in locks if row["relname"] is not None]
        waits = [row for row in locks if not row["granted"]]
        current = next((row["relname"] for row in waits if row["relname"] is not None), None)
        if current is None and seen:
            current = max(seen, key=views.index)
        blocker, waiting_seconds = None, None
        if waits:
            blocker = blocker_of(cursor.execute(blocks("state/leader.sql")["blocker"], {"pids": pids}).fetchall())
            since = min((row["waitstart"] for row in waits if row["waitstart"] is not None), default=None)
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
        return set(connection.cursor(row_factory=scalar_row).execute(trusting("state/status.sql"), parameters))


def _run_id(application: str | None) -> UUID | None:
    try:
        return UUID(str(application).rpartition("/")[2])
    except ValueError:
        return None
