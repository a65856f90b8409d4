"""The functions that fold, build and freeze."""

from psycopg import sql

from analytics_refreshd.postgres.incremental.blocks import Used, block, refuse_unsound
from analytics_refreshd.postgres.schema.definitions import FROZEN_TABLES

_NOTHING: Used = ((), ())
_HASHED = ("hour", "trigger", "type", "duration", "retry")
_FOLD = (
    (
        "incremental", "deltas", "rebuild_marks", "cells", "hour_cells", "trigger_cells", "type_cells",
        "duration_counts", "retry_counts", "duration_stats", "window_edge", "type_window", "view_changes",
    ),
    (
        "capture_now", "require_capture", "obstacles", "rebuild_step", "rebuild_start", "recount", "percentile",
        "drop_empty_counts", "drop_empty_cells", "type_window_now",
    ),
)  # fmt: skip
_FROZEN = (FROZEN_TABLES, ("freeze",))


def fold_functions(app_schema: str, *, frozen: bool) -> list[sql.Composed]:
    """Return the functions that fold and build; with `frozen`, also freeze()."""
    app = sql.Identifier(app_schema)
    app_table = sql.Literal(sql.Identifier(app_schema, "action_results").as_string())
    frozen_part = block("horizon", "frozen" if frozen else "frozen_none")
    losses = block("fold", "losses")

    def columns(row: str) -> sql.Composed:
        return block("capture", "columns", row=sql.SQL(row))

    def rows_in(condition: str) -> sql.Composed:
        changes = block("fold", "changes_from_rows", app=app, range=sql.SQL(condition), columns=columns("d."))
        return block("fold", "add_up", app=app, changes=changes, frozen=frozen_part)

    changes = block("fold", "changes_from_deltas", app=app, columns=columns("r."), losses=losses)
    add_unheld = block("fold", "add_unheld")
    settle = block("fold", "settle", add_unheld=add_unheld)
    target = block("horizon", "target")
    functions = block(
        "fold",
        "functions",
        app=app,
        app_table=app_table,
        refuse_unsound=refuse_unsound(_FOLD, _FROZEN if frozen else _NOTHING),
        add_up_deltas=block("fold", "add_up", app=app, changes=changes, frozen=frozen_part),
        add_unheld=add_unheld,
        settle=settle,
        freeze=sql.SQL("perform analytics_refresh.freeze()" if frozen else "null"),
        count_late=block("horizon", "count_late") if frozen else sql.SQL("null"),
        restart_late=block("horizon", "restart_late", target=target) if frozen else sql.SQL(""),
        restore_triggers=block("horizon", "restore_triggers") if frozen else sql.SQL("null"),
        restore_hours=block("horizon", "restore_hours") if frozen else sql.SQL("null"),
        # "-infinity" is also how a build that has not begun says so
        add_up_timeless=rows_in("d.executed_at is null or d.executed_at = '-infinity' and horizon = '-infinity'"),
        add_up_range=rows_in(
            "d.executed_at >= chunk_from and d.executed_at > '-infinity' and d.executed_at < chunk_until"
        ),
        add_up_rest=rows_in("d.executed_at >= chunk_from and d.executed_at > '-infinity'"),
    )
    if not frozen:
        return [functions]
    hashes = {f"{name}_hash": block("horizon", f"{name}_hash") for name in _HASHED}
    kept = block("horizon", "changes_at_freeze", app=app, columns=columns("r."), losses=losses, **hashes)
    freeze = block(
        "horizon",
        "functions",
        app=app,
        target=target,
        add_up=block("fold", "add_up", app=app, changes=kept, frozen=frozen_part),
        settle=settle,
        bounded_before=block("horizon", "bounded_before"),
    )
    return [functions, freeze]


def frozen_checksum() -> sql.Composed:
    """Return the query for the checksum of all that is frozen."""
    return block("horizon", "checksum", **{f"{name}_hash": block("horizon", f"{name}_hash") for name in _HASHED})
