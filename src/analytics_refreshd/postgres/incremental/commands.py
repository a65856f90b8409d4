"""The commands of the incremental mode for one application schema."""

from psycopg import sql

from analytics_refreshd.core.evidence import ROLLUP_VIEWS
from analytics_refreshd.postgres.connection import sqlfiles
from analytics_refreshd.postgres.connection.server import has_maintain
from analytics_refreshd.postgres.incremental.blocks import block, refuse_unsound
from analytics_refreshd.postgres.incremental.expected import (
    VIEW_WITHOUT_ROLLUP,
    installed_query,
    plain_query,
    select_of,
)
from analytics_refreshd.postgres.incremental.folding import fold_functions, outbox_functions
from analytics_refreshd.postgres.schema.definitions import (
    FROZEN_TABLES,
    FUNCTIONS,
    INCREMENTAL_TABLES,
    OUR_SCHEMA,
    OUTBOX_TABLES,
    Definitions,
)

_EMPTY = sql.SQL("")
# what a function uses by name, and so looks at before: relations, functions
_DELTAS = (("deltas",), ())
_MARKS = (("rebuild_marks",), ())
_NOTE = (("rebuild_marks",), ("obstacles",))
_LOST = (("incremental",), ())
_DUE = (("incremental", "view_changes", "view_refreshes", "last_refresh"), ("view_due",))
_REFRESHED = (("view_changes", "view_refreshes"), ())
_ROWS = (
    ("hour_cells", "trigger_cells", "duration_stats", "retry_counts", "type_window"),
    ("fold",),
)


def _grant_to(file: str, roles: str, grants: str) -> sql.Composed:
    """Return the command that gives each of the roles of one block what another one grants."""
    given = sql.Literal(sqlfiles.blocks(f"incremental/{file}.sql")[grants])
    return block("functions", "grant_to", roles=block(file, roles), grants=given)


class Commands:
    """The SQL of what the incremental mode creates.

    `frozen` tells whether figures are frozen in this database, `outbox` whether a warehouse is fed from it; where they
    are not, nothing of it is created or asked.
    """

    def __init__(self, definitions: Definitions, *, frozen: bool = False, outbox: bool = False) -> None:
        self._frozen = frozen
        self._outbox = outbox
        self._app_schema = definitions.app_schema
        self._failure_texts = definitions.failure_texts()
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
        tables = [block(file, name) for file in self._files for name in ("tables", "tables_comments")]
        return [*tables, *self.functions()]

    def functions(self) -> list[sql.Composed]:
        """Return our schema's functions, with their checks of what they use."""
        table = self.names["app_table"]
        away = block("capture", "look_away", app_table=table)
        marks = refuse_unsound(_MARKS)
        look = block(
            "capture",
            "look",
            app_table=table,
            look_away=away,
            countable=block("capture", "countable"),
            refuse_unsound_deltas=refuse_unsound(_DELTAS),
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
                obstacles=self._obstacles(lost_partition=self._if_frozen("lost_partition", app_table=table)),
                capture_settings=self._if_frozen("capture_settings"),
                unfrozen=self._if_frozen("unfrozen", bounded_before=block("horizon", "bounded_before")),
                refuse_unsound_marks=marks,
                refuse_unsound_note=refuse_unsound(_NOTE, _LOST if self._frozen else ((), ())),
            ),
            *fold_functions(self._app_schema, frozen=self._frozen, outbox=self._outbox),
            *([outbox_functions()] if self._outbox else []),
            block(
                "functions",
                "helpers",
                app=self.names["app"],
                app_name=self.names["app_name"],
                refuse_unsound_due=refuse_unsound(_DUE),
                refuse_unsound_refreshed=refuse_unsound(_REFRESHED),
            ),
            *self.rows_functions(),
        ]

    def obstacles(self) -> sql.Composed:
        """Return the query for why changes cannot be captured and counted exactly.

        Its rows: in words, whether it stops the fold, whether rows may be missed.
        """
        return self._obstacles(lost_partition=_EMPTY)

    def _obstacles(self, *, lost_partition: sql.Composable) -> sql.Composed:
        ours = sql.SQL(", ").join(sql.Literal(name) for name in (*INCREMENTAL_TABLES, *FROZEN_TABLES, *OUTBOX_TABLES))
        return block(
            "capture",
            "obstacles",
            app_table=self.names["app_table"],
            countable=block("capture", "countable"),
            ours=ours,
            lost_partition=lost_partition,
        )

    def _if_frozen(self, name: str, /, **names: sql.Composable) -> sql.Composable:
        return block("horizon", name, **names) if self._frozen else _EMPTY

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

    def grants(self) -> list[sql.Composed]:
        """Return the commands that let every refreshing role call our functions.

        The roles that read the rollups may also read what is frozen.
        """
        callers = block("functions", "caller_grants", app_name=self.names["app_name"])
        outbox = [_grant_to("outbox", "senders", "sender_grants")] if self._outbox else []
        frozen = [_grant_to("horizon", "readers", "reader_grants")] if self._frozen else []
        return [callers, *outbox, *frozen]

    def view(self, name: str, target: str = OUR_SCHEMA) -> sql.Composed:
        """Return the command that creates a view over the rollups.

        It is created in `target`, unpopulated and without indexes.
        """
        names: dict[str, sql.Composable] = {"target": sql.Identifier(target)}
        if name == VIEW_WITHOUT_ROLLUP:
            names |= {"app": self.names["app"], **self._failure_texts}
        return block("views", name, **names)

    def query(self, name: str) -> sql.Composed:
        """Return the SELECT of the view `name` over the rollups."""
        return self.definition(name) if name == VIEW_WITHOUT_ROLLUP else block("views", f"{name}_query")

    def definition(self, name: str) -> sql.Composed:
        """Return the SELECT that the view `name` is defined by."""
        return select_of(self.view(name))

    def views_without_fold(self) -> sql.Composed:
        """Return the query for the views that fold nothing by themselves."""
        views = sql.SQL(", ").join(map(sql.Literal, ROLLUP_VIEWS))
        return block("install", "views_without_fold", views=views, app_name=self.names["app_name"])

    def rows_functions(self) -> list[sql.Composed]:
        """Return the commands that create what the views over rollups read: functions that fold first."""
        return [
            block(
                "functions",
                "rows",
                function=sql.Identifier(f"{name}_rows"),
                columns=block("views", f"{name}_columns"),
                query=block("views", f"{name}_query"),
                refuse_unsound=refuse_unsound(_ROWS),
                comment=sql.Literal(f"Folds, then returns the rows of {name}: the view reads this."),
            )
            for name in ROLLUP_VIEWS
        ]

    def dropped(self) -> list[sql.Composed]:
        """Return the commands that drop everything but the triggers."""
        return [block(file, "drop") for file in ("functions", "fold", "capture", *self._files[:0:-1], "objects")]

    @property
    def _files(self) -> tuple[str, ...]:
        return ("objects", *(["horizon"] if self._frozen else []), *(["outbox"] if self._outbox else []))


__all__ = ["VIEW_WITHOUT_ROLLUP", "Commands", "block", "installed_query", "plain_query"]
