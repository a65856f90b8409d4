"""The incremental mode's part of a refresh: rebuild if necessary, then fold once for all views."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.refresh.transaction import RefreshConnection, RunState, Transaction, beginning
from analytics_refreshd.postgres.refresh.verification import Before, rollups_before, statement

_MOST_ERROR_CHARACTERS = 1000
_NOT_COUNTABLE = "55000"
"""What the fold raises where its tables, triggers or columns are not as they must be."""


def _ask(transaction: Transaction, name: str) -> list[tuple[Any, ...]]:
    return transaction.fetch(statement(name))


def _usable(transaction: Transaction) -> bool:
    """Whether the fence is free and this role can use the incremental mode.

    Otherwise each view's function folds for itself.
    """
    return bool(transaction.first["unfenced"] and transaction.first["incremental"])


def rebuild(
    connection: RefreshConnection, run: RunState, parameters: Mapping[str, Any], on_started: Callable[[], None]
) -> str | None:
    """Build the rollups in committed steps until they are whole; return why.

    Figures of more than a day are frozen in such steps, too. None where nothing was due, and where the table is not one
    to count: the refresh says why, for its views alone. `on_started()` is called before the first step. Raises
    DatabaseFault; the steps before it stay.
    """
    reason: str | None = None
    try:
        while True:
            with connection.transaction(run, beginning("fold"), parameters) as transaction:
                due = _ask(transaction, "rebuild_due") if _usable(transaction) else []
                if not due:
                    return reason
                if reason is None:
                    reason = printable(due[0][0])
                    on_started()
                ((share,),) = _ask(transaction, "rebuild_step")
            if due[0][1] and share >= 1:
                # functions of an older program know of no such steps: the fold freezes all of it
                return reason
    except DatabaseFault as fault:
        if fault.sqlstate == _NOT_COUNTABLE:
            return None
        # no view was touched, so a lost COMMIT leaves no doubt about them
        fault.committing = False
        raise


@dataclass(frozen=True, slots=True)
class Folded:
    """What a fold took, and why it rebuilt the rollups.

    All are None where nothing was folded; `rebuild_reason` also where the fold rebuilt nothing. `rows` counts the
    changes, `cost` is that of a fold in a transaction of its own.
    """

    seconds: float | None = None
    rebuild_reason: str | None = None
    rows: int | None = None
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class ViewFold:
    """A fold made before all views, as their transactions see it.

    `setting` is that of `analytics_refresh.fold`; `before` has the rollups before the fold.
    """

    setting: str
    before: Before


def fold_once(connection: RefreshConnection, run: RunState, parameters: Mapping[str, Any]) -> tuple[ViewFold, Folded]:
    """Fold in a transaction of its own.

    Returns what the views' transactions need, and the fold.

    The setting `analytics_refresh.fold` is "off" after a fold, empty where none was made, and else the error of a fold
    that the server refused: by it the functions fail the views that need the fold, and refresh the others. Raises
    DatabaseFault where the server is away or the run is over.
    """
    before: Before = None
    try:
        with connection.transaction(run, beginning("fold"), parameters) as transaction:
            before = rollups_before(transaction)
            if not _usable(transaction) or before is None:
                return ViewFold("", before), Folded()
            begun = time.monotonic()
            cost = transaction.measure(statement("fold"))
            folded = folded_here(transaction)
        return ViewFold("off", before), replace(folded, seconds=time.monotonic() - begun, cost=cost)
    except DatabaseFault as fault:
        over = run.cancelled.is_set() or run.remaining_seconds() <= 0
        if fault.sqlstate is None or fault.error_class.away or over:
            fault.committing = False
            raise
        # what cannot be folded cannot be read either: without a fold no view over rollups is refreshed
        setting = f"{fault.sqlstate}: {fault.message}"[:_MOST_ERROR_CHARACTERS]
        return ViewFold(setting, before if before is not None else fault), Folded()


def folded_here(transaction: Transaction) -> Folded:
    """Read what this transaction's fold took, by the database's clock."""
    if not transaction.first["incremental"]:
        return Folded()
    found = transaction.attempt(statement("folded"))
    if isinstance(found, DatabaseFault) or not found:
        return Folded()
    milliseconds, reason, rows = found[0]
    return Folded(milliseconds / 1000, printable(reason) if reason else None, rows)
