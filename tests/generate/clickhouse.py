"""Writes the warehouse's tables for a cluster from those for one server."""

from analytics_refreshd.warehouse.cluster import on_cluster
from analytics_refreshd.warehouse.settings import WarehouseSettings
from analytics_refreshd.warehouse.tables import filled, statements

_HEAD = """-- The tables on the cluster `analytics`: of `migrate --warehouse`, where [warehouse] cluster names it.
-- For an administrator who creates them instead: once, on any server: clickhouse-client --multiquery < tables.sql
-- `analytics` holds a shard's tables, replicated: a daemon sends to one shard. `analytics_all` shows those of all.

"""


def cluster_tables() -> str:
    """Return the statements: replicated tables of a shard, and distributed ones over all of them."""
    usual = WarehouseSettings("shop", "https://clickhouse.example.net:8443")
    definitions = {name: filled(text, usual) for name, text in statements().items()}
    made = on_cluster(definitions, "analytics", "analytics")
    return _HEAD + "\n".join(f"{statement};\n" for _, _, statement in made)
