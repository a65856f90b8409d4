"""Errors of megabytes leave no more than their first line behind."""

from pathlib import Path

import pytest

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.redaction import LIMIT_BYTES
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.settings import ConnectionSettings


def resident() -> int:
    """Bytes that this process has in memory."""
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) * 1024


def test_a_fault_does_not_keep_the_servers_text(dsn: str) -> None:
    """Its context is psycopg's error, which would hold 12 MB three times for as long as the fault is kept."""
    session = Session(Connector(ConnectionSettings("x", url=dsn)))

    def fail() -> DatabaseFault:
        with pytest.raises(DatabaseFault) as caught:
            session.run(lambda c: c.execute("do $$ begin raise exception '%', repeat('x ', 6000000); end $$"))
        return caught.value

    kept = [fail()]
    before = resident()
    kept += [fail() for _ in range(4)]
    assert resident() - before < 20_000_000
    assert {len(fault.message.encode()) <= LIMIT_BYTES for fault in kept} == {True}
    assert {fault.sqlstate for fault in kept} == {"P0001"}
    session.close()
