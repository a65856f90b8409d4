"""The commands of the incremental mode for one application schema."""

from psycopg import sql

from analytics_refreshd.postgres.connection import sqlfiles
from analytics_refreshd.postgres.connection.server import has_maintain
from analytics_refreshd.postgres.schema.definitions import FUNCTIONS, OUR_SCHEMA, Definitions, compose, verbatim


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
        return [
            block("objects", "tables"),
            block("objects", "tables_comments"),
            block("capture", "functions", app_table=self.names["app_table"]),
            self._fold_functions(),
            block("functions", "helpers", app=self.names["app"], app_name=self.names["app_name"]),
        ]

    def _fold_functions(self) -> sql.Composed:
        app = self.names["app"]

        def rows_in(condition: str) -> sql.Composed:
            changes = block("fold", "changes_from_rows", app=app, range=sql.SQL(condition))
            return block("fold", "add_up", app=app, changes=changes)

        deltas = block("fold", "add_up", app=app, changes=block("fold", "changes_from_deltas", app=app))
        return block(
            "fold",
            "functions",
            app=app,
            app_table=self.names["app_table"],
            add_up_deltas=deltas,
            # "-infinity" is also how a build that has not begun says so
            add_up_timeless=rows_in("d.executed_at is null or d.executed_at = '-infinity'"),
            add_up_range=rows_in(
                "d.executed_at >= chunk_from and d.executed_at > '-infinity' and d.executed_at < chunk_until"
            ),
            add_up_rest=rows_in("d.executed_at >= chunk_from and d.executed_at > '-infinity'"),
        )

    def refresh_functions(self) -> list[sql.Composed]:
        """Return the commands that replace the plain refresh functions."""
        return [
            block("functions", name, target=self.names["app"], **self.names)
            for name in FUNCTIONS
            if name in sqlfiles.blocks("incremental/functions.sql")
        ]

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


def plain_query(definitions: Definitions, name: str) -> sql.Composed:
    """Return the SELECT of the plain view `name`."""
    return _select(definitions.create(name))


def _select(create_view: sql.Composed) -> sql.Composed:
    """Return the query inside `create materialized view … as … with no data`."""
    text = create_view.as_string()
    start, end = text.index(" as\nselect") + len(" as\n"), text.rindex("with no data")
    return verbatim(text[start:end])


__all__ = ["Commands", "block", "plain_query"]
