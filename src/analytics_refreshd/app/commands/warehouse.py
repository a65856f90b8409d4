"""What `migrate` does with a warehouse: create, verify, rebuild."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from analytics_refreshd.app.commands.migrate import connected
from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import connection_settings, outbox_settings, warehouse_settings
from analytics_refreshd.core.errors import MigrationError, UsageError
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.install import InstallProgress
from analytics_refreshd.postgres.incremental.settings import Outbox
from analytics_refreshd.postgres.incremental.state import state
from analytics_refreshd.postgres.state.outbox import PostgresOutbox
from analytics_refreshd.postgres.state.outbox_snapshot import at_snapshot
from analytics_refreshd.warehouse import tables
from analytics_refreshd.warehouse.client import Client
from analytics_refreshd.warehouse.sender import Sender
from analytics_refreshd.warehouse.store import ClickHouseWarehouse
from analytics_refreshd.warehouse.verify import WarehouseReport
from analytics_refreshd.warehouse.verify import verify as compare

__all__ = ["WarehouseReport"]

_Told = Callable[[InstallProgress], None]


def _client(config: Config) -> Client:
    settings = warehouse_settings(config)
    if settings is None:
        raise UsageError(
            "[warehouse] url is missing: say which ClickHouse, for example https://clickhouse.example.net:8443"
        )
    return Client(settings)


def install(config: Config, *, told: _Told) -> tuple[str, ...]:
    """Create the tables of the warehouse, then the outbox.

    Returns what was done. Raises MigrationError outside the incremental mode, and WarehouseFault.
    """
    client = _client(config)
    with connected(config) as connection:
        _require_incremental(state(connection).mode)
        made = tables.create(client)
        added = tables.add_columns(client)
        kept = tables.keep(client)
        done = incremental.install(connection, config.database.db_schema, progress=told, outbox=outbox_settings(config))
    created = [f"create {len(made)} tables in the warehouse"] if made else []
    completed = [f"add {len(added)} columns in the warehouse"] if added else []
    changed = [f"change how long rows stay in {', '.join(kept)} of the warehouse"] if kept else []
    return (*created, *completed, *changed, *done)


def version(config: Config) -> str:
    """Return the server's version. Raises WarehouseFault."""
    return tables.refuse_older(_client(config))


def send(config: Config) -> None:
    """Send all that waits: an export where one is due.

    Raises DatabaseFault and WarehouseFault.
    """
    with _session(config) as session:
        Sender(PostgresOutbox(session), ClickHouseWarehouse(_client(config))).send()


def remove(config: Config, *, told: _Told) -> tuple[str, ...]:
    """Drop the outbox. The tables of the warehouse stay."""
    with connected(config) as connection:
        _require_incremental(state(connection).mode)
        return incremental.install(connection, config.database.db_schema, progress=told, outbox=Outbox(False))


def _require_incremental(mode: str) -> None:
    if mode != "incremental":
        raise MigrationError(
            "a warehouse is fed from the incremental mode: run `analytics-refreshd migrate --incremental` first"
        )


def verify(config: Config) -> WarehouseReport:
    """Compare every cell, both ways, at the last batch acknowledged."""
    client = _client(config)
    with connected(config) as connection, at_snapshot(connection, config.database.db_schema) as rollups:
        return compare(rollups, client)


def rebuild(config: Config, *, told: _Told) -> WarehouseReport:
    """Export the rollups again as a new epoch, then compare."""
    client = _client(config)
    with _session(config) as session:
        outbox, warehouse = PostgresOutbox(session), ClickHouseWarehouse(client)
        position = warehouse.position()
        outbox.restart("a verification found differences", position.epoch if position else 0)
        share = _share(told)
        Sender(outbox, warehouse, progress=share).send()
    return verify(config)


def _share(told: _Told) -> Callable[[int, int], None]:
    return lambda done, of: told(InstallProgress("export the rollups", done / max(of, 1)))


@contextmanager
def _session(config: Config) -> Iterator[Session]:
    connector = Connector(connection_settings(config))
    session = Session(connector, label="warehouse")
    try:
        yield session
    finally:
        session.close()
        connector.stop()
