"""Decides whether an action log may be turned into months."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import timedelta

from analytics_refreshd.core.partitions import AHEAD, Kind, Layout


def obstacles(layout: Layout) -> tuple[str, ...]:
    """Say why nothing may be changed.

    Each is one sentence, with what to do.
    """
    found = []
    if layout.partman:
        found.append("pg_partman is installed, and makes the months: `partitions --plan` prints its configuration")
    if layout.key is not None:
        if layout.key != "RANGE (executed_at)":
            found.append(
                f"{layout.schema}.action_results is partitioned by {layout.key}, and months need RANGE (executed_at):"
                " nothing is made for it"
            )
        return tuple(found)
    if layout.time_type != "timestamp with time zone":
        found.append(f"executed_at is {layout.time_type or 'missing'}, and months need timestamp with time zone")
    return (*found, *(_FORBIDS[one.kind].format(one.described) for one in layout.hanging if one.kind in _FORBIDS))


_OLD = "would go on reading the old table alone: drop it, convert, then create it again"
_FORBIDS = {
    Kind.READS: f"{{}} {_OLD}",
    Kind.RULE: "{} would act on the old table alone: drop it, convert, then create it again on action_results",
    Kind.TRIGGER: "{} would fire for rows of the old table alone: drop it, convert, then create it again on"
    " action_results",
    Kind.REFERENCES: "{} refers to it, and PostgreSQL lets no foreign key refer to a partitioned table without a key"
    " over all its partitions: drop it",
    Kind.CONFLICT: "{} says ON CONFLICT (id), which fails with 42P10 on a partitioned table without a key on id alone:"
    " change it",
    Kind.PUBLICATION: "{} sends it and would send the old table alone: `alter publication ... drop table` it, convert,"
    " then add it again with publish_via_partition_root = true",
    Kind.PUBLICATION_OF_ALL: "{} would send each month as a table that subscribers lack: `alter publication ... set"
    " (publish_via_partition_root = true)`",
    Kind.SUBSCRIPTION: "{} writes into it: months are made on the publisher",
    Kind.UNVALIDATED: "{} is not valid, and a partition must have it valid: `alter table ... validate constraint` it",
    Kind.NO_INHERIT: "{} says NO INHERIT, which a partitioned table may not: drop it, or create it again without",
    Kind.IDENTITY: "{} is an identity column, which a partition may not have: `alter column ... drop identity`",
    Kind.INHERITANCE: "{} is its parent or child by inheritance: `alter table ... no inherit` it",
    Kind.TYPED: "{} is its type, and a typed table cannot become a partition: `alter table ... not of`",
    Kind.UNLOGGED: "{} is unlogged, which a partitioned table may not be: `alter table ... set logged`",
    Kind.TAKEN: "{} has a name that is needed: rename it",
    Kind.CREATE: "{} owns action_results and may not create tables in its schema: `grant create on schema ...` to it",
}
_SAID = {
    Kind.KEY: "{} does not contain executed_at, so it holds for each partition alone: the same value in two months is"
    " not refused. Where two failed rows of the last 24 hours share an id, the refresh of recent_failures fails"
    " with 23505",
    Kind.STATISTICS: "{} stays with the old table: create the like for each month that needs it",
}


def said_first(layout: Layout) -> tuple[str, ...]:
    """Say what is different with a partitioned table."""
    if layout.key is not None:
        return ()
    keys = any(one.kind is Kind.KEY for one in layout.hanging)
    found = [_SAID[one.kind].format(one.described) for one in layout.hanging if one.kind in _SAID]
    if keys:
        found.append(
            "ON CONFLICT on such a key fails with 42P10 from then on, and no foreign key may refer to it: look for both"
            " in the application before you convert"
        )
    found.append("beside a DEFAULT partition PostgreSQL refuses DETACH CONCURRENTLY: a plain DETACH waits for its lock")
    return tuple(found)


def token(database: str, schema: str, commands: Iterable[str], said: Sequence[str]) -> str:
    """Return what confirms a conversion: that of these commands, in this database."""
    text = "\n".join([database, schema, *commands, *said])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def partman_configuration(layout: Layout, rows: timedelta | None) -> str:
    """Return the commands that let pg_partman make the months."""
    version, _, schema = (layout.partman or "5").partition(" ")
    of = '"{}".'.format((schema or "partman").replace('"', '""'))
    # pg_partman takes the names apart itself, without quotes
    table = f"{layout.schema}.action_results".replace("'", "''")
    newer = int(version.partition(".")[0]) >= 5
    interval = "p_interval := '1 month'" if newer else "p_type := 'native', p_interval := 'monthly'"
    kept = f"\n    retention = '{rows.days} days', retention_keep_table = true," if rows else ""
    return (
        f"select {of}create_parent(p_parent_table := '{table}', p_control := 'executed_at', {interval},"
        f" p_premake := {AHEAD});\n"
        f"update {of}part_config set{kept}\n    infinite_time_partitions = true where parent_table = '{table}';\n"
        "-- after each run_maintenance that made a month: analytics-refreshd migrate --incremental\n"
    )
