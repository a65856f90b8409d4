"""`retain`: old rows go in portions, what may not go is refused, and nothing is deleted unasked."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.install import Retention
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.integration.test_migrate_roles import psql
from tests.support import warm
from tests.support.daemon import Daemon, command, environment
from tests.support.faults import FAST, as_role, fired, value
from tests.support.installs import Connection
from tests.support.postgres import Server
from tests.support.waiting import eventually

# slots are far apart, so that no portion has to wait for one
PLAIN: dict[str, Any] = {
    "schedule__interval": "6h",
    "retention__rows": "90d",
    "retention__keep": "nothing",
    "retention__max_share": 1.0,
}


def fill(connection: Connection, rows: int, days: float = 100, prefix: str = "old") -> None:
    """Insert rows that were executed so many days ago, a millisecond apart."""
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at)"
        " select %s || n, 'j', 'rest', 'success', now() - make_interval(secs => %s) + n * interval '1 ms'"
        " from generate_series(1, %s) n",
        (prefix, days * 86_400, rows),
    )


def token_of(dsn: str, **settings: Any) -> str:
    """Look with --dry-run, and return what confirms it."""
    done = command(dsn, "retain", "--dry-run", "--format", "json", **settings)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["token"])


@pytest.fixture
def retention_dsn(dsn: str, connection: Connection) -> Iterator[str]:
    """The database as the role of deploy/sql/retention.sql sees it."""
    name = f"keeper_{value(connection, 'select current_database()')}"
    psql(dsn, "retention.sql", "-v", f"role={name}")
    yield as_role(dsn, name)
    connection.execute(f"drop owned by {name}")
    connection.execute(f"drop role {name}")


@pytest.mark.slow
def test_R05_what_was_shown_goes_and_is_recorded(retention_dsn: str, connection: Connection) -> None:
    """The role of retention.sql deletes what is older than the bound, and only that; the run is in its table."""
    fill(connection, 2_500)
    fill(connection, 40, days=1, prefix="young")
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at)"
        " values ('timeless', 'j', 'rest', 'success', null), ('first', 'j', 'rest', 'success', '-infinity'),"
        " ('last', 'j', 'rest', 'success', 'infinity')"
    )
    shown = command(retention_dsn, "retain", "--dry-run", "--format", "json", **PLAIN)
    found = json.loads(shown.stdout)
    assert (found["rows_to_go"], found["rows"], found["rows_without_time"]) == (2_501, 2_543, 1)
    assert (found["figures"], found["frozen_until"], found["refused"]) == ("lost", None, None)
    assert value(connection, "select count(*) from action_results") == 2_543

    done = command(retention_dsn, "retain", "--confirm", found["token"], "--format", "json", **PLAIN)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["outcome"], result["rows_deleted"], result["rows_left"]) == ("ok", 2_501, 0)
    left = connection.execute("select id from action_results where id not like 'young%' order by id").fetchall()
    assert left == [("last",), ("timeless",)]
    recorded = connection.execute(
        "select run_id::text, outcome, rows_deleted, rows_left, portions, finished_at is not null, keep_figures"
        " from analytics_refresh.retention_runs"
    ).fetchall()
    assert recorded == [(result["run_id"], "ok", 2_501, 0, result["portions"], True, False)]


@pytest.mark.slow
def test_nothing_goes_unasked(dsn: str, connection: Connection) -> None:
    """Without `rows`, a token or `confirmed`, and with a wrong token, nothing is deleted."""
    fill(connection, 10)
    off = command(dsn, "retain", "--dry-run")
    assert (off.returncode, '[retention] rows = "90d"' in off.stderr) == (64, True)
    for words in ((), ("--confirm", "20260101T00-00000000")):
        refused = command(dsn, "retain", *words, **PLAIN)
        assert (refused.returncode, "retain --dry-run" in refused.stderr) == (64, True)
    assert value(connection, "select count(*) from action_results") == 10
    assert command(dsn, "retain", **PLAIN, retention__confirmed=True).returncode == 0
    assert value(connection, "select count(*) from action_results") == 0


@pytest.mark.slow
def test_figures_that_would_go_are_kept(dsn: str, connection: Connection) -> None:
    """In plain mode nothing is frozen: by default such rows stay, and the sentence says what would keep figures."""
    fill(connection, 10)
    refused = command(dsn, "retain", **PLAIN | {"retention__keep": "rollups", "retention__confirmed": True})
    assert (refused.returncode, "migrate --incremental" in refused.stderr) == (1, True)
    assert value(connection, "select count(*) from action_results") == 10


@pytest.mark.slow
def test_a_large_share_is_asked_about(dsn: str, connection: Connection) -> None:
    """More than `max_share` of all rows goes only when told so; what the sentence says to type works."""
    fill(connection, 30)
    fill(connection, 70, days=1, prefix="young")
    settings = PLAIN | {"retention__max_share": 0.2, "retention__confirmed": True}
    refused = command(dsn, "retain", **settings)
    assert (refused.returncode, "--max-share 0.31" in refused.stderr) == (1, True)
    assert command(dsn, "retain", "--max-share", "0.31", **settings).returncode == 0
    assert value(connection, "select count(*) from action_results") == 70


@pytest.mark.slow
def test_R02_rows_that_a_writer_holds_stay_until_the_next_run(dsn: str, connection: Connection) -> None:
    """Nobody waits for a locked row: the others go, and it is told."""
    fill(connection, 300)
    with psycopg.connect(dsn) as writer:
        writer.execute("update action_results set retry_count = 1 where id = 'old150'")
        done = command(dsn, "retain", "--format", "json", **PLAIN, retention__confirmed=True)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert 1 <= result["rows_left"] <= 10
        assert result["rows_deleted"] == 300 - result["rows_left"]
    assert command(dsn, "retain", **PLAIN, retention__confirmed=True).returncode == 0
    assert value(connection, "select count(*) from action_results") == 0


@pytest.mark.slow
def test_a_table_without_an_index_on_its_time_is_refused(dsn: str, connection: Connection) -> None:
    """Each portion would read all of it; the sentence's command makes the index."""
    fill(connection, 10)
    ((index,),) = connection.execute(
        "select indexrelid::regclass::text from pg_index where indrelid = 'action_results'::regclass"
        " and pg_get_indexdef(indexrelid) like '%executed_at%' and indpred is null"
    ).fetchall()
    connection.execute(f"drop index {index}")
    refused = command(dsn, "retain", "--dry-run", **PLAIN)
    assert refused.returncode == 1
    connection.execute(refused.stderr.partition("of it: ")[2].strip())
    assert command(dsn, "retain", "--dry-run", **PLAIN).returncode == 0


@pytest.mark.slow
def test_partitions_are_emptied_and_their_changes_captured(dsn: str, connection: Connection) -> None:
    """Rows go where they lie; in incremental mode what is not kept leaves the figures, exactly."""
    connection.execute("drop table action_results cascade")
    connection.execute(
        "create table action_results (id text, job_id text not null, trigger_id text references triggers(id)"
        " on delete set null, event_id text, action_type text not null, status text not null,"
        " executed_at timestamptz default now(), duration_ms integer, error_message text, response_data jsonb,"
        " retry_count integer default 0) partition by range (executed_at)"
    )
    connection.execute("create table rest partition of action_results default")
    connection.execute("create index on action_results (executed_at)")
    connection.execute("create unique index on rest (id)")
    fill(connection, 500)
    fill(connection, 5, days=1, prefix="young")
    assert command(dsn, "migrate").returncode == 0
    switched = command(dsn, "migrate", "--incremental")
    assert switched.returncode == 0, switched.stderr
    assert command(dsn, "retain", "--confirm", token_of(dsn, **PLAIN), **PLAIN).returncode == 0
    assert value(connection, "select count(*) from rest") == 5
    assert command(dsn, "refresh", **PLAIN).returncode == 0
    assert value(connection, "select sum(execution_count) from action_metrics_hourly") == 5
    assert command(dsn, "migrate", "--verify").returncode == 0


@pytest.mark.slow
def test_rows_go_and_their_figures_stay(retention_dsn: str, dsn: str, connection: Connection) -> None:
    """With a frozen horizon the role of retention.sql deletes rows, and every figure is as it was."""
    frozen: dict[str, Any] = PLAIN | {"retention__keep": "rollups", "retention__horizon": "auto"}
    fill(connection, 700)
    fill(connection, 9, days=1, prefix="young")
    switched = command(dsn, "migrate", "--incremental", **frozen)
    assert switched.returncode == 0, switched.stderr
    role = psycopg.conninfo.conninfo_to_dict(retention_dsn)["user"]
    psql(dsn, "retention.sql", "-v", f"role={role}")
    connection.execute("update action_results set retry_count = 0 where id = 'young1'")
    assert command(dsn, "refresh", **frozen).returncode == 0
    before = connection.execute("select * from action_metrics_hourly order by 1, 2, 3").fetchall()
    done = command(retention_dsn, "retain", "--confirm", token_of(retention_dsn, **frozen), **frozen)
    assert done.returncode == 0, done.stderr
    assert value(connection, "select count(*) from action_results") == 9
    assert command(dsn, "refresh", **frozen).returncode == 0
    assert connection.execute("select * from action_metrics_hourly order by 1, 2, 3").fetchall() == before
    assert command(dsn, "migrate", "--verify").returncode == 0
    shown = json.loads(command(dsn, "status", "--format", "json").stdout)["retention"]
    assert (shown["outcome"], shown["rows_deleted"], shown["rows_left"]) == ("ok", 700, 0)
    assert "retention: ok, 700 rows older than" in command(dsn, "status").stdout


@pytest.mark.slow
def test_rows_after_the_horizon_stay(dsn: str, connection: Connection) -> None:
    """A horizon that lies before the bound refuses, whoever set it."""
    fill(connection, 20)
    set_up = PLAIN | {"retention__keep": "rollups", "retention__horizon": "auto", "retention__rows": "200d"}
    assert command(dsn, "migrate", "--incremental", **set_up).returncode == 0
    assert command(dsn, "refresh", **set_up).returncode == 0
    shorter = set_up | {"retention__rows": "90d"}
    refused = command(dsn, "retain", "--dry-run", **shorter)
    assert (refused.returncode, "are frozen" in refused.stderr) == (1, True)


@pytest.mark.slow
def test_a_refresh_goes_first(dsn: str, connection: Connection) -> None:
    """While a refresh holds its key no portion begins, and that is told; it goes on afterwards."""
    fill(connection, 50)
    with psycopg.connect(dsn) as refreshing:
        refreshing.execute("select pg_advisory_xact_lock(2583, 2)")
        with started(dsn, retention__confirmed=True) as running:
            assert running.stderr is not None
            assert "deleted 0 of 50 rows; waiting for a refresh" in running.stderr.readline()
            assert value(connection, "select count(*) from action_results") == 50
            refreshing.rollback()
            assert running.wait(60) == 0
    assert value(connection, "select count(*) from action_results") == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_R01_a_signal_stops_it_and_the_next_run_goes_on(dsn: str, connection: Connection, number: int) -> None:
    """It ends with 0 between two portions, and says so in its table."""
    fill(connection, 50)
    with psycopg.connect(dsn) as refreshing:
        refreshing.execute("select pg_advisory_xact_lock(2583, 2)")
        with started(dsn, retention__confirmed=True) as running:
            eventually(lambda: value(connection, "select count(*) from analytics_refresh.retention_runs") == 1)
            running.send_signal(number)
            assert running.wait(60) == 0
    assert value(connection, "select outcome || reason from analytics_refresh.retention_runs") == (
        "stoppedstopped on request"
    )
    assert command(dsn, "retain", **PLAIN, retention__confirmed=True).returncode == 0
    assert value(connection, "select count(*) from action_results") == 0


@pytest.mark.slow
def test_R01_R02_a_killed_run_is_closed_by_the_next_and_two_at_once_are_one(dsn: str, connection: Connection) -> None:
    """The second ends with 75 while the first lives; one that was killed is recorded as abandoned."""
    fill(connection, 50)
    with psycopg.connect(dsn) as refreshing:
        refreshing.execute("select pg_advisory_xact_lock(2583, 2)")
        with started(dsn, retention__confirmed=True):
            eventually(lambda: value(connection, "select count(*) from analytics_refresh.retention_runs") == 1)
            second = command(dsn, "retain", **PLAIN, retention__confirmed=True)
            assert (second.returncode, "another `retain`" in second.stderr) == (75, True)
    held = "select count(*) from pg_locks where locktype = 'advisory' and classid = 2583 and objid = 4"
    eventually(lambda: value(connection, held) == 0)
    assert command(dsn, "retain", **PLAIN, retention__confirmed=True).returncode == 0
    outcomes = connection.execute("select outcome from analytics_refresh.retention_runs order by started_at").fetchall()
    assert outcomes == [("abandoned",), ("ok",)]


@pytest.mark.slow
def test_its_time_is_limited(dsn: str, connection: Connection) -> None:
    """After `max_duration` it ends, says so, and leaves the rest to the next run."""
    fill(connection, 50)
    settings = PLAIN | {"retention__confirmed": True, "retention__max_duration": "1s"}
    with psycopg.connect(dsn) as refreshing:
        refreshing.execute("select pg_advisory_xact_lock(2583, 2)")
        done = command(dsn, "retain", "--format", "json", **settings)
    result = json.loads(done.stdout)
    assert (done.returncode, result["outcome"], result["rows_left"]) == (0, "stopped", 50)
    assert "max_duration" in result["reason"]


@pytest.mark.slow
def test_a_role_without_rights_is_told_which_file_gives_them(dsn: str, connection: Connection) -> None:
    """The daemon's role deletes nothing."""
    connection.execute("create role nobody_special login")
    try:
        connection.execute("grant usage on schema analytics_refresh to nobody_special")
        connection.execute("grant select on analytics_refresh.installation to nobody_special")
        refused = command(as_role(dsn, "nobody_special"), "retain", "--dry-run", **PLAIN)
        assert (refused.returncode, "deploy/sql/retention.sql" in refused.stderr) == (1, True)
    finally:
        connection.execute("drop owned by nobody_special")
        connection.execute("drop role nobody_special")


@pytest.mark.slow
def test_the_daemon_tells_when_it_is_overdue_and_when_it_is_not(dsn: str, connection: Connection) -> None:
    """Without a run the alert fires; one that ended well resolves it, and its time is a metric."""
    fill(connection, 10)
    settings = FAST | {"retention__overdue_after": "5m"}
    begun = (
        "insert into analytics_refresh.retention_runs (run_id, started_at, finished_at, bound, keep_figures, outcome)"
    )
    connection.execute(
        f"{begun} values (gen_random_uuid(), now() - interval '1 hour',"
        " now() - interval '6 minutes', now(), true, 'ok')"
    )
    connection.execute(f"{begun} values (gen_random_uuid(), now(), now(), now(), true, 'stopped')")
    with Daemon(dsn, **settings) as daemon:
        line = fired(daemon, "AnalyticsRetentionOverdue")
        assert "stopped" in line["description"]
        assert command(dsn, "retain", **PLAIN, retention__confirmed=True).returncode == 0
        daemon.wait_for("alert.resolved", lambda line: line["alert"] == "AnalyticsRetentionOverdue")
        age = "select extract(epoch from max(finished_at))::float8 from analytics_refresh.retention_runs"
        told = daemon.metric("analytics_retention_last_success_timestamp_seconds")
        assert told == pytest.approx(value(connection, age), abs=0.01)
        assert daemon.stop() == 0


@pytest.mark.slow
def test_rows_that_row_security_hides_are_no_success(retention_dsn: str, connection: Connection) -> None:
    """A role that sees no row would find nothing to delete: it is refused, and what the sentence says helps."""
    fill(connection, 10)
    connection.execute("alter table action_results enable row level security")
    refused = command(retention_dsn, "retain", "--dry-run", **PLAIN)
    assert (refused.returncode, "row security" in refused.stderr) == (1, True)
    role = psycopg.conninfo.conninfo_to_dict(retention_dsn)["user"]
    connection.execute(f'alter role "{role}" bypassrls')
    assert command(retention_dsn, "retain", **PLAIN, retention__confirmed=True).returncode == 0
    assert value(connection, "select count(*) from action_results") == 0


@pytest.mark.slow
def test_an_unusual_schema_and_settings_change_nothing(databases: Callable[..., str]) -> None:
    """A name that needs quotes, another DateStyle and time zone: the same rows go."""
    dsn, schema = databases(), "MyApp"
    create_application(dsn, schema)
    settings = PLAIN | {"database__schema": schema, "retention__confirmed": True}
    with psycopg.connect(dsn, autocommit=True) as connection:
        name = value(connection, "select current_database()")
        connection.execute(f"alter database {name} set datestyle = 'SQL, DMY'")
        connection.execute(f"alter database {name} set timezone = 'Asia/Kolkata'")
        connection.execute(f"alter database {name} set bytea_output = 'escape'")
    assert command(dsn, "migrate", **settings).returncode == 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute('set search_path = "MyApp"')
        fill(connection, 30)
        fill(connection, 3, days=89.9, prefix="young")
        done = command(dsn, "retain", **settings)
        assert done.returncode == 0, done.stderr
        assert value(connection, "select count(*) from action_results") == 3


def test_the_windows_of_the_views_are_never_cut(dsn: str) -> None:
    """Rows of the last 31 days cannot be asked to go."""
    refused = command(dsn, "retain", "--dry-run", retention__rows="30d")
    assert (refused.returncode, "retention.rows" in refused.stderr) == (78, True)
    assert timedelta(days=31) > timedelta(hours=720)


@contextmanager
def started(dsn: str, **settings: Any) -> Iterator[warm.Started]:
    """`retain` in a process of its own, killed at the end."""
    given = environment(dsn, **PLAIN | settings)
    with warm.killed(warm.start(["retain"], given, first=warm.TELL_AT_ONCE)) as process:
        yield process


@pytest.mark.nightly
def test_R07_R13_a_standby_that_is_behind_is_waited_for_and_takes_over_in_the_middle() -> None:
    """Ten minutes behind, nothing goes unless told; killed with its server, the run goes on where the standby leads."""
    primary = Server(settings={"synchronous_commit": "on"}).start()
    standby: Server | None = None
    settings = PLAIN | {"retention__keep": "rollups", "retention__horizon": "auto", "retention__confirmed": True}
    try:
        create_application(primary.dsn())
        with psycopg.connect(primary.dsn(), autocommit=True) as connection:
            migrate(connection)
            connection.execute("insert into triggers (id) values ('busy')")
            fill(connection, 3_000)
            fill(connection, 50, days=60, prefix="young")
            incremental.install(connection, retention=Retention(90 * 86_400.0))
            connection.execute("select * from refresh_action_analytics()")
            figures = connection.execute(_HOURS).fetchall()
            standby = primary.standby()
            standby.settings["recovery_min_apply_delay"] = "10min"
            standby.start()
            eventually(lambda: _is_behind(connection))
            waited = command(primary.dsn(), "retain", "--format", "json", **settings, retention__max_duration="3s")
            assert json.loads(waited.stdout)["rows_deleted"] == 0, waited.stderr
            told = settings | {"retention__max_lag": "0s"}
            with closing(psycopg.connect(primary.dsn())) as writer:
                writer.execute("select from action_results where id like 'old100_' for update")
                done = command(primary.dsn(), "retain", "--format", "json", **told)
                some = json.loads(done.stdout)["rows_deleted"]
                assert 0 < some < 3_000
                writer.execute("select pg_advisory_xact_lock(2583, 2)")
                with started(primary.dsn(), **told):
                    begun = "select count(*) from analytics_refresh.retention_runs where finished_at is null"
                    eventually(lambda: value(connection, begun) == 1)
                    received = value(connection, "select pg_current_wal_flush_lsn()::text")
                    replica = "select min(flush_lsn) >= %s::pg_lsn from pg_stat_replication"
                    eventually(lambda: value(connection, replica, received))
                    primary.stop("immediate")
        standby.promote()
        with psycopg.connect(standby.dsn(), autocommit=True) as connection:
            done = command(standby.dsn(), "retain", "--format", "json", **told)
            assert json.loads(done.stdout)["rows_deleted"] == 3_000 - some, done.stderr
            outcomes = connection.execute("select outcome from analytics_refresh.retention_runs order by started_at")
            assert outcomes.fetchall() == [("stopped",), ("ok",), ("abandoned",), ("ok",)]
            assert not connection.execute("select * from refresh_action_analytics() where not success").fetchall()
            assert connection.execute(_HOURS).fetchall() == figures
            assert verify(connection).ok
    finally:
        for server in (primary, standby):
            if server:
                server.destroy()


_HOURS = "select * from action_metrics_hourly order by 1, 2, 3"


def _is_behind(connection: Connection) -> bool:
    """Write something, and ask whether the standby is seconds behind with it."""
    connection.execute("update analytics_refresh.installation set mode = mode")
    return bool(value(connection, "select max(replay_lag) > interval '2 s' from pg_stat_replication"))
