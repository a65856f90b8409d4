"""Builds what sends to the warehouse, for a daemon that has one."""

import threading
from collections.abc import Callable

from analytics_refreshd.core.warehouse import OutboxState, Sent
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.state.outbox import PostgresOutbox
from analytics_refreshd.postgres.state.outbox_months import PostgresMonths
from analytics_refreshd.warehouse.client import Client
from analytics_refreshd.warehouse.months import ClickHouseMonths
from analytics_refreshd.warehouse.rows import MonthLoader
from analytics_refreshd.warehouse.sender import Sender
from analytics_refreshd.warehouse.settings import WarehouseSettings
from analytics_refreshd.warehouse.store import ClickHouseWarehouse

_DAY_SECONDS = 86_400


def build_sender(
    connector: Connector, status: Session, settings: WarehouseSettings, leads: Callable[[], bool]
) -> tuple[Callable[[], Sent | None], Callable[[], None], Callable[[], OutboxState | None]]:
    """Return what sends all that waits.

    Also what gives that up, and what reads what waits, on the `status` session. The sender's connection is closed after
    each call. Who `leads` no more sends nothing more: two who load the same month would be in each other's way.
    """
    session = Session(connector, label="warehouse")
    client = Client(settings)
    stopping = threading.Event()
    source = PostgresMonths(session, settings.rows_keep_days * _DAY_SECONDS) if settings.rows else None
    rows = MonthLoader(source, ClickHouseMonths(client))

    def over() -> bool:
        return stopping.is_set() or not leads()

    sender = Sender(PostgresOutbox(session), ClickHouseWarehouse(client), over, rows=rows)

    def send() -> Sent | None:
        try:
            return sender.send()
        finally:
            session.close()

    def stop() -> None:
        stopping.set()
        client.stop()
        session.abandon()

    return send, stop, PostgresOutbox(status).state
