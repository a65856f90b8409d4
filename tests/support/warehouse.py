"""A database and the warehouse that it feeds."""

from dataclasses import dataclass
from pathlib import Path

from analytics_refreshd.postgres.connection.connector import Connector, Profile
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.settings import ConnectionSettings
from analytics_refreshd.postgres.state.outbox import PostgresOutbox
from analytics_refreshd.postgres.state.outbox_snapshot import at_snapshot
from analytics_refreshd.warehouse.client import Client
from analytics_refreshd.warehouse.sender import Sender
from analytics_refreshd.warehouse.settings import WarehouseSettings
from analytics_refreshd.warehouse.store import ClickHouseWarehouse
from analytics_refreshd.warehouse.verify import WarehouseReport, verify
from tests.support.clickhouse import PASSWORD, USER


def settings(url: str, name: str, folder: Path) -> WarehouseSettings:
    """Return how the test's server is reached."""
    password = folder / "warehouse-password"
    password.write_text(PASSWORD)
    return WarehouseSettings(name, url, user=USER, password_file=password, connect_seconds=60.0)


@dataclass
class Fed:
    """A database with an outbox, and its part of a warehouse."""

    dsn: str
    client: Client
    app_schema: str = "public"

    def __post_init__(self) -> None:
        self.connector = Connector(
            ConnectionSettings(self.client.settings.name, url=self.dsn, app_schema=self.app_schema)
        )
        self.session = Session(self.connector, label="warehouse")
        self.outbox = PostgresOutbox(self.session)
        self.warehouse = ClickHouseWarehouse(self.client)
        self.sender = Sender(self.outbox, self.warehouse)

    def verify(self) -> WarehouseReport:
        """Compare every cell, both ways."""
        # as `migrate --verify --warehouse`, which takes as long as there are cells
        unlimited = Profile(statement_timeout_seconds=0.0, idle_in_transaction_seconds=0.0)
        connection = self.connector.connect("verify", unlimited)
        try:
            with at_snapshot(connection, self.app_schema) as rollups:
                return verify(rollups, self.client)
        finally:
            connection.close()

    def close(self) -> None:
        """End its connections."""
        self.session.close()
        self.connector.stop()
