"""Builds views that read a partition again, over the whole."""

from collections.abc import Callable, Sequence

from psycopg import sql

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.core.partitions import Lock, Step
from analytics_refreshd.postgres.connection import Connection
from analytics_refreshd.postgres.partitions.layout import Tables, query
from analytics_refreshd.postgres.schema.acting import Acting
from analytics_refreshd.postgres.schema.catalog import Catalog
from analytics_refreshd.postgres.schema.commands import command
from analytics_refreshd.postgres.schema.definitions import OUR_SCHEMA, set_role, verbatim
from analytics_refreshd.postgres.schema.dependents import dependents, obstacles
from analytics_refreshd.postgres.schema.installation import record_views, recorded_views
from analytics_refreshd.postgres.schema.replacing import Replacement, build, put_in_place

_SWAP_SECONDS = 0.01


def follow(
    connection: Connection, tables: Tables, views: Sequence[str], home: str, told: Callable[[str], None]
) -> None:
    """Build these views again, over the whole, and swap them in.

    Each keeps its own query. Until the swap they read the DEFAULT, which holds every row as long as there is no other
    partition. Readers wait for the swap alone. Raises MigrationError where what depends on a view could not be created
    again, and psycopg.errors.LockNotAvailable where a reader holds one.
    """
    catalog = Catalog(connection, tables.schema)
    acting = Acting(catalog, catalog.read(compare=False))
    problems = obstacles(acting, dependents(connection, tables.schema, views))
    if problems:
        raise MigrationError("; ".join(problems))
    connection.execute(command("hold_refreshes"))
    steps = [build(connection, acting, _replacement(connection, tables, name)) for name in views]
    swaps = put_in_place(connection, acting, views)
    for step in acting.carried_out([*acting.lend_ours("lend_create"), *steps, *swaps]):
        if step.populates is not None:
            told(f"build view {tables.schema}.{step.populates} over the whole")
        for each in step.commands:
            connection.execute(each)
    connection.execute(set_role(home))
    recorded = recorded_views(connection)
    if recorded:
        others = [name for name, noted in recorded.items() if not noted["ours"]]
        lost = [name for name, noted in recorded.items() if noted["ours"] and noted["fingerprint"] is None]
        connection.execute(record_views(tables.schema, others=others, lost=lost))


def obstacles_of(connection: Connection, app_schema: str, views: Sequence[str]) -> list[str]:
    """Say why what depends on these views would be lost."""
    catalog = Catalog(connection, app_schema)
    return obstacles(Acting(catalog, catalog.read(compare=False)), dependents(connection, app_schema, views))


def steps_of(connection: Connection, tables: Tables, views: Sequence[str]) -> list[Step]:
    """Write what `follow` does, to be read.

    A view's indexes, grants and dependents come with it.
    """
    steps = []
    for name in views:
        new, old = (sql.Identifier(schema, name).as_string() for schema in (OUR_SCHEMA, tables.schema))
        text, partition = _query_of(connection, tables, name)
        commands = (
            f"create materialized view {new} as {text} with no data",
            f"refresh materialized view {new}",
            f"drop materialized view {old}",
            f"alter materialized view {new} set schema {sql.Identifier(tables.schema).as_string()}",
        )
        locks = (
            Lock("ACCESS SHARE", partition, _built_in(connection, name)),
            Lock("ACCESS EXCLUSIVE", old, _SWAP_SECONDS),
        )
        steps.append(Step(f"build {old} over the whole, with its indexes and grants, and swap it in", commands, locks))
    return steps


def _built_in(connection: Connection, name: str) -> float:
    """Return how long the view's last refresh took; 0 where nobody noted it."""
    row = connection.execute(query("last_duration"), {"view": name}).fetchone()
    return float(row[0]) if row and row[0] is not None else 0.0


def _replacement(connection: Connection, tables: Tables, name: str) -> Replacement:
    text, _ = _query_of(connection, tables, name)
    create = sql.SQL("create materialized view {} as {} with no data").format(
        sql.Identifier(OUR_SCHEMA, name), verbatim(text)
    )
    ((columns,),) = connection.execute(query("view_columns"), {"schema": tables.schema, "view": name}).fetchall()
    return Replacement(name, tuple(columns), (create,))


def _query_of(connection: Connection, tables: Tables, name: str) -> tuple[str, str]:
    """Return the view's own query with the whole in the place of a partition, and what it reads now."""
    names = {"schema": tables.schema, "view": name, "table": tables.log}
    read = [str(one) for (one,) in connection.execute(query("partition_read"), names)]
    if len(read) > 1:
        message = f"{tables.schema}.{name} reads {' and '.join(read)}: run analytics-refreshd migrate --replace"
        raise MigrationError(message)
    partition = read[0] if read else tables.log
    ((text,),) = connection.execute(query("view_query"), {**names, "partition": partition}).fetchall()
    return str(text), partition
