"""Refreshes the views: one call of the refresh function, or each view on its own, always behind the fence.

The fence is a transaction-level advisory lock in the very transaction that refreshes: (2583, 2) exclusively for a
cycle; shared, with the view's own key, where each view has its own transaction. It can neither outlive the work
nor be outlived by it.
"""

import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import sql

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.model import VIEWS, Reason, ViewReport
from analytics_refreshd.core.ports import RefreshReply
from analytics_refreshd.postgres.connections import Connector, milliseconds, search_path
from analytics_refreshd.postgres.crew import Crew
from analytics_refreshd.postgres.errors import contract_fault
from analytics_refreshd.postgres.evidence import believed
from analytics_refreshd.postgres.folding import Folded, fold_once, folded_here, rebuild
from analytics_refreshd.postgres.link import Link, RunState, Transaction, beginning
from analytics_refreshd.postgres.names import identifier, split_name
from analytics_refreshd.postgres.reports import measured, report_of
from analytics_refreshd.postgres.settings import application_name
from analytics_refreshd.postgres.sqlfiles import blocks

_CANCEL_EVERY_SECONDS = 0.5
_FIRST_VIEW_KEY = 100
_LONGEST_REBUILD_SECONDS = 6 * 3600.0
_WRONG_SHAPE = frozenset({"42703", "42601", "42809", "42P13"})
"""No such column; a function of bare records; a procedure or aggregate: not the contract's function."""


@dataclass(frozen=True, slots=True)
class RefreshSettings:
    """What to call and for how long, in seconds. Function names have one part (in the application's schema) or two.

    After the deadline the server has `cancel_seconds` to take a cancel request, and as long to end the statement.
    """

    function: str = "refresh_action_analytics"
    view_function: str = "refresh_action_analytics_view"
    views: tuple[str, ...] = VIEWS
    isolation: str = "cycle"
    parallel: int = 2
    lock_timeout_seconds: float = 30.0
    statement_timeout_seconds: float = 240.0
    deadline_seconds: float = 250.0
    cancel_seconds: float = 5.0


class PostgresRefresher:
    """`core.ports.Refresher` on psycopg. Its connections are kept between runs."""

    def __init__(self, connector: Connector, settings: RefreshSettings) -> None:
        self._connector = connector
        self._name = connector.settings.name
        self._schema = connector.settings.app_schema
        self._links: tuple[Link, ...] = ()
        self._run: RunState | None = None
        self.settings = settings
        self._kept: tuple[UUID, RefreshSettings] | None = None

    @property
    def settings(self) -> RefreshSettings:
        """What the next run goes by; may be replaced at any time. Raises ConfigError for a name that is none."""
        return self._settings

    @settings.setter
    def settings(self, settings: RefreshSettings) -> None:
        for name in (settings.function, settings.view_function, *settings.views):
            split_name(name, self._schema)
        self._settings = settings

    def refresh(
        self, run_id: UUID, on_started: Callable[[int], None], cancelled: Callable[[], bool] = lambda: False
    ) -> RefreshReply:
        """As `core.ports.Refresher.refresh`.

        With per-view isolation a view's own trouble is a report with success false; DatabaseFault is raised where no
        view succeeded and the trouble was not the views'.
        """
        settings = self._settings_of(run_id)
        by_view = settings.isolation == "view"
        self._arrange_links(max(1, min(settings.parallel, len(settings.views))) if by_view else 1)
        run = self._begin(settings.deadline_seconds, settings.cancel_seconds, cancelled)
        started = time.monotonic()
        try:
            if by_view:
                fold, folded = fold_once(self._links[0], run, self._parameters(settings, run, run_id))
                reports = self._refresh_by_view(settings, run, run_id, fold, on_started)
            else:
                reports, folded = self._refresh_cycle(settings, run, run_id, on_started)
        finally:
            run.over.set()
        seconds = time.monotonic() - started
        notices = tuple(run.notices)
        return RefreshReply(reports, seconds, notices, run.notice_count, folded.seconds, folded.rebuild_reason)

    def rebuild(
        self, run_id: UUID, on_started: Callable[[], None], cancelled: Callable[[], bool] = lambda: False
    ) -> str | None:
        """As `core.ports.Refresher.rebuild`. Steps, not one transaction: what was committed is never built again."""
        settings = self._settings_of(run_id)
        self._arrange_links(max(1, len(self._links)))
        run = self._begin(_LONGEST_REBUILD_SECONDS, settings.cancel_seconds, cancelled)
        # a step takes as long as it takes; a stop cancels it
        parameters = self._parameters(settings, run, run_id) | {"statement_timeout": "0"}
        try:
            return rebuild(self._links[0], run, parameters, on_started)
        finally:
            run.over.set()

    def cancel(self) -> None:
        """As `core.ports.Refresher.cancel`: asks, for at most `cancel_seconds`, until the run is over.

        A request that arrives between two statements is lost, hence the repetition.
        """
        run = self._run
        if run is None:
            return
        run.cancelled.set()
        until = time.monotonic() + run.cancel_seconds
        while not run.over.is_set() and (left := until - time.monotonic()) > 0:
            for link in self._links:
                link.cancel(left)
            run.over.wait(_CANCEL_EVERY_SECONDS)

    def close(self) -> None:
        """As `core.ports.Refresher.close`; a run under way ends with DatabaseFault of class cancelled."""
        run = self._run
        running = run is not None and not run.over.is_set()
        for link in self._links:
            link.abandon()
            if not running:
                link.drop()

    def _settings_of(self, run_id: UUID) -> RefreshSettings:
        """What was in force when this run began: its rebuild and all its attempts are one run's."""
        if self._kept is None or self._kept[0] != run_id:
            self._kept = run_id, self._settings
        return self._kept[1]

    def _begin(self, deadline_seconds: float, cancel_seconds: float, cancelled: Callable[[], bool]) -> RunState:
        run = RunState(deadline_seconds, cancel_seconds)
        self._run = run
        # asked once `cancel` finds this run: an earlier one found the run before it, which was over
        if cancelled():
            run.cancelled.set()
        return run

    def _arrange_links(self, count: int) -> None:
        for surplus in self._links[count:]:
            surplus.drop()
        kept = self._links[:count]
        self._links = kept + tuple(Link(self._connector, self._schema) for _ in range(count - len(kept)))

    def _refresh_cycle(
        self, settings: RefreshSettings, run: RunState, run_id: UUID, on_started: Callable[[int], None]
    ) -> tuple[tuple[ViewReport, ...], Folded]:
        call = sql.SQL(blocks("refresh.sql")["call_function"]).format(
            function=identifier(settings.function, self._schema)
        )
        with self._links[0].transaction(
            run,
            beginning("cycle"),
            self._parameters(settings, run, run_id),
        ) as transaction:
            if not transaction.first["unfenced"]:
                raise _overlap("another session is refreshing this database")
            on_started(transaction.first["pid"])
            rows = self._call(transaction, call, {}, settings.function)
            reports = believed(transaction, [report_of(row) for row in rows], settings.views)
            folded = folded_here(transaction)
        return reports, folded

    def _refresh_by_view(
        self, settings: RefreshSettings, run: RunState, run_id: UUID, fold: str, on_started: Callable[[int], None]
    ) -> tuple[ViewReport, ...]:
        crew = Crew(settings.views)
        started: set[int] = set()

        def say_started(pid: int) -> None:
            with crew.lock:
                if pid not in started:
                    started.add(pid)
                    on_started(pid)

        def work(link: Link) -> None:
            while (view := crew.next_view()) is not None:
                begun = time.monotonic()
                try:
                    reports = self._refresh_one(link, settings, run, run_id, view, fold, say_started)
                except DatabaseFault as fault:
                    if run.cancelled.is_set() and fault.error_class is ErrorClass.CANCELLED:
                        # by this daemon, hence no timeout
                        fault.reason = Reason.CANCELLED
                    crew.failed(view, fault, time.monotonic() - begun)
                else:
                    crew.reported(view, reports)

        def work_quietly(link: Link) -> None:
            with crew.keeping_error():
                work(link)

        threads = [
            threading.Thread(target=work_quietly, args=(link,), name="refresh-view", daemon=True)
            for link in self._links[1:]
        ]
        for thread in threads:
            thread.start()
        work_quietly(self._links[0])
        for thread in threads:
            thread.join()
        return crew.result()

    def _refresh_one(
        self,
        link: Link,
        settings: RefreshSettings,
        run: RunState,
        run_id: UUID,
        view: str,
        fold: str,
        on_started: Callable[[int], None],
    ) -> list[ViewReport]:
        statements = blocks("refresh.sql")
        relation = identifier(view, self._schema)
        schema, name = split_name(settings.view_function, self._schema)
        parameters = self._parameters(settings, run, run_id) | {
            "view_key": view_key(view),
            "fold": fold,
            "function_schema": schema,
            "function_name": name,
        }
        begun = time.monotonic()
        with link.transaction(run, beginning("view"), parameters) as transaction:
            if not transaction.first["unfenced"]:
                raise _overlap("another session is refreshing this database")
            if not transaction.first["view_free"]:
                raise _overlap("another session is refreshing this view")
            on_started(transaction.first["pid"])
            begun = time.monotonic()
            if transaction.first["function_exists"]:
                call = sql.SQL(statements["call_view_function"]).format(function=sql.Identifier(schema, name))
                rows = self._call(transaction, call, {"view": view}, settings.view_function)
                reports = believed(transaction, [report_of(row) for row in rows], [view])
            else:
                transaction.execute(sql.SQL(statements["refresh_view"]).format(view=relation))
                counted = transaction.attempt(sql.SQL(statements["count_rows"]).format(view=relation))
                reports = (ViewReport(view, None, counted[0][0] if counted else None, True),)
        seconds = time.monotonic() - begun
        return [measured(report, view, seconds) for report in reports]

    def _call(
        self, transaction: Transaction, call: sql.Composed, parameters: dict[str, Any], name: str
    ) -> list[tuple[Any, ...]]:
        try:
            return transaction.fetch(call, parameters)
        except DatabaseFault as fault:
            if fault.sqlstate in _WRONG_SHAPE:
                raise contract_fault(
                    f"{name}() does not return view_name, refresh_duration_ms, rows_refreshed, success and "
                    f"error_message: {fault.message}"
                ) from None
            raise

    def _parameters(self, settings: RefreshSettings, run: RunState, run_id: UUID) -> dict[str, Any]:
        statement_seconds = min(settings.statement_timeout_seconds, max(0.001, run.remaining_seconds()))
        return {
            "application_name": application_name(self._name, str(run_id)),
            "search_path": search_path(self._schema),
            "app_schema": self._schema,
            "lock_timeout": milliseconds(settings.lock_timeout_seconds),
            "statement_timeout": milliseconds(statement_seconds),
        }


def view_key(view: str) -> int:
    """The second part of a view's own advisory lock: 100 and its place in the contract; for others by their name."""
    with suppress(ValueError):
        return _FIRST_VIEW_KEY + VIEWS.index(view)
    return _FIRST_VIEW_KEY + len(VIEWS) + zlib.crc32(view.encode()) % 1_000_000


def _overlap(text: str) -> DatabaseFault:
    return DatabaseFault(text, error_class=ErrorClass.CONTENTION, reason=Reason.OVERLAP)
