"""Commands that create, change and drop objects of ours."""

from psycopg import sql

from analytics_refreshd.postgres.connection import sqlfiles
from analytics_refreshd.postgres.schema.definitions import compose, verbatim


def command(name: str, /, **names: sql.Composable) -> sql.Composed:
    """The block `name` of `bootstrap.sql` with its placeholders filled."""
    text = sqlfiles.blocks("schema/bootstrap.sql")[name]
    return compose(text, **names) if names else verbatim(text)
