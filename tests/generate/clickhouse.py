"""Writes the warehouse's tables for a cluster from those for one server, and the wall between tenants for both."""

from analytics_refreshd.warehouse.cluster import on_cluster
from analytics_refreshd.warehouse.settings import WarehouseSettings
from analytics_refreshd.warehouse.tables import filled, statements
from analytics_refreshd.warehouse.tenants import policies

_HEAD = """-- The tables on the cluster `analytics`: of `migrate --warehouse`, where [warehouse] cluster names it.
-- For an administrator who creates them instead: once, on any server: clickhouse-client --multiquery < tables.sql
-- `analytics` holds a shard's tables, replicated: a daemon sends to one shard. `analytics_all` shows those of all.

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


def cluster_tables() -> str:
    """Return the statements: replicated tables of a shard, distributed ones over all of them, and the wall."""
    usual = WarehouseSettings("shop", "https://clickhouse.example.net:8443")
    definitions = {name: filled(text, usual) for name, text in statements().items()}
    made = on_cluster(definitions, "analytics", "analytics")
    tables = _HEAD + "\n".join(f"{statement};\n" for _, _, statement in made)
    # where the rows are: what is asked of `analytics_all` is read there, on each server, with the request's settings
    return f"{tables}\n{_WALL}" + "".join(f"\n{text};\n" for text in policies("analytics", cluster="analytics"))


def one_servers_wall() -> str:
    """Return the row policies for a server of its own."""
    return _TENANTS + "".join(f"\n{text};\n" for text in policies("analytics"))
