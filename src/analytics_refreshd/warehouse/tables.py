"""Creates the tables of the warehouse."""

import re
from collections.abc import Iterator
from importlib import resources

from analytics_refreshd.core.redaction import cut, printable
from analytics_refreshd.core.warehouse import EXCHANGED, WarehouseFault
from analytics_refreshd.warehouse.client import Client, natural
from analytics_refreshd.warehouse.cluster import SHOWN, all_shards, on_cluster
from analytics_refreshd.warehouse.quoting import identifier, literal
from analytics_refreshd.warehouse.settings import WarehouseSettings

__all__ = ["add_columns", "create", "filled", "identifier", "keep", "literal", "refuse_older", "statements"]

LEAST_SERVER = (24, 10)
"""The first servers with quantilesExactWeightedInterpolated, which equals percentile_cont."""
_MOST_VERSION_BYTES = 60
_TTL = re.compile(r"\nttl (?P<ttl>.+ interval (?P<days>\d+) day)")
_TTL_THERE = re.compile(r"\bTTL \S.*?\btoIntervalDay\((\d+)\)")


def statements() -> dict[str, str]:
    """Return the statements by the name of what they create, in order."""
    file = resources.files("analytics_refreshd.warehouse").joinpath("definitions", "tables.sql")
    found: dict[str, str] = {}
    for part in file.read_text(encoding="utf-8").split("\n-- name: ")[1:]:
        name, _, body = part.partition("\n")
        lines = body.strip().splitlines()
        while lines and lines[0].startswith("--"):
            del lines[0]
        found[name.strip()] = "\n".join(lines).rstrip().rstrip(";")
    return found


def _columns() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each table with the names and types of its columns, in order."""
    for name, statement in statements().items():
        if not statement.startswith("create table") or name == "incoming":
            continue
        lines = statement.partition("\nengine")[0].splitlines()[1:]
        # each ends with a comma, the last with a bracket
        columns = [(column, kind[:-1]) for column, _, kind in (line.strip().partition(" ") for line in lines)]
        yield name, columns
        if name in EXCHANGED:
            yield f"{name}_incoming", columns


def refuse_older(client: Client) -> str:
    """Return the server's version. Raises WarehouseFault for one that is too old."""
    (version,) = client.one("select version()", lambda text: cut(printable(text), _MOST_VERSION_BYTES))
    found = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if found < LEAST_SERVER:
        least = ".".join(map(str, LEAST_SERVER))
        raise WarehouseFault(f"the warehouse is ClickHouse {version}, and exact percentiles need {least} or newer")
    return str(version)


def create(client: Client) -> list[str]:
    """Create what is missing; return what was created. Raises WarehouseFault."""
    refuse_older(client)
    if client.settings.cluster is not None:
        return _create_on_cluster(client, client.settings.cluster)
    target = identifier(client.settings.database)
    client.execute(f"create database if not exists {target}")
    found = _tables(client, client.settings.database)
    made = []
    for name, statement in statements().items():
        tables = [f"{table}_incoming" for table in EXCHANGED] if name == "incoming" else [name]
        for table in tables:
            if table in found:
                continue
            text = filled(statement, client.settings).replace("{target}", target)
            client.execute(text.replace("{table}", table.removesuffix("_incoming")))
            made.append(table)
    return made


def add_columns(client: Client) -> list[str]:
    """Add the columns that tables of an older program lack; return them. Raises WarehouseFault."""
    database, cluster = client.settings.database, client.settings.cluster
    where = "" if cluster is None else f" on cluster {identifier(cluster)}"
    found: dict[str, set[str]] = {}
    query = "select table, name from system.columns where database = {name:String}"
    for table, column in client.select(query, str, str, name=database):
        found.setdefault(table, set()).add(column)
    added = []
    for table, columns in _columns():
        place = "first"
        shown = [all_shards(database)] if cluster is not None and table in SHOWN else []
        for column, kind in columns:
            if column not in found.get(table, {column}):
                for each in (database, *shown):
                    target = f"{identifier(each)}.{table}{where}"
                    client.execute(f"alter table {target} add column if not exists {column} {kind} {place}")
                added.append(f"{table}.{column}")
            place = f"after {column}"
    return added


def keep(client: Client) -> list[str]:
    """Let rows stay as long as [warehouse] says.

    Returns the tables where they stayed otherwise. Raises WarehouseFault.
    """
    database, cluster = client.settings.database, client.settings.cluster
    where = "" if cluster is None else f" on cluster {identifier(cluster)}"
    query = "select name, create_table_query from system.tables where database = {name:String}"
    found = dict(client.select(query, str, str, name=database))
    changed = []
    for name, statement in statements().items():
        wanted = _TTL.search(filled(statement, client.settings))
        if wanted is None:
            continue
        for table in (name, f"{name}_incoming") if name in EXCHANGED else (name,):
            there = _TTL_THERE.search(found.get(table, ""))
            if there is not None and there[1] != wanted["days"]:
                client.execute(f"alter table {identifier(database)}.{table}{where} modify ttl {wanted['ttl']}")
                changed.append(table)
    return changed


def _create_on_cluster(client: Client, cluster: str) -> list[str]:
    """Create on all servers of the cluster what any of them lacks."""
    database = client.settings.database
    if client.one("select count() from system.clusters where cluster = {name:String}", natural, name=cluster) == [0]:
        raise WarehouseFault(
            f"the warehouse knows no cluster {cluster}: look at [warehouse] cluster, and at"
            " deploy/clickhouse/config.d/analytics-cluster.xml"
        )
    if client.one("select count() from system.macros where macro in ('shard', 'replica')", natural) != [2]:
        raise WarehouseFault(
            "the warehouse has no macros `shard` and `replica`: give each server its own"
            " deploy/clickhouse/config.d/macros.xml"
        )
    found = {name: _tables(client, name) for name in (database, all_shards(database))}
    alone = sorted(
        name for name, engine in found[database].items() if "MergeTree" in engine and "Replicated" not in engine
    )
    if alone:
        raise WarehouseFault(
            f"{database}.{alone[0]} is a table of one server: drop the database {database} there, or name another one"
            " in [warehouse] database"
        )
    made = []
    definitions = {name: filled(text, client.settings) for name, text in statements().items()}
    for place, table, statement in on_cluster(definitions, database, cluster):
        # always: a server may have joined since, and this one has the table
        client.execute(statement)
        if place and table not in found[place]:
            made.append(f"{place}.{table}")
    return made


def filled(statement: str, settings: WarehouseSettings) -> str:
    """Fill in how long rows stay."""
    days = {"{keep_days}": settings.keep_days, "{rows_days}": settings.rows_keep_days}
    for name, value in days.items():
        statement = statement.replace(name, str(value))
    return statement


def _tables(client: Client, database: str) -> dict[str, str]:
    """Return the engine of each table."""
    return dict(
        client.select("select name, engine from system.tables where database = {name:String}", str, str, name=database)
    )
