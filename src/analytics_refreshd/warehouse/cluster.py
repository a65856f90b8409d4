"""Writes the statements that create the warehouse's tables on a cluster.

A database lives on one shard: its daemon sends to a replica of that shard. A batch is then one insert into one table,
which counts once by its token, and whose number is known to have landed as a whole. Spread by trigger, half of a batch
could be on one shard and the rest not, under a number that both would have to agree about.
"""

import re
from collections.abc import Iterator, Mapping

from analytics_refreshd.core.warehouse import CELLS, EXCHANGED
from analytics_refreshd.warehouse.quoting import literal, plain_or_quoted

SHOWN = (*CELLS, *EXCHANGED, "action_results_months", "deltas", "batches", "epochs")
"""The tables that are shown over all shards."""
_ENGINE = re.compile(r"engine = (\w*MergeTree)(\()?")


def all_shards(database: str) -> str:
    """Return the database whose tables show those of all shards."""
    return f"{database}_all"


def on_cluster(definitions: Mapping[str, str], database: str, cluster: str) -> Iterator[tuple[str, str, str]]:
    """Yield what to create, in order: the database, the table and the statement.

    `definitions` are those for one server. A shard's tables are replicated; those over all shards have no sharding key,
    so that nothing can be inserted into them.
    """
    target, whole, where = (plain_or_quoted(name) for name in (database, all_shards(database), cluster))
    for each in (target, whole):
        yield "", each, f"create database if not exists {each} on cluster {where}"
    for name in definitions:
        made = [(table, f"{table}_incoming") for table in EXCHANGED] if name == "incoming" else [(name, name)]
        for source, table in made:
            created = definitions[source].replace(
                f"exists {{target}}.{source}", f"exists {{target}}.{table} on cluster {where}", 1
            )
            yield database, table, _replicated(created, f"/clickhouse/tables/{{shard}}/{database}/{table}", target)
    for name in SHOWN:
        yield (
            all_shards(database),
            name,
            (
                f"create table if not exists {whole}.{name} on cluster {where} as {target}.{name}\n"
                f"engine = Distributed({where}, {target}, {name})"
            ),
        )
    yield (
        all_shards(database),
        "current_epochs",
        (
            f"create view if not exists {whole}.current_epochs on cluster {where} as\n"
            f"select database, max(epoch) as epoch from {whole}.epochs group by database"
        ),
    )


def _replicated(text: str, path: str, target: str) -> str:
    """Let an engine of one server be that of replicas, which find each other by the path."""
    place = f"{literal(path)}, '{{replica}}'"
    made = _ENGINE.sub(
        lambda found: f"engine = Replicated{found[1]}({place}{', ' if found[2] else ')'}",
        text.replace("{target}", target),
    )
    return made.replace("non_replicated_deduplication_window", "replicated_deduplication_window")
