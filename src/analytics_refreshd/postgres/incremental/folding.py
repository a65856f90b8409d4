"""The functions that fold, build and freeze."""

from psycopg import sql

from analytics_refreshd.postgres.incremental.blocks import Used, block, refuse_unsound
from analytics_refreshd.postgres.schema.definitions import FROZEN_TABLES

_NOTHING: Used = ((), ())
_HASHED = ("hour", "trigger", "type", "duration", "retry", "day")
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
_FROZEN = (FROZEN_TABLES, ("freeze", "apply_late", "organizations_of"))
_OUTBOX = (("outbox", "outbox_batches", "outbox_rows"), ("outbox_settle", "outbox_restart"))
_ERASING = ((*_FOLD[0], *FROZEN_TABLES), (*_FOLD[1], "fold"))
_HASHES = {f"{name}_hash": block("horizon", f"{name}_hash") for name in _HASHED}


def fold_functions(app_schema: str, *, frozen: bool, outbox: bool = False) -> list[sql.Composed]:
    """Return the functions that fold and build; with `frozen`, also freeze().

    With `outbox` what is folded is kept as a batch too.
    """
    app = sql.Identifier(app_schema)
    app_table = sql.Literal(sql.Identifier(app_schema, "action_results").as_string())
    losses, settle = block("fold", "losses"), _settle()

    def rows_in(condition: str) -> sql.Composed:
        return _add_up(app, frozen, "fold", "changes_from_rows", range=sql.SQL(condition), columns=_columns("d."))

    def if_frozen(name: str, otherwise: str, /, **names: sql.Composable) -> sql.Composable:
        return block("horizon", name, **names) if frozen else sql.SQL(otherwise)

    functions = block(
        "fold",
        "functions",
        app=app,
        app_table=app_table,
        refuse_unsound=refuse_unsound(_FOLD, _FROZEN if frozen else _NOTHING, _OUTBOX if outbox else _NOTHING),
        restart_outbox=_if_outbox(outbox, "restart", reason=sql.SQL("rebuild_start.reason")),
        settle_outbox=_if_outbox(outbox, "settle"),
        add_up_deltas=_add_up(
            app,
            frozen,
            "fold",
            "changes_from_deltas",
            outbox=outbox,
            columns=_columns("r."),
            losses=losses,
            leave_late=if_frozen("leave_late", ""),
        ),
        add_unheld=block("fold", "add_unheld"),
        settle=settle,
        freeze=sql.SQL("perform analytics_refresh.freeze()" if frozen else "null"),
        apply_late=if_frozen("apply_late", "null"),
        count_late=if_frozen("count_late", "null"),
        restart_late=if_frozen("restart_late", "", target=block("horizon", "target")),
        freeze_step=if_frozen("freeze_step", "null", target=block("horizon", "target")),
        restore_triggers=if_frozen("restore_triggers", "null", add_to_trigger=_added("c")),
        restore_hours=if_frozen("restore_hours", "null"),
        # "-infinity" is also how a build that has not begun says so
        add_up_timeless=rows_in("d.executed_at is null or d.executed_at = '-infinity' and horizon = '-infinity'"),
        add_up_range=rows_in(
            "d.executed_at >= chunk_from and d.executed_at > '-infinity' and d.executed_at < chunk_until"
        ),
        add_up_rest=rows_in("d.executed_at >= chunk_from and d.executed_at > '-infinity'"),
    )
    return [functions, _freezing_functions(app_schema, outbox=outbox)] if frozen else [functions]


def outbox_functions() -> sql.Composed:
    """Return the functions of the outbox."""
    used: Used = (
        (
            "incremental", "rebuild_marks", "hour_cells", "trigger_cells", "outbox", "outbox_batches", "outbox_rows",
            "outbox_sender", "outbox_ranges",
        ),
        ("capture_now", "outbox_restart"),
    )  # fmt: skip
    return block("outbox", "functions", refuse_unsound=refuse_unsound(used), hour_at=block("outbox", "hour_at"))


def _if_outbox(outbox: bool, name: str, **names: sql.Composable) -> sql.Composable:
    return block("outbox", name, next=sql.SQL(""), **names) if outbox else sql.SQL("")


def _freezing_functions(app_schema: str, *, outbox: bool) -> sql.Composed:
    app, known = sql.Identifier(app_schema), organizations_known(app_schema)

    def names(days_of: sql.Composable) -> dict[str, sql.Composable]:
        return {
            "losses": block("fold", "losses"),
            "freeze_kept": block(
                "horizon", "freeze_kept", add_to_frozen_trigger=_added("f"), days_of=days_of, **_HASHES
            ),
            "kept_hash": block("horizon", "kept_hash", **_HASHES),
        }

    return block(
        "horizon",
        "functions",
        app=app,
        target=block("horizon", "target"),
        organizations_known=known,
        hold_triggers=block("horizon", "hold_triggers", app=app, organizations_known=known),
        add_up=_add_up(
            app,
            True,
            "horizon",
            "changes_at_freeze",
            outbox=outbox,
            columns=_columns("r."),
            **names(sql.SQL("")),
            **_HASHES,
        ),
        add_up_late=_add_up(
            app, True, "horizon", "changes_from_late", outbox=outbox, **names(block("horizon", "late_days"))
        ),
        restart_outbox=_if_outbox(outbox, "restart", reason=sql.Literal("triggers were erased")),
        settle=_settle(),
        count_late=block("horizon", "count_late"),
        bounded_before=block("horizon", "bounded_before"),
        refuse_unsound=refuse_unsound(_ERASING, _OUTBOX if outbox else _NOTHING),
        **_HASHES,
    )


def _add_up(
    app: sql.Identifier, frozen: bool, file: str, name: str, /, *, outbox: bool = False, **names: sql.Composable
) -> sql.Composed:
    changes = block(file, name, app=app, **names)
    frozen_part = block("horizon", "frozen" if frozen else "frozen_none")
    return block(
        "fold",
        "add_up",
        app=app,
        changes=changes,
        frozen=frozen_part,
        outbox=_if_outbox(outbox, "batch"),
        add_to_trigger=_added("c"),
    )


def _added(row: str) -> sql.Composed:
    """Add what is excluded to a trigger's row, which the statement calls `row`."""
    return block("fold", "add_to_trigger", row=sql.SQL(row))


def _settle() -> sql.Composed:
    return block("fold", "settle", add_unheld=block("fold", "add_unheld"))


def _columns(row: str) -> sql.Composed:
    return block("capture", "columns", row=sql.SQL(row))


def organizations_known(app_schema: str) -> sql.Composed:
    """Return the condition for knowing the organizations of triggers."""
    tables = {
        name: sql.Literal(sql.Identifier(app_schema, name).as_string()) for name in ("action_results", "triggers")
    }
    return block(
        "horizon", "organizations_known", app_table=tables["action_results"], triggers_table=tables["triggers"]
    )


def frozen_checksum() -> sql.Composed:
    """Return the query for the checksum of all that is frozen."""
    return block("horizon", "checksum", **_HASHES)
