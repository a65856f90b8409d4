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

Before = RollupsBefore | DatabaseFault | None
"""The rollups before a refresh; a fault where they could not be read, None in plain mode."""


def statement(name: str, **names: sql.Composable) -> sql.Composed:
    """Return the block `name` of refresh.sql with its placeholders filled."""
    return sql.SQL(blocks("refresh/refresh.sql")[name]).format(**names)


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
    if claimed & set(ROLLUP_VIEWS) and before is not None:
        reports = _verify_fold(transaction, reports, before)
        claimed = {report.view for report in reports if report.success and report.view is not None} & set(views)
    return tuple(_verify_locks(transaction, reports, claimed, incremental=before is not None) if claimed else reports)


def _verify_fold(
    transaction: Transaction, reports: Sequence[ViewReport], before: RollupsBefore | DatabaseFault
) -> Sequence[ViewReport]:
    after = before if isinstance(before, DatabaseFault) else _rollups_after(transaction, before)
    if isinstance(after, DatabaseFault):
        return disbelieved(reports, ROLLUP_VIEWS, f"the refresh cannot be verified: {after.message}", after)
    error = unfolded(after)
    return reports if error is None else disbelieved(reports, ROLLUP_VIEWS, error)


def _verify_locks(
    transaction: Transaction, reports: Sequence[ViewReport], claimed: set[str], *, incremental: bool
) -> Sequence[ViewReport]:
    locked = _named(transaction, "refreshed_here", claimed)
    # pg_locks is there for everyone: what keeps it from answering says nothing about the views
    missing = set() if isinstance(locked, DatabaseFault) else claimed - locked
    if not missing or not incremental:
        return disbelieved(reports, missing, _NOT_REFRESHED)
    current = _named(transaction, "nothing_due", missing)
    if isinstance(current, DatabaseFault):
        return disbelieved(reports, missing, f"the refresh cannot be verified: {current.message}", current)
    return disbelieved(reports, missing - current, _NOT_REFRESHED)


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
