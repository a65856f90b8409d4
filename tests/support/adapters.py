"""The PostgreSQL adapters on a test's own database."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.core.ports import RefreshReply
from analytics_refreshd.postgres.connection.connector import Connector
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.settings import ConnectionSettings
from analytics_refreshd.postgres.refresh.refresher import PostgresRefresher
from analytics_refreshd.postgres.refresh.settings import RefreshSettings
from analytics_refreshd.postgres.state.status import PostgresStatusReader


def connector(dsn: str, **settings: Any) -> Connector:
    """A connector for `dsn`."""
    return Connector(ConnectionSettings(settings.pop("name", "test"), url=dsn, **settings))


@contextmanager
def session(dsn: str, **settings: Any) -> Iterator[Session]:
    """A shared session, closed at the end."""
    opened = Session(connector(dsn, **settings))
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def refresher(dsn: str, *, app_schema: str = "public", **settings: Any) -> Iterator[PostgresRefresher]:
    """A refresher, closed at the end; keywords are RefreshSettings."""
    made = PostgresRefresher(connector(dsn, app_schema=app_schema), RefreshSettings(**settings))
    try:
        yield made
    finally:
        made.close()


@contextmanager
def status_reader(
    dsn: str, function: str = "get_analytics_refresh_status", views: tuple[str, ...] = VIEWS, **settings: Any
) -> Iterator[PostgresStatusReader]:
    """A status reader, closed at the end."""
    with session(dsn, **settings) as shared:
        yield PostgresStatusReader(shared, function, views)


class Running:
    """A refresh on a thread of its own: `started` is set with its first backend's pid in `pids`."""

    def __init__(self, refresh: PostgresRefresher, run_id: UUID | None = None) -> None:
        self.run_id = run_id or uuid4()
        self.pids: list[int] = []
        self.started = threading.Event()
        self.reply: RefreshReply | None = None
        self.error: BaseException | None = None
        self._refresh = refresh
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self.reply = self._refresh.refresh(self.run_id, self._on_started)
        except BaseException as error:
            self.error = error

    def _on_started(self, pid: int) -> None:
        self.pids.append(pid)
        self.started.set()

    @property
    def over(self) -> bool:
        """Whether it ended."""
        return not self._thread.is_alive()

    def join(self, seconds: float = 30.0) -> "Running":
        """Wait for its end."""
        self._thread.join(seconds)
        assert self.over, "the refresh did not end"
        return self


def sleeping(connection: psycopg.Connection[Any], pid: int) -> Callable[[], bool]:
    """A probe: whether the backend waits in pg_sleep."""

    def probe() -> bool:
        row = connection.execute("select wait_event from pg_stat_activity where pid = %s", (pid,)).fetchone()
        return row == ("PgSleep",)

    return probe


@contextmanager
def holding_refresh(dsn: str, view: str) -> Iterator[psycopg.Connection[Any]]:
    """Another session that holds the view's EXCLUSIVE lock by an open refresh of its own."""
    with psycopg.connect(make_conninfo(dsn, application_name="nightly-etl")) as holder:
        # the view's lock and no other: in incremental mode a refresh would fold as well
        holder.execute("set analytics_refresh.fold = 'off'")
        holder.execute(sql.SQL("refresh materialized view concurrently public.{}").format(sql.Identifier(view)))
        yield holder
        holder.rollback()


def through(dsn: str, port: int, host: str = "127.0.0.1") -> str:
    """The URL with another host and port."""
    return make_conninfo(dsn, host=host, port=port)


def address(dsn: str) -> tuple[str, int]:
    """Host and port of a URL."""
    parts = conninfo_to_dict(dsn)
    return str(parts["host"]), int(parts.get("port") or 5432)
