"""Verifies in the transaction that refreshed what a refresh reports: locks, and in incremental mode the fold."""

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.evidence import ROLLUP_VIEWS, RollupsAfter, RollupsBefore, disbelieved, unfolded
from analytics_refreshd.core.model import Reason, ViewReport
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.connection.errors import contract_fault
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.refresh.transaction import Transaction

_NOT_REFRESHED = "the function reports success, but did not refresh the view"

_Doubt = tuple[str, DatabaseFault | None]
"""Why a success is not believed, with the fault that kept it from being verified."""
Before = RollupsBefore | DatabaseFault | None
"""The rollups before a refresh; a fault where they could not be read, None in plain mode."""


def statement(name: str, **names: sql.Composable) -> sql.Composed:
    """Return the block `name` of refresh.sql with its placeholders filled."""
    parts = blocks("refresh/refresh.sql")
    return sql.SQL(parts[name]).format(measured=sql.SQL(parts["measured"]), **names)


def refuse_hidden(transaction: Transaction) -> None:
    """Raise DatabaseFault if row security would empty a view.

    Its owner may see no row then, and the view keeps those that it has.
    """
    hidden = transaction.first["hidden"]
    if hidden:
        raise contract_fault(f"{printable(hidden)}: see `analytics-refreshd check`")


def rollups_before(transaction: Transaction) -> Before:
    """Read what the refresh must fold. Call it before anything is folded.

    Raises DatabaseFault where the connection was lost.
    """
    if not transaction.first["mode_known"]:
        return None
    mode = transaction.attempt(statement("mode"))
    if isinstance(mode, DatabaseFault):
        return mode
    if mode != [("incremental",)]:
        return None
    if not transaction.first["incremental"]:
        return DatabaseFault(
            "this role may not read the incremental mode's tables: run deploy/sql/grants.sql for it",
            error_class=ErrorClass.PERMANENT,
            reason=Reason.PERMISSION,
            sqlstate="42501",
        )
    found = transaction.attempt(statement("rollups_before"))
    return found if isinstance(found, DatabaseFault) else RollupsBefore(*found[0])


def verify_refreshed(
    transaction: Transaction, reports: Sequence[ViewReport], views: Sequence[str], before: Before
) -> tuple[ViewReport, ...]:
    """Fail each reported success of `views` whose view holds old rows.

    A refresh holds its view's lock until the transaction ends, so this must run in the transaction that refreshed.
    In the incremental mode a view that is up to date needs no refresh, and the views over rollups need a fold since
    `before`. A success that cannot be verified fails for the reason of that.
    """
    claimed = {report.view for report in reports if report.success and report.view is not None} & set(views)
    doubt = _doubt_of_fold(transaction, before) if claimed & set(ROLLUP_VIEWS) else None
    believed = disbelieved(reports, ROLLUP_VIEWS, *doubt) if doubt is not None else tuple(reports)
    if doubt is not None:
        claimed -= set(ROLLUP_VIEWS)
    if not claimed:
        return believed
    locked = _named(transaction, "refreshed_here", claimed)
    # pg_locks is there for everyone: what keeps it from answering says nothing about the views
    missing = set() if isinstance(locked, DatabaseFault) else claimed - locked
    if not missing or before is None:
        return disbelieved(believed, missing, _NOT_REFRESHED)
    return disbelieved(believed, *_old(transaction, missing, doubt or _doubt_of_fold(transaction, before)))


def _old(
    transaction: Transaction, unlocked: set[str], doubt: _Doubt | None
) -> tuple[set[str], str, DatabaseFault | None]:
    """Return which views that were not refreshed hold old rows, or may, and why that is thought."""
    if doubt is not None:
        # whether one is due shows in what was folded
        return unlocked, *doubt
    current = _named(transaction, "nothing_due", unlocked)
    if isinstance(current, DatabaseFault):
        return unlocked, _unverified(current), current
    return unlocked - current, _NOT_REFRESHED, None


def _doubt_of_fold(transaction: Transaction, before: Before) -> _Doubt | None:
    """Return why the rollups may lack changes that were there before; None where they hold them, and in plain mode."""
    if before is None:
        return None
    after = before if isinstance(before, DatabaseFault) else _rollups_after(transaction, before)
    if isinstance(after, DatabaseFault):
        return _unverified(after), after
    error = unfolded(after)
    return None if error is None else (error, None)


def _unverified(fault: DatabaseFault) -> str:
    return f"the refresh cannot be verified: {fault.message}"


def _named(transaction: Transaction, query: str, views: set[str]) -> set[str] | DatabaseFault:
    rows = transaction.attempt(statement(query, views=sql.Literal(sorted(views))))
    return rows if isinstance(rows, DatabaseFault) else {str(name) for (name,) in rows}


def _rollups_after(transaction: Transaction, before: RollupsBefore) -> RollupsAfter | DatabaseFault:
    dated = transaction.first["changes_dated"]

    def seen(row: str) -> sql.Composable:
        values: dict[str, sql.Composable] = {"row": sql.Identifier(row), "snapshot": sql.Literal(before.snapshot)}
        return statement("seen", **values) if dated else sql.SQL("false")

    rows: list[tuple[Any, ...]] | DatabaseFault = transaction.attempt(
        statement(
            "rollups_after",
            delta_seen=seen("d"),
            mark_seen=seen("m"),
            capture=sql.Literal(before.capture),
            folded_at=sql.Literal(before.folded_at),
        )
    )
    return rows if isinstance(rows, DatabaseFault) else RollupsAfter(*rows[0])
