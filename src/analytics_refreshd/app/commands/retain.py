"""Deletes old rows of the action log, for `retain`."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from uuid import uuid4

from analytics_refreshd.app.commands.portions import (
    KEY_SECONDS,
    STOP_SECONDS,
    OtherRunError,
    Progress,
    RefusedError,
    Turns,
    connected,
    stopping,
)
from analytics_refreshd.app.commands.retain_months import MonthsDone, MonthSteps, rows_that_stay, undo
from analytics_refreshd.app.commands.retain_results import Preview, Retained
from analytics_refreshd.config import Config
from analytics_refreshd.core.errors import DatabaseFault, UsageError
from analytics_refreshd.core.model import Reason
from analytics_refreshd.core.retention import (
    End,
    Pace,
    Policy,
    bound_at,
    confirmed_bound,
    refusal,
    token,
)
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.retention.action_log import Leaf
from analytics_refreshd.postgres.retention.months import MonthRetention
from analytics_refreshd.postgres.retention.rows import RowRetention

__all__ = ["OtherRunError", "Preview", "Progress", "RefusedError", "Retained", "preview", "retain", "undo"]


def preview(config: Config, *, max_share: float | None = None) -> Preview:
    """Look at what would be deleted; changes nothing."""
    with connected(config, "retain") as session:
        retention = RowRetention(session)
        now, database = retention.database()
        policy = _policy(config)
        bound = bound_at(now, policy.rows)
        return _preview(config, session, database, bound, max_share)[0]


def retain(
    config: Config, *, confirm: str | None, max_share: float | None, told: Callable[[Progress], None]
) -> Retained:
    """Delete what is older than `[retention] rows`, and record it.

    `confirm` is a preview's token. Raises UsageError without one that is right, RefusedError, OtherRunError, and
    DatabaseFault.
    """
    with connected(config, "retain") as session, stopping(session) as stop:
        retention = RowRetention(session)
        now, database = retention.database()
        policy = _policy(config)
        bound = _bound(config, confirm, database, now, policy)
        shown, leaves = _preview(config, session, database, bound, max_share)
        if shown.refused:
            raise RefusedError(shown.refused)
        run = _Run(config, retention, shown, stop, told)
        return run.work(leaves, MonthSteps(config, MonthRetention(session), run.run_id, run.turns))


class _Run:
    """One run, after everything was decided."""

    def __init__(
        self,
        config: Config,
        retention: RowRetention,
        shown: Preview,
        stop: threading.Event,
        told: Callable[[Progress], None],
    ) -> None:
        self._retention = retention
        self.run_id = uuid4()
        self._shown = shown
        self._bound = shown.bound
        self._stop = stop
        self._told = told
        self._progress = Progress(0, shown.survey.rows_to_go)
        self._begun = time.monotonic()
        until = self._begun + config.retention.max_duration.total_seconds()
        self.turns = Turns(config, stop, retention.standbys, self._waiting, until)
        self._pace = Pace()
        self._months = MonthsDone()

    def work(self, leaves: list[Leaf], months: MonthSteps) -> Retained:
        """Delete what may go, and record begin and end.

        Raises OtherRunError, and DatabaseFault, recorded where that is possible.
        """
        try:
            if not self._retention.begin(self.run_id, self._bound, keep_figures=self._shown.keep_figures):
                raise OtherRunError("another `retain` is under way in this database")
            self._months = months.work(self._bound)
            for leaf in leaves:
                self._empty(leaf)
        except DatabaseFault as fault:
            # a signal gives up the statement first, and says so then
            if not self._stop.wait(STOP_SECONDS):
                with suppress(DatabaseFault):
                    self._finished(End.FAILED, fault.message)
                raise
        if self._stop.is_set():
            self._retention.renew()
            return self._finished(End.STOPPED, "stopped on request")
        if self.turns.out_of_time:
            return self._finished(End.STOPPED, "[retention] max_duration is over")
        return self._finished(End.OK, None)

    def _empty(self, leaf: Leaf) -> None:
        """Delete the old rows of one table, from the oldest on."""
        since: str | None = "-infinity"
        while since is not None and self.turns.may_begin(self._pace):
            portion = self._retention.delete(self.run_id, leaf, since, self._bound, self._pace)
            if portion.timed_out:
                smaller = self._pace.after_timeout()
                if smaller is None:
                    # somebody holds these for long: they stay until the next run
                    since = self._retention.after_next(leaf, since, self._bound, self._pace.rows)
                self._pace = smaller or self._pace
            elif portion.rows is None:
                self.turns.wait(KEY_SECONDS, "a refresh")
            else:
                done = self._progress.rows_done + portion.rows
                self._progress = replace(self._progress, rows_done=done)
                self._told(self._progress)
                if portion.rows < self._pace.rows:
                    return
                self._pace = self._pace.after(portion.seconds, portion.commit_seconds)
                since = portion.until

    def _waiting(self, waits_for: str) -> None:
        self._told(replace(self._progress, waits_for=waits_for))

    def _finished(self, end: End, reason: str | None) -> Retained:
        rows_left = None
        with suppress(DatabaseFault):
            rows_left = None if self._stop.is_set() else self._retention.rows_left(self._bound)
        deleted, portions = self._retention.finish(self.run_id, end, reason, rows_left)
        seconds = time.monotonic() - self._begun
        return Retained(self.run_id, self._bound, end, reason, deleted, rows_left, portions, seconds, self._months)


def _policy(config: Config) -> Policy:
    rows = config.retention.rows
    if rows is None:
        raise UsageError('retention is off: set `[retention] rows = "90d"` to say how long rows stay')
    return Policy(rows, config.retention.keep == "rollups", config.retention.max_share)


def _bound(config: Config, confirm: str | None, database: str, now: datetime, policy: Policy) -> datetime:
    if confirm is None:
        if config.retention.confirmed:
            return bound_at(now, policy.rows)
        raise UsageError(
            "look first: `analytics-refreshd retain --dry-run` prints what would go, and the --confirm that lets it go"
        )
    bound = confirmed_bound(confirm, database, config.database.db_schema, now, policy)
    if bound is None:
        raise UsageError(
            "--confirm is not the token of this database and configuration, or is older than a day:"
            " `analytics-refreshd retain --dry-run` prints a new one"
        )
    return bound


def _preview(
    config: Config, session: Session, database: str, bound: datetime, max_share: float | None
) -> tuple[Preview, list[Leaf]]:
    """Return what would go, and the tables from which rows are deleted one by one."""
    policy, whole = _policy(config), MonthRetention(session)
    try:
        survey, leaves = RowRetention(session).survey(bound)
        months, kept = whole.survey(bound), config.retention.undo
        stays = rows_that_stay(whole, months, bound, kept)
    except DatabaseFault as fault:
        raise _explained(fault) from fault
    takes = [str(each) for each in months.to_take(kept)]
    apart = {*takes, *(str(each) for each in months.returned(kept))}
    survey = replace(survey, rows_to_go=max(0, survey.rows_to_go - stays))
    schema = config.database.db_schema
    wanted = policy if max_share is None else replace(policy, max_share=max_share)
    return (
        Preview(
            database=database,
            bound=bound,
            survey=survey,
            keep_figures=policy.keep_figures,
            refused=refusal(survey, wanted, bound),
            token=token(database, schema, bound, policy),
            months=months,
            takes=tuple(takes),
            drops=tuple(str(each.partition) for each in months.to_drop(kept)),
        ),
        [leaf for leaf in leaves if f"{leaf.schema}.{leaf.name}" not in apart],
    )


def _explained(fault: DatabaseFault) -> DatabaseFault:
    if fault.reason is Reason.PERMISSION:
        return fault.reworded(f"{fault.message}: deploy/sql/retention.sql makes the role that `retain` runs as")
    return fault
