"""Turns action_results into months, and makes the months to come: looks, then acts."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psycopg

from analytics_refreshd.core.conversion import obstacles, said_first, token
from analytics_refreshd.core.errors import MigrationError, UsageError
from analytics_refreshd.core.partitions import (
    Choice,
    Decision,
    Layout,
    Month,
    Step,
    decide,
    default_name,
)
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.incremental.preflight import Found
from analytics_refreshd.postgres.incremental.transactions import alone, briefly, transaction
from analytics_refreshd.postgres.partitions.carrying import carry_out
from analytics_refreshd.postgres.partitions.layout import Tables, read
from analytics_refreshd.postgres.partitions.steps import Steps
from analytics_refreshd.postgres.partitions.views import follow, obstacles_of, steps_of

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What `apply` would do.

    `steps` are transactions in order. `obstacles` say why it would do nothing, `said` what is different afterwards.
    `token` confirms a conversion, None where there is none to confirm.
    """

    layout: Layout
    database: str
    decisions: tuple[Decision, ...]
    steps: tuple[Step, ...]
    obstacles: tuple[str, ...]
    said: tuple[str, ...]
    token: str | None


def plan(connection: Connection, app_schema: str) -> Plan:
    """Say what `apply` would do; changes nothing.

    `connection` is idle and in autocommit mode. Raises MigrationError where this role may do none of it.
    """
    with alone(connection, app_schema) as found, transaction(connection, found.home):
        return _plan(connection, app_schema)


def apply(connection: Connection, app_schema: str, *, confirm: str | None, told: Told) -> tuple[str, ...]:
    """Do what `plan` says, a transaction after the other.

    Returns what was done. It can be repeated wherever it ended. `confirm` is the plan's token. Raises UsageError where
    that is missing or another, and MigrationError where something forbids it, or a lock could not be had.
    """
    with alone(connection, app_schema) as found:
        with transaction(connection, found.home):
            planned = _plan(connection, app_schema)
        if planned.obstacles:
            raise MigrationError("; ".join(planned.obstacles))
        _refuse_unconfirmed(planned, confirm)
        run = _Run(connection, app_schema, found, told)
        if planned.layout.key is None:
            run.carry_out(planned.steps[0])
        run.views()
        run.months()
        return tuple(run.done)


def release(connection: Connection, app_schema: str) -> None:
    """Drop the CHECKs that a run left behind. They refuse rows of their months."""
    with alone(connection, app_schema) as found:
        _Run(connection, app_schema, found, lambda _: None).release()


def _plan(connection: Connection, app_schema: str) -> Plan:
    layout, tables, database = read(connection, app_schema)
    refused, said = list(obstacles(layout)), said_first(layout)
    converts = layout.key is None
    if layout.stale_views and not layout.partman:
        refused += obstacles_of(connection, app_schema, layout.stale_views)
    decisions = decide(layout)
    steps: list[Step] = []
    if not refused:
        writes = Steps(connection, layout, tables)
        steps += [writes.convert()] if converts else []
        steps += steps_of(connection, tables, layout.stale_views)
        default = tables.name(default_name()) if converts else _default(layout, tables)
        for each in decisions:
            if each.choice is Choice.MAKE:
                steps += writes.month(each.month, default)
    confirms = token(database, app_schema, steps[0].commands, said) if converts and steps else None
    return Plan(
        layout=layout,
        database=database,
        decisions=decisions,
        steps=tuple(steps),
        obstacles=tuple(refused),
        said=said,
        token=confirms,
    )


def _default(layout: Layout, tables: Tables) -> str | None:
    return tables.template if layout.default else None


def _refuse_unconfirmed(planned: Plan, confirm: str | None) -> None:
    if planned.token is None or confirm == planned.token:
        return
    if confirm is None:
        raise UsageError(
            "action_results is not in months yet, and turning it into months is not undone by this program: read"
            " `analytics-refreshd partitions --plan`, which prints the --confirm that does it"
        )
    raise UsageError("--confirm is not the token of the plan as it is now: read `analytics-refreshd partitions --plan`")


class _Run:
    """One run, while the lock of a migration is held."""

    def __init__(self, connection: Connection, app_schema: str, found: Found, told: Told) -> None:
        self._connection = connection
        self._schema = app_schema
        self._home = found.home
        self._told = told
        self.done: list[str] = []

    def views(self) -> None:
        """Let the four views read the whole, before a row can lie elsewhere than in the DEFAULT."""
        layout, tables = self._read()
        if layout.stale_views:
            self._told(f"build {', '.join(layout.stale_views)} over the whole")
            briefly(self._connection, follow, tables, layout.stale_views, self._home, self._told)
            self.done += [f"build view {self._schema}.{name} over the whole" for name in layout.stale_views]

    def months(self) -> None:
        """Make the months that are wanted and not there."""
        self.release()
        layout, _ = self._read()
        for decision in decide(layout):
            if decision.choice is Choice.MAKE:
                self._make(decision.month)
            elif decision.choice is not Choice.COVERED:
                self._told(f"{decision.month} is not made: {decision.why}")

    def release(self) -> None:
        """Drop what an earlier run left on the DEFAULT."""
        layout, tables = self._read()
        if layout.leftovers:
            steps = Steps(self._connection, layout, tables)
            self.carry_out(steps.release(tables.template, layout.leftovers), silently=True)

    def _make(self, month: Month) -> None:
        layout, tables = self._read()
        default = _default(layout, tables)
        with transaction(self._connection, self._home):
            steps = Steps(self._connection, layout, tables).month(month, default)
        try:
            for step in steps[:-1]:
                self.carry_out(step, silently=True)
            self.carry_out(steps[-1])
        except psycopg.errors.CheckViolation:
            self.release()
            self._told(f"{month} is not made: a row of it came into the DEFAULT meanwhile")
        except (MigrationError, psycopg.Error):
            with suppress(psycopg.Error, MigrationError):
                self.release()
            raise

    def carry_out(self, step: Step, *, silently: bool = False) -> None:
        """Run one transaction, and note that it is done."""
        self._told(step.title)
        carry_out(self._connection, self._home, step)
        if not silently:
            self.done.append(step.title)

    def _read(self) -> tuple[Layout, Tables]:
        with transaction(self._connection, self._home):
            layout, tables, _ = read(self._connection, self._schema)
        return layout, tables
