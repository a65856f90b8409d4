"""What `analytics_database_reconnects_total` counts: connections really made in place of lost ones."""

from collections.abc import Callable
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.refresh.refresher import PostgresRefresher
from analytics_refreshd.postgres.refresh.settings import RefreshSettings
from analytics_refreshd.postgres.state.leader import PostgresLeader
from tests.support.adapters import connector


def user_of(label: str, made: Connector) -> tuple[Callable[[], object], Callable[[], None]]:
    """One use of the connection of that label, and its end."""
    if label == "leader":
        leader = PostgresLeader(made)
        return leader.acquire, leader.release
    if label == "status":
        session = Session(made)
        return lambda: session.run(lambda connection: connection.execute("select 1").fetchall()), session.close
    refresher = PostgresRefresher(made, RefreshSettings())
    return lambda: refresher.refresh(uuid4(), lambda pid: None), refresher.close


@pytest.mark.parametrize("label", ["leader", "status", "refresh"])
def test_a_reconnect_is_counted_once_it_was_made(dsn: str, admin_dsn: str, label: str) -> None:
    """Neither the loss nor an attempt that fails counts, nor the first connection; the one that replaces it does."""
    reconnects: list[int] = []
    made = connector(dsn)
    made._on_reconnect = lambda: reconnects.append(1)
    use, end = user_of(label, made)
    name = str(conninfo_to_dict(dsn)["dbname"])
    allow = sql.SQL("alter database {} with allow_connections {}")
    try:
        use()
        use()
        with psycopg.connect(admin_dsn, autocommit=True) as admin:
            admin.execute(allow.format(sql.Identifier(name), sql.Literal(False)))
            admin.execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", (name,))
            for _ in range(3):
                with pytest.raises(DatabaseFault):
                    use()
            assert reconnects == []
            admin.execute(allow.format(sql.Identifier(name), sql.Literal(True)))
        use()
        use()
        assert reconnects == [1]
    finally:
        end()
