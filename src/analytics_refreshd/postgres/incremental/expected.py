"""What the views must hold, by their plain definitions: of the rows, and of what is frozen."""

from psycopg import sql

from analytics_refreshd.postgres.incremental.blocks import block
from analytics_refreshd.postgres.schema.definitions import SOURCE_COLUMNS, Definitions, verbatim

VIEW_WITHOUT_ROLLUP = "recent_failures"
"""This view reads the table."""

_COUNTED = frozenset({"executed_at", "trigger_id", "action_type", "status", "duration_ms", "retry_count"})
_OTHERS = tuple(column for column in SOURCE_COLUMNS if column not in _COUNTED)


def installed_query(definitions: Definitions, name: str) -> sql.Composed:
    """Return the SELECT of the plain view `name` as it is installed."""
    return select_of(definitions.create(name))


def plain_query(definitions: Definitions, name: str) -> sql.Composed:
    """Return the SELECT of the plain view `name`.

    It reads what the views can hold of the rows.
    """
    least = 8 if name == VIEW_WITHOUT_ROLLUP else 4
    return _plain_over(definitions, name, block("verify", "held", **_held_names(definitions, least)))


def expected_query(definitions: Definitions, name: str, *, frozen: bool) -> sql.Composed:
    """Return the SELECT for what the view `name` must hold.

    With `frozen`, of the rows after the horizon and of what is frozen.
    """
    if not frozen or name == VIEW_WITHOUT_ROLLUP:
        return plain_query(definitions, name)
    nulls = sql.SQL(", ").join(sql.SQL("null") for _ in _OTHERS)
    held = block("horizon", "held", nulls=nulls, target=block("horizon", "target"), **_held_names(definitions, 4))
    if name == "trigger_performance_summary":
        return block("horizon", "with_frozen_triggers", held=held)
    plain = _plain_over(definitions, name, held)
    return block("horizon", "with_frozen_hours", plain=plain) if name == "action_metrics_hourly" else plain


def _held_names(definitions: Definitions, least: int) -> dict[str, sql.Composable]:
    return {
        "app": sql.Identifier(definitions.app_schema),
        "columns": block("capture", "columns", row=sql.SQL("a.")),
        "others": sql.SQL(", ").join(sql.Identifier("a", column) for column in _OTHERS),
        "least": sql.Literal(least),
    }


def _plain_over(definitions: Definitions, name: str, held: sql.Composed) -> sql.Composed:
    table = sql.SQL("from {}.action_results r").format(sql.Identifier(definitions.app_schema)).as_string()
    before, found, after = select_of(definitions.create(name)).as_string().partition(table)
    if not found:
        raise ValueError(f"{name} does not read action_results as r")
    return verbatim(f"{before}from {held.as_string()} r{after}")


def select_of(create_view: sql.Composed) -> sql.Composed:
    """Return the query inside a command that creates a materialized view."""
    text = create_view.as_string()
    start, end = text.index(" as\nselect") + len(" as\n"), text.rindex("with no data")
    return verbatim(text[start:end])
