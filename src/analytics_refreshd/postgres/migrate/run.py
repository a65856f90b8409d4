"""Bring a database's views, functions and our own schema to this version; show what that takes; take it back.

Everything happens in one transaction under one advisory lock: two at once are safe, and an interrupted one
leaves nothing behind. What `dry_run` prints is what `migrate` executes.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date

import psycopg
from psycopg.pq import TransactionStatus

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.connection.errors import primary_text
from analytics_refreshd.postgres.incremental import horizon
from analytics_refreshd.postgres.incremental.commands import Commands
from analytics_refreshd.postgres.migrate.functions import standalone_steps
from analytics_refreshd.postgres.migrate.plan import Found, Plan, make_plan
from analytics_refreshd.postgres.migrate.removal import drop_ours, refuse_uninstall
from analytics_refreshd.postgres.migrate.steps import Draft
from analytics_refreshd.postgres.migrate.tenants import drop_tenants_steps
from analytics_refreshd.postgres.schema.acting import Step, foreign_obstacle
from analytics_refreshd.postgres.schema.catalog import Catalog
from analytics_refreshd.postgres.schema.commands import command
from analytics_refreshd.postgres.schema.definitions import (
    OUR_SCHEMA,
    Definitions,
    latest_version,
    set_role,
)
from analytics_refreshd.postgres.schema.publications import require_prepared, subscriber_sql_after


@dataclass(frozen=True, slots=True)
class Populating:
    """A view is being filled: the `number`th of `total`. `seconds` is None at its start, then what it took."""

    view_name: str
    number: int
    total: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What was found, what was done (or, in a status, is to be done), and what a person should know.

    `version_found` is 0 without our schema. `steps` are the headings of what was done, in order.
    """

    found: Found
    app_schema: str
    mode: str
    version_found: int
    version: int
    steps: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.steps)


def migrate(
    connection: Connection,
    app_schema: str = "public",
    *,
    progress: Callable[[Populating], None] | None = None,
    recreate_views: bool = False,
    accept_publication: bool = False,
    tenants: bool = False,
    redact: bool | None = None,
) -> MigrationReport:
    """Bring the database to this version, waiting for another migration to end first.

    `connection` is in autocommit mode and idle. Existing views are kept, unless `recreate_views` asks for those
    that differ from ours to be built again; one that others depend on is refused. `accept_publication` says that every
    subscriber of this database has the tables that are created or changed. `tenants` adds what the API needs. `redact`
    is whether recent_failures is to store redacted texts and no answers; None leaves that as it is. Raises
    MigrationError, after which nothing has changed.
    """
    with _transaction(connection):
        connection.execute(command("lock"))
        plan = _plan(connection, app_schema, _Asked(recreate_views, accept_publication, tenants, redact))
        total = sum(step.populates is not None for step in plan.steps)
        populated = 0
        for step in plan.steps:
            populated += step.populates is not None
            _carry_out(connection, step, populated, total, progress)
    version = max(plan.version, latest_version())
    return _report(plan, app_schema, version)


def status(
    connection: Connection, app_schema: str = "public", *, tenants: bool = False, redact: bool | None = None
) -> MigrationReport:
    """What `migrate` would find and do; changes nothing and waits for nobody.

    Raises MigrationError where it could not be done, and where another migration is running.
    """
    with _transaction(connection, keep=False):
        plan = _plan_without_waiting(connection, app_schema, _Asked(tenants=tenants, redact=redact))
    return _report(plan, app_schema, plan.version)


def subscriber_sql(connection: Connection, app_schema: str = "public", *, tenants: bool = False) -> str:
    """The commands that give a subscriber of this database the tables that ours has in either mode."""
    with _transaction(connection, keep=False):
        plan = _plan_without_waiting(connection, app_schema, _Asked(accept_publication=True, tenants=tenants))
        catalog = Catalog(connection, app_schema)
        definitions = Definitions(app_schema, catalog.privileges().server_version)

        def change() -> None:
            _execute(connection, plan.tables)
            connection.execute(set_role(catalog.home()))
            for each in Commands(definitions, frozen=horizon.is_installed(connection)).objects():
                connection.execute(each)

        return subscriber_sql_after(connection, change)


def dry_run(
    connection: Connection,
    app_schema: str = "public",
    *,
    recreate_views: bool = False,
    accept_publication: bool = False,
    tenants: bool = False,
    redact: bool | None = None,
) -> str:
    """The script that does to this database what `migrate` would, for psql to run unchanged."""
    with _transaction(connection, keep=False):
        asked = _Asked(recreate_views, accept_publication, tenants, redact)
        plan = _plan_without_waiting(connection, app_schema, asked)
        steps = [Step("one transaction, one migration at a time", (command("begin"), command("lock"))), *plan.steps]
        parts = [
            "\n".join([f"-- {step.title}", *(_as_command(each.as_string(connection)) for each in step.commands)])
            for step in steps
        ]
    notes = [f"-- found: {plan.found}, version {plan.version}", *(f"-- note: {warning}" for warning in plan.warnings)]
    if not plan.steps:
        return "\n".join([*notes, "-- nothing to do", ""])
    return "\n\n".join(["\n".join(notes), "\\set ON_ERROR_STOP on\nbegin;", *parts, "commit;\n"])


def uninstall(
    connection: Connection, app_schema: str = "public", *, discard_frozen: date | None = None
) -> tuple[str, ...]:
    """Drop our schema with its history; the views and their three functions stay and keep working.

    The functions come to name nothing of our schema, and record nothing: `last_refresh` is null. Returns what was
    dropped, in words, nothing where there was nothing. Raises UsageError where figures are frozen, unless
    `discard_frozen` is the day of the horizon, and MigrationError, naming them, where others depend on our schema or
    made what is in it.
    """
    dropped: list[str] = []
    with _transaction(connection):
        connection.execute(command("lock"))
        catalog = Catalog(connection, app_schema)
        installed = catalog.read()
        if installed.foreign:
            raise MigrationError(foreign_obstacle(installed, app_schema))
        horizon.refuse_discarding(connection, discard_frozen)
        if installed.installation is not None and installed.installation.app_schema != app_schema:
            catalog = Catalog(connection, installed.installation.app_schema)
            installed = catalog.read()
        draft = Draft(catalog, installed)
        free = list(standalone_steps(draft))
        # its functions depend on ours
        tenants = drop_tenants_steps(draft)
        for step in draft.carried_out(tenants):
            _carry_out(connection, step, 0, 0, None)
        connection.execute(set_role(draft.role))
        if installed.privileges.versioned:
            refuse_uninstall(connection, catalog, installed)
        draft.refuse()
        for step in draft.carried_out(free):
            _carry_out(connection, step, 0, 0, None)
        connection.execute(set_role(draft.role))
        if installed.privileges.versioned:
            dropped += drop_ours(connection, tenants=bool(tenants))
        elif free:
            dropped.append(f"what the functions in {draft.app} had to do with schema {OUR_SCHEMA}")
    return tuple(dropped)


@contextmanager
def _transaction(connection: Connection, *, keep: bool = True) -> Iterator[None]:
    """One transaction with our settings; what the server refuses becomes a MigrationError."""
    if not connection.autocommit or connection.info.transaction_status != TransactionStatus.IDLE:
        raise ValueError("a migration needs an idle connection in autocommit mode")
    try:
        with connection.transaction(force_rollback=not keep):
            connection.execute(command("begin"))
            yield
    except psycopg.Error as error:
        raise _failure(error, "migrate failed") from None


def _failure(error: psycopg.Error, what: str) -> MigrationError:
    state = f" ({error.sqlstate})" if error.sqlstate else ""
    return MigrationError(f"{what}: {primary_text(error)}{state}; nothing was changed: mend it, then run migrate again")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What `migrate` was asked for, by its own parameters."""

    recreate_views: bool = False
    accept_publication: bool = False
    tenants: bool = False
    redact: bool | None = None


def _plan(connection: Connection, app_schema: str, asked: _Asked) -> Plan:
    catalog = Catalog(connection, app_schema)
    installed = catalog.read(redact=asked.redact)
    plan = make_plan(catalog, installed, recreate_views=asked.recreate_views, tenants=asked.tenants)
    accepted = asked.accept_publication
    warnings = require_prepared(connection, lambda: _execute(connection, plan.tables), accepted=accepted)
    return replace(plan, warnings=(*plan.warnings, *warnings))


def _plan_without_waiting(connection: Connection, app_schema: str, asked: _Asked) -> Plan:
    row = connection.execute(command("try_lock")).fetchone()
    if row is None or not row[0]:
        raise MigrationError("another migration is running here: wait for its end, then ask again")
    return _plan(connection, app_schema, asked)


def _execute(connection: Connection, steps: Iterable[Step]) -> None:
    for step in steps:
        for each in step.commands:
            connection.execute(each)


def _carry_out(
    connection: Connection,
    step: Step,
    number: int,
    total: int,
    progress: Callable[[Populating], None] | None,
) -> None:
    if progress is not None and step.populates is not None:
        progress(Populating(step.populates, number, total, None))
    started = time.monotonic()
    try:
        _execute(connection, (step,))
    except psycopg.Error as error:
        raise _failure(error, f"migrate failed to {step.title}") from None
    if progress is not None and step.populates is not None:
        progress(Populating(step.populates, number, total, time.monotonic() - started))


def _as_command(text: str) -> str:
    return text if text.endswith(";") else f"{text};"


def _report(plan: Plan, app_schema: str, version: int) -> MigrationReport:
    steps = tuple(step.title for step in plan.steps)
    return MigrationReport(plan.found, app_schema, plan.mode, plan.version, version, steps, plan.warnings)
