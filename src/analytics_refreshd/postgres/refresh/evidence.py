"""Whether a view was refreshed, whatever the function says: the transaction still holds the lock of a refresh."""

from collections.abc import Sequence
from dataclasses import replace

from psycopg import sql

from analytics_refreshd.core.model import Reason, ViewReport
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.refresh.transaction import Transaction

_NOT_REFRESHED = "the function reports success, but did not refresh the view"


def believed(transaction: Transaction, reports: Sequence[ViewReport], views: Sequence[str]) -> tuple[ViewReport, ...]:
    """The reports, with a success of one of `views` that is none turned into a failure of reason contract.

    To be asked in the transaction that refreshed, before it ends. In the incremental mode a view that holds everything
    already needs no refresh. Where the server does not answer the question, the function is believed.
    """
    claimed = {report.view for report in reports if report.success and report.view is not None} & set(views)
    missing = claimed - _found(transaction, "refreshed_here", claimed)
    if missing and transaction.first["incremental"]:
        missing -= _found(transaction, "nothing_due", missing)
    return tuple(
        replace(report, success=False, reason=Reason.CONTRACT, error=_NOT_REFRESHED)
        if report.success and report.view in missing
        else report
        for report in reports
    )


def _found(transaction: Transaction, query: str, views: set[str]) -> set[str]:
    """Those of `views` that the query names; all of them where it fails."""
    if not views:
        return set()
    rows = transaction.attempt(sql.SQL(blocks("refresh/refresh.sql")[query]).format(views=sql.Literal(sorted(views))))
    return views if rows is None else {str(name) for (name,) in rows}
