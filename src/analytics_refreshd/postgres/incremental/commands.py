"""The commands of the incremental mode for one application schema."""

from psycopg import sql

from analytics_refreshd.postgres.connection import sqlfiles
from analytics_refreshd.postgres.connection.server import has_maintain
from analytics_refreshd.postgres.schema.definitions import (
    FUNCTIONS,
    INCREMENTAL_TABLES,
    OUR_SCHEMA,
    SOURCE_COLUMNS,
    Definitions,
    compose,
    verbatim,
)

VIEW_WITHOUT_ROLLUP = "recent_failures"
"""This view reads the table."""

_COUNTED = frozenset({"executed_at", "trigger_id", "action_type", "status", "duration_ms", "retry_count"})

# what a function uses by name, and so looks at before: relations, functions
_DELTAS = (("deltas",), ())
_MARKS = (("rebuild_marks",), ())
_NOTE = (("rebuild_marks",), ("obstacles",))
_DUE = (("incremental", "view_changes", "view_refreshes", "last_refresh"), ("view_due",))
_REFRESHED = (("view_changes", "view_refreshes"), ())
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


def block(file: str, name: str, /, **names: sql.Composable) -> sql.Composed:
    """Fill the placeholders of the block `name` of `incremental/FILE.sql`.

    A block without placeholders is left as it is.
    """
    text = sqlfiles.blocks(f"incremental/{file}.sql")[name]
    return compose(text, **names) if names else verbatim(text)


class Commands:
    """The SQL of what the incremental mode creates."""

    def __init__(self, definitions: Definitions) -> None:
        security = "security invoker" if has_maintain(definitions.server_version) else "security definer"
        table = sql.Identifier(definitions.app_schema, "action_results")
        self.names: dict[str, sql.Composable] = {
            "app": sql.Identifier(definitions.app_schema),
            "app_name": sql.Literal(definitions.app_schema),
            # the table's name as a literal that regclass reads
            "app_table": sql.Literal(table.as_string()),
            "security": sql.SQL(security),
        }

    def objects(self) -> list[sql.Composed]:
        """Return the commands that create its tables and functions."""
        return [block("objects", "tables"), block("objects", "tables_comments"), *self.functions()]

    def functions(self) -> list[sql.Composed]:
        """Return our schema's functions, with their checks of what they use."""
        table = self.names["app_table"]
        away = block("capture", "look_away", app_table=table)
        marks = _refuse_unsound(_MARKS)
        look = block(
            "capture",
            "look",
            app_table=table,
            look_away=away,
            countable=block("capture", "countable"),
            refuse_unsound_deltas=_refuse_unsound(_DELTAS),
            refuse_unsound_marks=marks,
        )
        return [
            block(
                "capture",
                "functions",
                app_table=table,
                look=look,
                look_away=away,
                columns=block("capture", "columns", row=sql.SQL("")),
                obstacles=self.obstacles(),
                refuse_unsound_marks=marks,
                refuse_unsound_note=_refuse_unsound(_NOTE),
            ),
            self._fold_functions(),
            block(
                "functions",
                "helpers",
                app=self.names["app"],
                app_name=self.names["app_name"],
                refuse_unsound_due=_refuse_unsound(_DUE),
                refuse_unsound_refreshed=_refuse_unsound(_REFRESHED),
            ),
        ]

    def obstacles(self) -> sql.Composed:
        """Return the query for why changes cannot be captured and counted exactly.

        Its rows: in words, whether it stops the fold, whether rows may be missed.
        """
        ours = sql.SQL(", ").join(sql.Literal(name) for name in INCREMENTAL_TABLES)
        countable = block("capture", "countable")
        return block("capture", "obstacles", app_table=self.names["app_table"], countable=countable, ours=ours)

    def _fold_functions(self) -> sql.Composed:
        app = self.names["app"]

        def rows_in(condition: str) -> sql.Composed:
            columns = block("capture", "columns", row=sql.SQL("d."))
            changes = block("fold", "changes_from_rows", app=app, range=sql.SQL(condition), columns=columns)
            return block("fold", "add_up", app=app, changes=changes)

        columns = block("capture", "columns", row=sql.SQL("r."))
        changes = block("fold", "changes_from_deltas", app=app, columns=columns)
        deltas = block("fold", "add_up", app=app, changes=changes)
        return block(
            "fold",
            "functions",
            app=app,
            app_table=self.names["app_table"],
            refuse_unsound=_refuse_unsound(_FOLD),
            add_up_deltas=deltas,
            add_unheld=block("fold", "add_unheld"),
            # "-infinity" is also how a build that has not begun says so
            add_up_timeless=rows_in("d.executed_at is null or d.executed_at = '-infinity'"),
            add_up_range=rows_in(
                "d.executed_at >= chunk_from and d.executed_at > '-infinity' and d.executed_at < chunk_until"
            ),
            add_up_rest=rows_in("d.executed_at >= chunk_from and d.executed_at > '-infinity'"),
        )

    def refresh_functions(self) -> dict[str, sql.Composed]:
        """Return, by name, the commands that replace the plain refresh functions."""
        names = {"app_name": self.names["app_name"], "app_table": self.names["app_table"]}
        guards = {name: block("guard", name, **names) for name in ("refuse_untrusted", "refuse_hidden")}
        return {
            name: block("functions", name, target=self.names["app"], **guards, **self.names)
            for name in FUNCTIONS
            if name in sqlfiles.blocks("incremental/functions.sql")
        }

    def record_functions(self) -> sql.Composed:
        """Return the command that notes the functions as they are now."""
        return self._with_hashes("record_functions")

    def foreign_functions(self) -> sql.Composed:
        """Return the query for functions that are not as they were installed."""
        return self._with_hashes("foreign_functions", app_name=self.names["app_name"])

    def _with_hashes(self, name: str, **names: sql.Composable) -> sql.Composed:
        hashes = block("functions", "hashes", app_name=self.names["app_name"])
        return block("functions", name, hashes=hashes, **names)

    def caller_grants(self) -> sql.Composed:
        """Return the command that lets every refreshing role call our functions."""
        return block("functions", "caller_grants", app_name=self.names["app_name"])

    def view(self, name: str, target: str = OUR_SCHEMA) -> sql.Composed:
        """Return the command that creates a view over the rollups.

        It is created in `target`, unpopulated and without indexes.
        """
        names: dict[str, sql.Composable] = {"target": sql.Identifier(target)}
        if "{app}" in sqlfiles.blocks("incremental/views.sql")[name]:
            names["app"] = self.names["app"]
        return block("views", name, **names)

    def query(self, name: str) -> sql.Composed:
        """Return the SELECT of the view `name` over the rollups."""
        return _select(self.view(name))

    def dropped(self) -> list[sql.Composed]:
        """Return the commands that drop everything but the triggers."""
        return [block(file, "drop") for file in ("functions", "fold", "capture", "objects")]


def _sound(used: tuple[tuple[str, ...], tuple[str, ...]]) -> sql.Composed:
    relations, functions = (sql.SQL(", ").join(sql.Literal(name) for name in names or ("",)) for names in used)
    return block("guard", "sound", relations=relations, functions=functions)


def _refuse_unsound(used: tuple[tuple[str, ...], tuple[str, ...]]) -> sql.Composed:
    return block("guard", "refuse_unsound", sound=_sound(used))


def installed_query(definitions: Definitions, name: str) -> sql.Composed:
    """Return the SELECT of the plain view `name` as it is installed."""
    return _select(definitions.create(name))


def plain_query(definitions: Definitions, name: str) -> sql.Composed:
    """Return the SELECT of the plain view `name`.

    It reads what the views can hold of the rows.
    """
    held = block(
        "verify",
        "held",
        app=sql.Identifier(definitions.app_schema),
        columns=block("capture", "columns", row=sql.SQL("a.")),
        others=sql.SQL(", ").join(sql.Identifier("a", column) for column in SOURCE_COLUMNS if column not in _COUNTED),
        least=sql.Literal(8 if name == VIEW_WITHOUT_ROLLUP else 4),
    )
    table = sql.SQL("from {}.action_results r").format(sql.Identifier(definitions.app_schema)).as_string()
    before, found, after = _select(definitions.create(name)).as_string().partition(table)
    if not found:
        raise ValueError(f"{name} does not read action_results as r")
    return verbatim(f"{before}from {held.as_string()} r{after}")


def _select(create_view: sql.Composed) -> sql.Composed:
    """Return the query inside `create materialized view … as … with no data`."""
    text = create_view.as_string()
    start, end = text.index(" as\nselect") + len(" as\n"), text.rindex("with no data")
    return verbatim(text[start:end])


__all__ = ["Commands", "block", "installed_query", "plain_query"]
