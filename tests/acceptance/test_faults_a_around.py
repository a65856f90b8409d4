"""Section A of the fault matrix: the wrong server, and what stands around the refresh."""

from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support.daemon import Daemon, Settings
from tests.support.faults import (
    FAST,
    SLOT,
    Connection,
    alerts_of,
    as_role,
    end_our_sessions,
    fired,
    least_role,
    our_sessions,
    value,
)
from tests.support.postgres import Server
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault


def ok(line: dict[str, Any]) -> bool:
    return bool(line["outcome"] == "ok")


def test_A18_read_only_database(dsn: str, connection: Connection) -> None:
    """On a server that takes no writes nobody leads and nothing is called; when it takes them again, all goes on."""
    name = sql.Identifier(connection.info.dbname)
    with Daemon(dsn, **FAST) as daemon:
        daemon.wait_for("refresh.finished", ok)
        connection.execute(sql.SQL("alter database {} set default_transaction_read_only = on").format(name))
        end_our_sessions(connection)
        daemon.wait_for("leader.lost")
        daemon.until(lambda: daemon.get("/readyz")[0] == 503)
        assert daemon.metric("analytics_leader") == 0
        assert daemon.get("/livez")[0] == 200
        assert daemon.wait_for("database.lost")["reason"] in ("connect", "not_primary", "conn_lost")
        calls = value(connection, "select max(last_success_at) from analytics_refresh.last_refresh")
        # two slots: one could pass before a server that takes no writes was asked again
        daemon.until(lambda: (daemon.metric("analytics_runs_skipped_total", reason="connect") or 0) >= 2)
        assert len(daemon.events("leader.acquired")) == 1
        assert value(connection, "select max(last_success_at) from analytics_refresh.last_refresh") == calls
        connection.execute("set default_transaction_read_only = off")
        connection.execute(sql.SQL("alter database {} reset default_transaction_read_only").format(name))
        daemon.wait_for("leader.acquired", count=2)
        daemon.wait_for("refresh.finished", ok, count=len([*filter(ok, daemon.events("refresh.finished"))]) + 1)
        assert daemon.stop() == 0


def test_A19_B08_promotion_while_connected() -> None:
    """With both servers in the URL the daemon leads on the primary only, and on the promoted standby afterwards."""
    primary = Server(settings={"wal_level": "replica", "max_wal_senders": "4"})
    standby: Server | None = None
    try:
        primary.start()
        create_application(primary.dsn())
        with primary.connect() as connection:
            migrate(connection, app_schema="public")
        standby = primary.standby()
        standby.start()
        url = f"postgresql://postgres@127.0.0.1:{standby.port},127.0.0.1:{primary.port}/postgres"
        with Daemon(url, **FAST) as daemon:
            daemon.wait_for("refresh.finished", ok)
            with standby.connect() as other:
                assert our_sessions(other) == 0
            primary.stop("immediate")
            daemon.wait_for("database.lost")
            assert value_on(standby, "select pg_is_in_recovery()") is True
            daemon.wait_for("leader.lost")
            before = len(daemon.events("refresh.finished"))
            standby.promote()
            daemon.wait_for("leader.acquired", count=2)
            daemon.wait_for("refresh.finished", ok, count=len([*filter(ok, daemon.events("refresh.finished"))]) + 1)
            assert len(daemon.events("refresh.finished")) > before
            assert daemon.metric("analytics_leader") == 1
            with standby.connect() as other:
                leaders = "select count(*) from pg_locks where locktype = 'advisory' and classid = 2583 and objid = 1"
                assert value(other, leaders) == 1
            assert daemon.stop() == 0
    finally:
        if standby:
            standby.destroy()
        primary.destroy()


def value_on(server: Server, statement: LiteralString) -> Any:
    with server.connect() as connection:
        return value(connection, statement)


def test_A22_too_many_connections(dsn: str, connection: Connection) -> None:
    """Refused for want of a connection slot it waits and comes back; it never holds more than three, scraped or not,
    and says how many."""
    with least_role(connection) as role, Daemon(as_role(dsn, role), **FAST) as daemon:
        daemon.wait_for("refresh.finished", ok)
        most = 0
        for _ in range(30):
            daemon.get("/metrics")
            daemon.get("/readyz")
            most = max(most, our_sessions(connection))
        daemon.wait_for("refresh.finished", count=2)
        assert 1 <= most <= 3
        assert 1 <= (daemon.metric("analytics_database_connections") or 0) <= 3
        connection.execute(sql.SQL("alter role {} connection limit 0").format(sql.Identifier(role)))
        end_our_sessions(connection)
        daemon.until(lambda: daemon.get("/readyz")[0] == 503)
        daemon.until(lambda: "too many connections" in daemon.get("/readyz")[1])
        daemon.until(lambda: daemon.metric("analytics_database_connections") == 0)
        assert daemon.get("/livez")[0] == 200
        connection.execute(sql.SQL("alter role {} connection limit -1").format(sql.Identifier(role)))
        daemon.wait_for("database.restored")
        daemon.wait_for("refresh.finished", ok, count=len([*filter(ok, daemon.events("refresh.finished"))]) + 1)
        assert our_sessions(connection) <= 3
        assert daemon.stop() == 0


FULL: LiteralString = """
    create function full_up() returns trigger language plpgsql as $f$
        begin raise exception using errcode = '53100', message = 'No space left on device'; end $f$;
    create trigger full_up before insert on analytics_refresh.runs execute function full_up()
"""


@pytest.mark.parametrize(
    ("breakage", "mending"),
    [
        ("alter table analytics_refresh.runs rename to away", "alter table analytics_refresh.away rename to runs"),
        (FULL, "drop trigger full_up on analytics_refresh.runs"),
    ],
    ids=["missing", "full"],
)
def test_A23_history_not_writable(
    dsn: str, connection: Connection, breakage: LiteralString, mending: LiteralString
) -> None:
    """Refreshes go on and stand; their results wait in a bounded buffer, are counted, alert, and are written later."""
    settings: Settings = {"schedule__interval": "1s", "alerts__history_failing_for": "2s", "history__buffer": 3}
    connection.execute(breakage)
    with Daemon(dsn, **settings) as daemon:
        daemon.wait_for("refresh.finished", ok, count=6)
        assert all(line["attempts"] == 1 for line in daemon.events("refresh.finished"))
        daemon.until(lambda: (daemon.metric("analytics_history_write_failures_total") or 0) >= 6)
        daemon.until(lambda: daemon.metric("analytics_history_pending") == 3)
        fired(daemon, "AnalyticsHistoryFailing")
        connection.execute(mending)
        done = daemon.wait_for("history.pending", lambda line: line["pending"] == 0)
        assert done["lost"] >= 2
        assert daemon.stop() == 0
    stored = value(connection, "select count(*) from analytics_refresh.runs where outcome = 'ok'")
    assert stored >= 3
    late = "select count(*) from analytics_refresh.runs where clock = 'daemon' and started_at between %s and %s"
    times = [line["started_at"] for line in daemon.events("refresh.finished")]
    assert value(connection, late, times[0], times[-1]) >= 2


def test_A23_history_locked(dsn: str, stretched: Connection) -> None:
    """A locked history delays its row, never the verdict: the refresh succeeds once, and is written when it can be."""
    with psycopg.connect(dsn) as locker:
        locker.execute("lock table analytics_refresh.runs in access exclusive mode")
        with Daemon(dsn, **SLOT | {"alerts__evaluate_every": "3s"}) as daemon:
            line = daemon.wait_for("refresh.finished")
            assert ok(line)
            assert line["attempts"] == 1
            # a row that is being written waits too: it is the line that says that it could not be
            daemon.wait_for("history.pending")
            daemon.until(lambda: daemon.metric("analytics_history_pending") == 1)
            locker.rollback()
            daemon.wait_for("history.pending", lambda line: line["pending"] == 0)
            assert daemon.stop() == 0
    assert value(stretched, "select outcome from analytics_refresh.runs") == "ok"


@pytest.mark.quick
def test_A24_old_history_is_pruned_in_batches(dsn: str, connection: Connection) -> None:
    """Old runs leave in many small statements, between refreshes that stay in time, and young ones stay."""
    connection.execute(
        "insert into analytics_refresh.runs (run_id, database_name, replica, origin, started_at, finished_at, outcome,"
        " reason, attempts, clock, isolation) select gen_random_uuid(), 'x', 'r', 'schedule', at, at, 'skipped',"
        " 'paused', 0, 'server', 'cycle' from (select now() - i * interval '1 second' - interval '100 days' as at"
        " from generate_series(1, 3000) i) t"
    )
    connection.execute(
        "create table public.deleted (count bigint);"
        "create function note_deleted() returns trigger language plpgsql as $f$ begin"
        " insert into public.deleted select count(*) from gone; return null; end $f$;"
        "create trigger note_deleted after delete on analytics_refresh.runs referencing old table as gone"
        " for each statement execute function note_deleted()"
    )
    with Daemon(dsn, schedule__interval="5s", alerts__evaluate_every="100ms") as daemon:
        old = "select count(*) from analytics_refresh.runs where started_at < now() - interval '90 days'"
        eventually(lambda: value(connection, old) == 0)
        daemon.wait_for("refresh.finished", count=2)
        assert all(ok(line) for line in daemon.events("refresh.finished"))
        assert daemon.stop() == 0
    assert value(connection, "select sum(count) from deleted") == 3000
    assert value(connection, "select max(count) from deleted") <= 500
    assert value(connection, "select count(*) from analytics_refresh.runs") >= 2


STATUS: LiteralString = """
    create or replace function get_analytics_refresh_status() returns table (
        view_name text, row_count bigint, size_bytes bigint, last_refresh timestamptz, age_minutes integer)
    language plpgsql as $f$ begin {} end $f$
"""


def test_A25_status_function_failing(dsn: str, connection: Connection) -> None:
    """Refreshes go on; the last known figures are kept, not zeroes; three misses in a row alert, and it passes."""
    definition = value(connection, "select pg_get_functiondef('get_analytics_refresh_status'::regproc)")
    connection.execute("create sequence asked")
    connection.execute(definition.replace("get_analytics_refresh_status", "status_as_it_was"))
    two_of_three = (
        "if nextval('public.asked') % 3 <> 0 then raise exception 'no status today'; end if;"
        " return query select * from public.status_as_it_was();"
    )
    with Daemon(dsn, **FAST, alerts__evaluate_every="200ms") as daemon:
        daemon.until(lambda: daemon.metric("analytics_view_size_bytes", view=VIEWS[0]))
        size = daemon.metric("analytics_view_size_bytes", view=VIEWS[0])
        connection.execute(STATUS.replace("{}", two_of_three))
        shown = set()

        def asked_often() -> bool:
            shown.add(daemon.metric("analytics_view_size_bytes", view=VIEWS[0]))
            return int(value(connection, "select last_value from asked")) >= 30

        # twice in each evaluation: as fast as it can it would take a processor
        eventually(asked_often, every=0.1)
        assert shown == {size}
        assert alerts_of(daemon, "AnalyticsContractBroken") == []
        connection.execute(STATUS.replace("{}", "raise exception 'no status today'; return;"))
        alert = fired(daemon, "AnalyticsContractBroken")
        assert "get_analytics_refresh_status" in alert["description"]
        assert daemon.metric("analytics_view_size_bytes", view=VIEWS[0]) in (size, None)
        assert (daemon.metric("analytics_view_age_minutes", view=VIEWS[0]) or 9) < 1
        seen = len(daemon.events("refresh.finished"))
        daemon.wait_for("refresh.finished", ok, count=seen + 1)
        connection.execute(definition)
        daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsContractBroken")
        assert daemon.stop() == 0


def test_A25_status_function_slow(dsn: str, connection: Connection) -> None:
    """While the status function hangs, the refreshes still begin at their slots, on a connection of their own."""
    connection.execute(STATUS.replace("{}", "perform pg_sleep(60); return;"))
    with Daemon(dsn, schedule__interval="8s") as daemon:
        lines = [daemon.wait_for("refresh.finished", count=number) for number in (1, 2)]
        assert all(ok(line) for line in lines)
        sleepers = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
        daemon.until(lambda: value(connection, sleepers) == 1)
        assert max(line["lateness_seconds"] for line in lines) < 4
        assert daemon.stop() == 0
    assert value(connection, "select count(*) from analytics_refresh.runs where outcome = 'skipped'") == 0


def test_A26_notice_flood(dsn: str, connection: Connection) -> None:
    """Ten thousand notices are one number and at most ten samples in the canonical line, and no lines of their own."""
    definition = value(connection, "select pg_get_functiondef('refresh_action_analytics'::regproc)")
    flood = "begin\n for i in 1..10000 loop raise notice 'notice % of a@b.example', i; end loop;"
    connection.execute(definition.replace("begin", flood, 1))
    with Daemon(make_conninfo(dsn), **SLOT) as daemon:
        line = daemon.wait_for("refresh.finished")
        assert ok(line)
        assert line["notices"] == 10000
        assert len(line["notice_samples"]) <= 10
        assert "a@b.example" not in "".join(daemon.raw)
        assert len(daemon.raw) < 40
        assert daemon.stop() == 0
