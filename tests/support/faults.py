"""What the fault tests share: limits scaled to seconds, one-line questions to the database, a server to be broken."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support import installs
from tests.support.daemon import Daemon, Settings
from tests.support.postgres import Server
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]

FAST: Settings = {"schedule__interval": "2s", "alerts__stale_for": "0s", "alerts__resolve_after_runs": 1}
"""A cycle every two seconds; every other limit follows from that."""
SLOT: Settings = {"schedule__interval": "30s", "alerts__evaluate_every": "1s"}
"""One long slot: a run at the start where the views are old, room for retries, and no second run during the test."""


def value(connection: Connection, statement: LiteralString, *values: object) -> Any:
    """The first column of the first row, None without one."""
    row = connection.execute(statement, values or None).fetchone()
    return row[0] if row else None


def age_views(connection: Connection) -> None:
    """Make the views a day old, so that a new leader refreshes at once."""
    connection.execute(
        "update analytics_refresh.last_refresh set last_success_at = now() - interval '1 day',"
        " last_checked_at = now() - interval '1 day'"
    )


def sleeper(connection: Connection) -> int | None:
    """The backend of this database that waits in pg_sleep, as a stretched view does."""
    found = value(
        connection,
        "select pid from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'",
    )
    return int(found) if found is not None else None


CALL = "explain (analyze%from%refresh_action_analytics%"
"""The daemon's call of the refresh function; others of its statements name the function too."""


def refreshes_under_way(connection: Connection, statement: str = CALL) -> int:
    """How many backends of this database work on a refresh at this moment, or on another `statement` (a pattern)."""
    return int(
        value(
            connection,
            "select count(*) from pg_stat_activity where datname = current_database() and state = 'active'"
            " and pid <> pg_backend_pid() and query ilike %s",
            statement,
        )
    )


def our_sessions(connection: Connection) -> int:
    """How many sessions our daemons have on this database."""
    return int(
        value(
            connection,
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and application_name like 'analytics-refreshd/%'",
        )
    )


def end_our_sessions(connection: Connection) -> None:
    """Terminate every session of our daemons on this database."""
    connection.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database()"
        " and application_name like 'analytics-refreshd/%'"
    )


def act(connection: Connection, identity: str, status: str = "failed") -> None:
    """Add one action to the application's log."""
    connection.execute(
        "insert into action_results (id, job_id, action_type, status) values (%s, 'j', 'rest', %s)", (identity, status)
    )


def fired(daemon: Daemon, alert: str, view: str | None = None, *, within: float = 90.0) -> dict[str, Any]:
    """Wait until `alert` fires, for `view` if one is given; returns the log line."""
    return daemon.wait_for(
        "alert.firing",
        lambda line: line["alert"] == alert and (view is None or line.get("view") == view),
        within=within,
    )


def alerts_of(daemon: Daemon, *names: str) -> list[dict[str, Any]]:
    """The lines of firing alerts with one of `names`."""
    return [line for line in daemon.events("alert.firing") if line["alert"] in names]


def result_of(line: dict[str, Any], view: str) -> dict[str, Any]:
    """A view's part of a canonical line."""
    (found,) = [part for part in line["views"] if part["view"] == view]
    assert isinstance(found, dict)
    return found


@contextmanager
def least_role(connection: Connection, app: str = "public") -> Iterator[str]:
    """A role with exactly what deploy/sql/grants.sql gives the daemon's; gone at the end."""
    with installs.temporary_role(connection) as name:
        relations = sql.SQL(", ").join(sql.Identifier(app, view) for view in VIEWS)
        functions = sql.SQL(
            "{app}.refresh_action_analytics(), {app}.refresh_action_analytics_view(text),"
            " {app}.get_analytics_refresh_status()"
        ).format(app=sql.Identifier(app))
        # before 17 the functions act as the views' owner
        maintain = ["grant maintain on {relations} to {role}"] if connection.info.server_version >= 170000 else []
        for statement in (
            *maintain,
            "revoke execute on function {functions} from public",
            "revoke usage, create on schema {app} from public",
            "grant usage on schema {app}, analytics_refresh to {role}",
            "grant execute on function {functions} to {role}",
            "grant select on {app}.action_metrics_hourly, {app}.trigger_performance_summary,"
            " {app}.action_type_distribution to {role}",
            "grant select (executed_at, duration_ms, status) on {app}.action_results to {role}",
            "grant select (id) on {app}.recent_failures to {role}",
            "grant select, insert, update, delete on all tables in schema analytics_refresh to {role}",
            "revoke delete on analytics_refresh.view_results from {role}",
        ):
            connection.execute(
                sql.SQL(statement).format(
                    app=sql.Identifier(app), role=sql.Identifier(name), relations=relations, functions=functions
                )
            )
        try:
            yield name
        finally:
            connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = %s", (name,)
            )


def as_role(dsn: str, role: str) -> str:
    """The URL with another user."""
    return psycopg.conninfo.make_conninfo(dsn, user=role)


def processes(pid: int) -> list[int]:
    """A postmaster and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


@contextmanager
def hung(server: Server) -> Iterator[None]:
    """Every process of the server is stopped: it accepts packets and answers nothing."""
    stopped = processes(server.postmaster_pid)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def down(server: Server, mode: str = "immediate") -> Iterator[None]:
    """The server is not there."""
    server.stop(mode)
    try:
        yield
    finally:
        start_again(server)


def start_again(server: Server) -> None:
    """Start a stopped server; what it says where it cannot start is in the error."""

    def started() -> bool:
        try:
            server.start()
        except subprocess.CalledProcessError:
            last = (server.folder / "log").read_text(errors="replace").splitlines()[-20:]
            raise AssertionError("\n".join(last)) from None
        return True

    eventually(started, every=0.5)


class Terminator:
    """Terminates every backend that waits in pg_sleep in this database, as long as the context lasts."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._stop = threading.Event()
        self.count = 0
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Terminator":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _work(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._stop.wait(0.05):
                pid = sleeper(connection)
                if pid is not None and value(connection, "select pg_terminate_backend(%s, 5000)", pid):
                    self.count += 1


class FaultServer:
    """A server of the test's own to stop, kill and freeze, with one migrated database whose views can be stretched.

    Made from scratch, or as a copy of another one that is stopped.
    """

    def __init__(self, original: "FaultServer | None" = None) -> None:
        # a crash must not take back what the test has just arranged
        self.server = Server(settings={"synchronous_commit": "on"})
        if original is None:
            self._prepare()
        else:
            subprocess.run(["cp", "-a", str(original.server.data), str(self.server.data)], check=True)

    @property
    def dsn(self) -> str:
        """The migrated database, as superuser."""
        return self.server.dsn()

    def connect(self) -> Connection:
        """An autocommit superuser connection."""
        return psycopg.connect(self.dsn, autocommit=True)

    def destroy(self) -> None:
        """Wake what is stopped, then remove everything."""
        self.server.destroy()

    def _prepare(self) -> None:
        self.server.start()
        create_application(self.dsn)
        with self.connect() as connection:
            migrate(connection, app_schema="public")
            installs.make_stretchable(connection)
            age_views(connection)
        self.server.stop()
