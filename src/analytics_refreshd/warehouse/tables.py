"""Creates the tables of the warehouse."""

from collections.abc import Iterator
from importlib import resources

from analytics_refreshd.core.warehouse import SNAPSHOTS, WarehouseFault
from analytics_refreshd.warehouse.client import Client

LEAST_SERVER = (24, 10)
"""The first servers with quantilesExactWeightedInterpolated, which equals percentile_cont."""


def identifier(name: str) -> str:
    """Quote a name for ClickHouse."""
    return "`{}`".format(name.replace("\\", "\\\\").replace("`", "\\`"))


def literal(text: str) -> str:
    """Quote a text for ClickHouse, where a statement takes no parameter."""
    return "'{}'".format(text.replace("\\", "\\\\").replace("'", "\\'"))


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
        if name in SNAPSHOTS:
            yield f"{name}_incoming", columns


def refuse_older(client: Client) -> str:
    """Return the server's version. Raises WarehouseFault for one that is too old."""
    version = client.select("select version()")[0][0]
    found = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if found < LEAST_SERVER:
        least = ".".join(map(str, LEAST_SERVER))
        raise WarehouseFault(f"the warehouse is ClickHouse {version}, and exact percentiles need {least} or newer")
    return version


def create(client: Client) -> list[str]:
    """Create what is missing; return what was created. Raises WarehouseFault."""
    refuse_older(client)
    target = identifier(client.settings.database)
    client.execute(f"create database if not exists {target}")
    found = {
        row[0]
        for row in client.select(
            "select name from system.tables where database = {name:String}", name=client.settings.database
        )
    }
    made = []
    for name, statement in statements().items():
        tables = [f"{table}_incoming" for table in SNAPSHOTS] if name == "incoming" else [name]
        for table in tables:
            if table in found:
                continue
            text = statement.replace("{target}", target).replace("{keep_days}", str(client.settings.keep_days))
            client.execute(text.replace("{table}", table.removesuffix("_incoming")))
            made.append(table)
    return made


def add_columns(client: Client) -> list[str]:
    """Add the columns that tables of an older program lack; return them. Raises WarehouseFault."""
    target = identifier(client.settings.database)
    found: dict[str, set[str]] = {}
    query = "select table, name from system.columns where database = {name:String}"
    for table, column in client.select(query, name=client.settings.database):
        found.setdefault(table, set()).add(column)
    added = []
    for table, columns in _columns():
        place = "first"
        for column, kind in columns:
            if column not in found.get(table, {column}):
                client.execute(f"alter table {target}.{table} add column {column} {kind} {place}")
                added.append(f"{table}.{column}")
            place = f"after {column}"
    return added
