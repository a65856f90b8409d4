"""Bring a database's views, functions and our own schema to this version."""

import psycopg
from psycopg import sql

from analytics_refreshd.postgres import sqlfiles

Connection = psycopg.Connection[tuple[object, ...]]
VIEWS = ("action_metrics_hourly", "trigger_performance_summary", "recent_failures", "action_type_distribution")


def migrate(connection: Connection, app_schema: str = "public") -> None:
    """Create everything in a database that has nothing of ours."""
    bootstrap = sqlfiles.blocks("bootstrap.sql")
    security = "security definer" if connection.info.server_version < 170000 else "security invoker"
    names = {
        "app": sql.Identifier(app_schema),
        "target": sql.Identifier(app_schema),
        "app_name": sql.Literal(app_schema),
        "security": sql.SQL(security),
    }
    with connection.transaction():
        connection.execute(bootstrap["begin"])
        connection.execute(bootstrap["schema"])
        row = connection.execute(bootstrap["applied"]).fetchone()
        assert row is not None
        for number, resource in enumerate(sqlfiles.migrations(), 1):
            if number <= int(str(row[0])):
                continue
            values = {"version": sql.Literal(number), "name": sql.Literal(resource)}
            connection.execute(sql.SQL(bootstrap["version"]).format(**values))
            connection.execute(sql.SQL(sqlfiles.text(resource)).format(**names))
        for view in VIEWS:
            connection.execute(sql.SQL("refresh materialized view {}").format(sql.Identifier(app_schema, view)))
