"""Writes the warehouse's tables for a cluster from those for one server, and the wall between tenants for both."""

import re

from analytics_refreshd.core.warehouse import CELLS, SNAPSHOTS
from analytics_refreshd.warehouse.tables import statements
from analytics_refreshd.warehouse.tenants import policies

_HEAD = """-- The warehouse's tables on the cluster `analytics`, made from the definitions of `migrate --warehouse`,
-- which finds them there, and creates none. Run it once, on any server: clickhouse-client --multiquery < tables.sql
-- `analytics` holds a shard's tables, replicated: a daemon sends to one shard. `analytics_all` shows those of all.

create database if not exists analytics on cluster analytics;
create database if not exists analytics_all on cluster analytics;
"""
_WALL = """-- The second wall between tenants, where `[api] engine` is the warehouse: each request of the user
-- `analytics_api` (users.d/analytics.xml) sees what it is admitted to, and no more.
"""
_TENANTS = (
    _WALL
    + """-- For one server; on a cluster tables.sql has it. Run it after `migrate --warehouse`, as a user that may
-- create row policies: clickhouse-client --multiquery < tenants.sql
"""
)
_PLACE = "'/clickhouse/tables/{shard}/analytics/NAME', '{replica}'"
_KEEP_DAYS = "30"


def cluster_tables() -> str:
    """Return the statements: replicated tables of a shard, and distributed ones over all of them."""
    made = statements()
    parts = [_HEAD]
    for name, text in made.items():
        if name == "incoming":
            parts += [_replicated(made[table], table, f"{table}_incoming") for table in SNAPSHOTS]
        else:
            parts.append(_replicated(text, name, name))
    parts += [_distributed(name) for name in (*CELLS, *SNAPSHOTS, "deltas", "batches", "epochs")]
    parts.append(
        "create view if not exists analytics_all.current_epochs on cluster analytics as\n"
        "select database, max(epoch) as epoch from analytics_all.epochs group by database;\n"
    )
    # where the rows are: what is asked of `analytics_all` is read there, on each server, with the request's settings
    parts.append(_WALL + "".join(f"\n{text};\n" for text in policies("analytics", cluster="analytics")))
    return "\n".join(parts)


def one_servers_wall() -> str:
    """Return the row policies for a server of its own."""
    return _TENANTS + "".join(f"\n{text};\n" for text in policies("analytics"))


def _replicated(text: str, name: str, made: str) -> str:
    place = _PLACE.replace("NAME", made)
    text = re.sub(rf"^(create .*? if not exists \{{target\}}\.){name}\b", rf"\g<1>{made} on cluster analytics", text)
    text = text.replace("{target}", "analytics").replace("{keep_days}", _KEEP_DAYS)
    text = re.sub(r"engine = (\w*MergeTree)\(", lambda found: f"engine = Replicated{found[1]}({place}, ", text)
    text = re.sub(r"engine = (\w*MergeTree)\b(?!\()", lambda found: f"engine = Replicated{found[1]}({place})", text)
    return text.replace("non_replicated_deduplication_window", "replicated_deduplication_window") + ";\n"


def _distributed(name: str) -> str:
    return (
        f"create table if not exists analytics_all.{name} on cluster analytics as analytics.{name}\n"
        f"engine = Distributed(analytics, analytics, {name});\n"
    )
