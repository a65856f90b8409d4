"""Refreshes the views: one call of the refresh function, or each view on its own, always behind the fence.

The fence is a transaction-level advisory lock in the transaction that refreshes. A cycle takes (2583, 2) exclusively;
a view in its own transaction takes it shared, and the view's own key exclusively. The lock therefore ends exactly when
the work ends.
"""

import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from psycopg import sql

from analytics_refreshd.core.cost import Cost, total
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import VIEWS, Reason, ViewReport
from analytics_refreshd.core.ports import RefreshReply
from analytics_refreshd.core.schedule import ViewTimes
from analytics_refreshd.postgres.connection.connector import Connector, milliseconds
from analytics_refreshd.postgres.connection.errors import contract_fault
from analytics_refreshd.postgres.connection.names import identifier, split_name
from analytics_refreshd.postgres.connection.settings import application_name
from analytics_refreshd.postgres.refresh.fold import Folded, ViewFold, fold_once, folded_here, rebuild
from analytics_refreshd.postgres.refresh.parallel import ParallelRun, StartedOnce
from analytics_refreshd.postgres.refresh.reports import fresh_as_folded, measured, own_seconds, report_of
from analytics_refreshd.postgres.refresh.settings import RefreshSettings
from analytics_refreshd.postgres.refresh.transaction import RefreshConnection, RunState, Transaction, beginning
from analytics_refreshd.postgres.refresh.verification import (
    refuse_hidden,
    rollups_before,
    statement,
    verify_refreshed,
)

_CANCEL_EVERY_SECONDS = 0.5
_FIRST_VIEW_KEY = 100
_LONGEST_REBUILD_SECONDS = 6 * 3600.0
_WRONG_SHAPE = frozenset({"42703", "42601", "42809", "42P13"})
"""No such column; a function of bare records; a procedure or aggregate: not the contract's function."""


class PostgresRefresher:
    """`core.ports.Refresher` on psycopg. Its connections are kept between runs."""

    def __init__(self, connector: Connector, settings: RefreshSettings) -> None:
        self._connector = connector
        self._name = connector.settings.name
        self._schema = connector.settings.app_schema
        self._connections: tuple[RefreshConnection, ...] = ()
        self._run: RunState | None = None
        self.settings = settings
        self._run_settings: tuple[UUID, RefreshSettings] | None = None

    @property
    def settings(self) -> RefreshSettings:
        """The next run's settings; replace them at any time. Raises ConfigError for names that are not plain."""
        return self._settings

    @settings.setter
    def settings(self, settings: RefreshSettings) -> None:
        for name in (settings.function, settings.view_function, *settings.views):
            split_name(name, self._schema)
        self._settings = settings

    def refresh(
        self,
        run_id: UUID,
        on_started: Callable[[int], None],
        cancelled: Callable[[], bool] = lambda: False,
        views: Sequence[str] | None = None,
    ) -> RefreshReply:
        """As `core.ports.Refresher.refresh`.

        With per-view isolation a view that fails is a report with success false. DatabaseFault is then raised where all
        views failed for one reason that was not theirs.
        """
        configured = self._settings_of(run_id)
        by_view = configured.isolation == "view"
        # as many as all views need: one that a run of few views leaves idle serves the next
        self._arrange_connections(max(1, min(configured.parallel, len(configured.views))) if by_view else 1)
        settings = configured.only(views)
        run = self._begin(settings.deadline_seconds, settings.cancel_seconds, cancelled)
        started = time.monotonic()
        try:
            if by_view:
                fold, folded = fold_once(self._connections[0], run, self._parameters(settings, run, run_id))
                reports = fresh_as_folded(
                    self._refresh_by_view(settings, run, run_id, fold, on_started),
                    folded.seconds,
                )
                # whatever had no fold paid nothing for it
                folds = [] if folded.seconds is None else [folded.cost]
                cost = total([*folds, *(report.cost for report in reports)])
            else:
                reports, folded, cost = self._refresh_cycle(settings, run, run_id, on_started)
        finally:
            run.over.set()
        seconds = time.monotonic() - started
        return RefreshReply(
            reports,
            seconds,
            notices=tuple(run.notices),
            notice_count=run.notice_count,
            fold_seconds=folded.seconds,
            rebuild_reason=folded.rebuild_reason,
            rows_folded=folded.rows,
            cost=cost,
        )

    def rebuild(
        self, run_id: UUID, on_started: Callable[[], None], cancelled: Callable[[], bool] = lambda: False
    ) -> str | None:
        """As `core.ports.Refresher.rebuild`. Each step is committed, so none is built again."""
        settings = self._settings_of(run_id)
        self._arrange_connections(max(1, len(self._connections)))
        run = self._begin(_LONGEST_REBUILD_SECONDS, settings.cancel_seconds, cancelled)
        # a step's time grows with the table; a stop cancels it
        parameters = self._parameters(settings, run, run_id) | {"statement_timeout": "0"}
        try:
            return rebuild(self._connections[0], run, parameters, on_started)
        finally:
            run.over.set()

    def cancel(self) -> None:
        """As `core.ports.Refresher.cancel`; returns once the run is over, or after `cancel_seconds`.

        A request that arrives between two statements has no effect, so it is repeated.
        """
        run = self._run
        if run is None:
            return
        run.cancelled.set()
        until = time.monotonic() + run.cancel_seconds
        while not run.over.is_set() and (left := until - time.monotonic()) > 0:
            for connection in self._connections:
                connection.cancel(left)
            run.over.wait(_CANCEL_EVERY_SECONDS)

    def close(self) -> None:
        """As `core.ports.Refresher.close`; a run under way ends with DatabaseFault of class cancelled."""
        run = self._run
        running = run is not None and not run.over.is_set()
        for connection in self._connections:
            connection.abandon()
            if not running:
                connection.drop()

    def _settings_of(self, run_id: UUID) -> RefreshSettings:
        """Return the settings in force when this run began, for all its attempts."""
        if self._run_settings is None or self._run_settings[0] != run_id:
            self._run_settings = run_id, self._settings
        return self._run_settings[1]

    def _begin(self, deadline_seconds: float, cancel_seconds: float, cancelled: Callable[[], bool]) -> RunState:
        run = RunState(deadline_seconds, cancel_seconds)
        self._run = run
        # Check only after `self._run` is set: an earlier `cancel()` could only reach the previous run.
        if cancelled():
            run.cancelled.set()
        return run

    def _arrange_connections(self, count: int) -> None:
        for surplus in self._connections[count:]:
            surplus.drop()
        kept = self._connections[:count]
        added = (RefreshConnection(self._connector) for _ in range(count - len(kept)))
        self._connections = kept + tuple(added)

    def _refresh_cycle(
        self, settings: RefreshSettings, run: RunState, run_id: UUID, on_started: Callable[[int], None]
    ) -> tuple[tuple[ViewReport, ...], Folded, Cost | None]:
        call = statement("call_function", function=identifier(settings.function, self._schema))
        with self._connections[0].transaction(
            run,
            beginning("cycle"),
            self._parameters(settings, run, run_id),
        ) as transaction:
            if not transaction.first["unfenced"]:
                raise _overlap("another session is refreshing this database")
            on_started(transaction.first["pid"])
            refuse_hidden(transaction)
            before = rollups_before(transaction)
            begun_seconds = run.elapsed_seconds()
            found, cost = self._call(transaction, call, {}, settings.function)
            reports = verify_refreshed(transaction, found, settings.views, before)
            folded = folded_here(transaction)
        fresh_seconds = None if folded.seconds is None else begun_seconds + folded.seconds
        return fresh_as_folded(reports, fresh_seconds), folded, cost

    def _refresh_by_view(
        self, settings: RefreshSettings, run: RunState, run_id: UUID, fold: ViewFold, on_started: Callable[[int], None]
    ) -> tuple[ViewReport, ...]:
        started = StartedOnce(on_started)

        def refresh_view(connection: RefreshConnection, view: str) -> list[ViewReport]:
            return self._refresh_view(connection, settings, run, run_id, view, fold, started)

        return ParallelRun(run, self._connections, refresh_view).refresh(settings.views)

    def _refresh_view(
        self,
        connection: RefreshConnection,
        settings: RefreshSettings,
        run: RunState,
        run_id: UUID,
        view: str,
        fold: ViewFold,
        on_started: Callable[[int], None],
    ) -> list[ViewReport]:
        relation = identifier(view, self._schema)
        schema, name = split_name(settings.view_function, self._schema)
        parameters = self._parameters(settings, run, run_id, settings.times(view)) | {
            "views": [split_name(view, self._schema)[1]],
            "view_key": view_key(view),
            "fold": fold.setting,
            "function_schema": schema,
            "function_name": name,
        }
        begun, fresh_seconds = time.monotonic(), run.elapsed_seconds()
        with connection.transaction(run, beginning("view"), parameters) as transaction:
            if not transaction.first["unfenced"]:
                raise _overlap("another session is refreshing this database")
            if not transaction.first["view_free"]:
                raise _overlap("another session is refreshing this view")
            on_started(transaction.first["pid"])
            refuse_hidden(transaction)
            begun, fresh_seconds = time.monotonic(), run.elapsed_seconds()
            cost: Cost | None = None
            if transaction.first["function_exists"]:
                call = statement("call_view_function", function=sql.Identifier(schema, name))
                found, cost = self._call(transaction, call, {"view": view}, settings.view_function)
                fresh_seconds += own_seconds(found, time.monotonic() - begun)
            else:
                with transaction.finding_in(self._schema):
                    transaction.execute(statement("refresh_view", view=relation))
                fresh_seconds = run.elapsed_seconds()
                counted = transaction.attempt(self._counting(view))
                count, changed = (None, None) if isinstance(counted, DatabaseFault) else counted[0]
                found = [ViewReport(view, None, count, True, rows_changed=changed)]
            reports = verify_refreshed(transaction, found, [view], fold.before)
        seconds = time.monotonic() - begun
        began = run.elapsed_seconds() - seconds
        return [measured(each, view, seconds, fresh_seconds, cost, began_seconds=began) for each in reports]

    def _counting(self, view: str) -> sql.Composed:
        relation = split_name(view, self._schema)
        changed = statement("changed", relation=sql.Literal(relation[1]), schema=sql.Literal(relation[0]))
        return statement("count_rows", view=identifier(view, self._schema), changed=changed)

    def _call(
        self, transaction: Transaction, call: sql.Composed, parameters: dict[str, Any], name: str
    ) -> tuple[list[ViewReport], Cost | None]:
        """Call a refresh function; return its rows as reports, and what it cost."""
        changed = statement("changed", relation=sql.SQL("r.value ->> 0"), schema=sql.Literal(self._schema))
        try:
            with transaction.finding_in(self._schema):
                cost = transaction.measure(call, parameters)
            return [report_of(row) for row in transaction.fetch(statement("answer", changed=changed))], cost
        except DatabaseFault as fault:
            if fault.sqlstate in _WRONG_SHAPE:
                raise contract_fault(
                    f"{name}() does not return view_name, refresh_duration_ms, rows_refreshed, success and "
                    f"error_message: {fault.message}"
                ) from None
            raise

    def _parameters(
        self, settings: RefreshSettings, run: RunState, run_id: UUID, times: ViewTimes | None = None
    ) -> dict[str, Any]:
        times = times or settings.general
        statement_seconds = min(times.statement_timeout_seconds, max(0.001, run.remaining_seconds()))
        return {
            "application_name": application_name(self._name, str(run_id)),
            "app_schema": self._schema,
            "views": [split_name(view, self._schema)[1] for view in settings.views],
            "lock_timeout": milliseconds(times.lock_timeout_seconds),
            "statement_timeout": milliseconds(statement_seconds),
        }


def view_key(view: str) -> int:
    """Return the second part of a view's own advisory lock key.

    It is 100 and the view's place in the contract; for other views it comes from their name.
    """
    with suppress(ValueError):
        return _FIRST_VIEW_KEY + VIEWS.index(view)
    return _FIRST_VIEW_KEY + len(VIEWS) + zlib.crc32(view.encode()) % 1_000_000


def _overlap(text: str) -> DatabaseFault:
    return DatabaseFault(text, error_class=ErrorClass.CONTENTION, reason=Reason.OVERLAP)
