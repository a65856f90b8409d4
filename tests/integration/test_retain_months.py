"""`retain` takes months as a whole, keeps them for a while, and puts them back when asked."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_refreshd.app.commands import retain as command
from analytics_refreshd.config import load
from analytics_refreshd.core.errors import DatabaseFault, MigrationError, UsageError
from analytics_refreshd.core.partitions import Month
from analytics_refreshd.core.retention import End
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.settings import Retention
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.postgres.retention.undo import put_back
from tests.conftest import create_application
from tests.integration.test_migrate_roles import psql
from tests.support import warm
from tests.support.daemon import environment
from tests.support.erasing import CANARY, act, erase, found_by_sql, make_key, receipt_of, started
from tests.support.faults import as_role, value
from tests.support.installs import temporary_role
from tests.support.months import YOUNG, traffic
from tests.support.postgres import PROGRAMS, Server, dump_and_restore
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]
MODES = ("plain", "incremental")
NOW = datetime.now(UTC)
ROWS_DAYS = 90
BOUND = NOW - timedelta(days=ROWS_DAYS)
SETTINGS: dict[str, Any] = {
    # slots are far apart, so that no step has to wait for one
    "schedule": {"interval": "6h"},
    "retention": {"rows": f"{ROWS_DAYS}d", "max_share": 1.0, "confirmed": True},
}


def months() -> list[Month]:
    """The months in which the log begins and ends, and those between: three are older than the rows to be kept."""
    found = [Month.of(BOUND - timedelta(days=92))]
    while found[-1].start < NOW:
        found.append(found[-1].next)
    return found


OLD = [month for month in months() if month.end <= BOUND]


def retain(dsn: str, mode: str = "incremental", **retention: Any) -> command.Retained:
    """Delete what is old, and return what was done."""
    keep = {"keep": "rollups", "horizon": "auto"} if mode == "incremental" else {"keep": "nothing"}
    config = load(SETTINGS | {"database": {"url": dsn}, "retention": SETTINGS["retention"] | keep | retention})
    return command.retain(config, confirm=None, max_share=None, told=lambda _: None)


def undo(dsn: str, asked: str) -> str:
    """Put a month back."""
    config = load(SETTINGS | {"database": {"url": dsn}})
    return str(command.undo(config, asked, told=lambda _: None))


def partition_log(connection: Connection) -> None:
    """Give the log months and a DEFAULT, by hand."""
    connection.execute(
        "alter table action_results rename to old; create table action_results (like old including defaults including"
        " constraints) partition by range (executed_at); create table action_results_default partition of"
        " action_results default; create index on action_results (executed_at);"
        " alter table action_results add foreign key (trigger_id) references triggers (id) on delete set null"
    )
    for month, after in pairwise([*months(), months()[-1].next]):
        connection.execute(
            f"create table {month.table} partition of action_results for values from ('{month.start}') to"
            f" ('{after.start}')"
        )


def fill(connection: Connection, mode: str) -> None:
    """Put rows into every month, and freeze those that are old."""
    connection.execute("insert into triggers (id) values ('busy')")
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
        " select 'past ' || n, 'j', 'busy', 'rest', case n %% 5 when 0 then 'failed' else 'success' end,"
        " t.at, n from generate_series(%s::timestamptz, now(), interval '5 hours') with ordinality t (at, n)",
        [months()[0].start],
    )
    migrate(connection, recreate_views=True)
    if mode == "incremental":
        incremental.install(connection, retention=Retention(ROWS_DAYS * 86_400.0))
    connection.execute("select * from refresh_action_analytics()")
    connection.execute("analyze action_results")


@pytest.fixture
def log(application_dsn: str) -> Iterator[Connection]:
    """A log in months, in incremental mode, with a frozen horizon."""
    with psycopg.connect(application_dsn, autocommit=True, options="-c timezone=UTC") as connection:
        partition_log(connection)
        fill(connection, "incremental")
        yield connection


def figures(connection: Connection) -> list[Any]:
    """All that the views over all history show of what is old."""
    query = "select * from action_metrics_hourly where hour < %s order by 1, 2, 3"
    return connection.execute(query, [OLD[-1].end]).fetchall()


def attached(connection: Connection) -> set[str]:
    """The partitions that are there."""
    query = "select inhrelid::regclass::text from pg_inherits where inhparent = 'action_results'::regclass"
    return {str(name) for (name,) in connection.execute(query)}


def later(connection: Connection, days: float) -> None:
    """Let so many days pass for what was detached and put back."""
    connection.execute(
        "update analytics_refresh.retention_months set changed_at = changed_at - make_interval(secs => %s)",
        [days * 86_400],
    )


def exact(connection: Connection, before: Any) -> None:
    """Assert that every figure is right, and nothing was built again."""
    failed = connection.execute("select error_message from refresh_action_analytics() where not success").fetchall()
    assert failed == []
    assert verify(connection).ok
    assert value(connection, "select built_at from analytics_refresh.incremental") == before
    assert incremental.state(connection).obstacles == ()


@pytest.mark.slow
def test_months_go_as_a_whole_and_their_figures_stay(application_dsn: str, log: Connection) -> None:
    """Beside a writer and a reader months are detached, put back, taken again and dropped; every figure stays."""
    before, built = figures(log), value(log, "select built_at from analytics_refresh.incremental")
    rows = value(log, "select count(*) from action_results where executed_at < %s", OLD[-1].end)
    with traffic(application_dsn, times=YOUNG):
        done = retain(application_dsn)
    assert done.end is End.OK
    assert done.months.detached == tuple(f"public.{month.table}" for month in OLD)
    assert (done.months.dropped, done.months.left) == ((), ())
    assert not attached(log) & {month.table for month in OLD}
    assert value(log, f"select count(*) from {OLD[0].table}") > 100
    exact(log, built)
    assert figures(log) == before

    with traffic(application_dsn, "again", YOUNG):
        assert undo(application_dsn, str(OLD[0])) == f"public.{OLD[0].table}"
    assert OLD[0].table in attached(log)
    assert retain(application_dsn).months.detached == ()
    assert OLD[0].table in attached(log)
    kept = value(log, f"select count(*) from {OLD[0].table}")
    assert 0 < kept < rows
    exact(log, built)
    later(log, 8)
    done = retain(application_dsn)
    assert done.months.detached == (f"public.{OLD[0].table}",)
    assert done.months.dropped == tuple(f"public.{month.table}" for month in OLD[1:])
    later(log, 8)
    assert retain(application_dsn).months.dropped == (f"public.{OLD[0].table}",)
    exact(log, built)
    assert figures(log) == before
    states = log.execute("select distinct state from analytics_refresh.retention_months").fetchall()
    assert states == [("dropped",)]


@pytest.mark.slow
def test_a_change_that_waits_is_folded_before_its_month_goes(application_dsn: str, log: Connection) -> None:
    """A row committed late into a month is told of by the fold; until then the month stays."""
    log.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at)"
        " values ('late', 'j', 'rest', 'failed', %s)",
        [OLD[0].start],
    )
    with running(application_dsn) as process:
        assert process.stderr is not None
        assert "waiting for changes that wait to be folded" in process.stderr.readline()
        assert OLD[0].table in attached(log)
        log.execute("select * from refresh_action_analytics()")
        assert process.wait(60) == 0
    assert not attached(log) & {month.table for month in OLD}
    assert value(log, "select late_rows_total from analytics_refresh.incremental") == 1
    log.execute("select * from refresh_action_analytics()")
    assert verify(log).ok


@pytest.mark.slow
def test_R04_a_row_that_is_committed_late_goes_with_its_month_and_is_counted(
    application_dsn: str, log: Connection
) -> None:
    """The writer's lock is waited for, then the fold of what it wrote; figures stay, and the row is told of."""
    built = value(log, "select built_at from analytics_refresh.incremental")
    with psycopg.connect(application_dsn) as writer:
        writer.execute(
            "insert into action_results (id, job_id, action_type, status, executed_at)"
            " values ('late', 'j', 'rest', 'failed', %s)",
            [OLD[0].start],
        )
        with running(application_dsn) as process:
            assert process.stderr is not None
            assert "waiting for a lock" in process.stderr.readline()
            writer.commit()
            lines = iter(process.stderr.readline, "")
            assert any("waiting for changes that wait to be folded" in line for line in lines)
            log.execute("select * from refresh_action_analytics()")
            assert process.wait(60) == 0
    assert value(log, f"select count(*) from {OLD[0].table} where id = 'late'") == 1
    assert value(log, "select late_rows_total from analytics_refresh.incremental") == 1
    exact(log, built)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("DETACH", marks=pytest.mark.nightly),
        pytest.param("note of a DETACH", marks=pytest.mark.slow),
        pytest.param("DROP", marks=pytest.mark.nightly),
        pytest.param("note of a DROP", marks=pytest.mark.slow),
    ],
)
def test_R01_a_kill_within_a_step_leaves_the_month_as_it_was(application_dsn: str, log: Connection, place: str) -> None:
    """Between a command and its commit: the month is a partition still, or can be put back; the next run goes on."""
    built = value(log, "select built_at from analytics_refresh.incremental")
    if "DROP" in place:
        retain(application_dsn)
        later(log, 8)
    log.execute(_KILLS[place])
    with pytest.raises(DatabaseFault):
        retain(application_dsn)
    left = {month.table for month in OLD}
    if "DROP" in place:
        assert value(log, "select count(*) from analytics_refresh.retention_months where state = 'detached'") == len(
            OLD
        )
        assert all(value(log, "select to_regclass(%s) is not null", name) for name in left)
    else:
        assert left <= attached(log)
        assert value(log, "select count(*) from analytics_refresh.retention_months") == 0
    log.execute("drop event trigger if exists kills; drop function kill() cascade")
    done = retain(application_dsn).months
    assert len(done.dropped if "DROP" in place else done.detached) == len(OLD)
    exact(log, built)


_KILL = "begin perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(60); return {}; end"
_ON_COMMAND = (
    "create function kill() returns event_trigger language plpgsql as $$ " + _KILL.format("") + " $$;"
    " create event trigger kills on {} execute function kill()"
)
_ON_NOTE = (
    "create function kill() returns trigger language plpgsql as $$ " + _KILL.format("null") + " $$;"
    " create trigger kills after {} on analytics_refresh.retention_months for each row execute function kill()"
)
_KILLS = {
    "DETACH": _ON_COMMAND.format("ddl_command_end when tag in ('ALTER TABLE')"),
    "note of a DETACH": _ON_NOTE.format("insert"),
    "DROP": _ON_COMMAND.format("sql_drop when tag in ('DROP TABLE')"),
    "note of a DROP": _ON_NOTE.format("update"),
}
"""By place, what ends the session there."""


@contextmanager
def running(dsn: str) -> Iterator[warm.Started]:
    """`retain` under way, which tells of every wait at once."""
    given = environment(
        dsn, schedule__interval="6h", retention__rows=f"{ROWS_DAYS}d", retention__horizon="auto",
        retention__max_share=1.0, retention__confirmed=True,
    )  # fmt: skip
    with warm.killed(warm.start(["retain"], given, first=warm.TELL_AT_ONCE)) as process:
        yield process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)])
def test_R03_a_run_that_ends_while_a_reader_holds_a_month_goes_on(
    application_dsn: str, log: Connection, number: int
) -> None:
    """Nobody is kept behind it, nothing is half done, and the next run takes all of it."""
    built = value(log, "select built_at from analytics_refresh.incremental")
    with psycopg.connect(application_dsn) as reader, traffic(application_dsn, times=YOUNG) as seen:
        reader.execute("select count(*) from action_results")
        with running(application_dsn) as process:
            assert process.stderr is not None
            assert "waiting for a lock" in process.stderr.readline()
            seen.wait_for(seen.written + 20)
            process.send_signal(number)
            assert process.wait(60) == (0 if number == signal.SIGTERM else -9)
        assert {month.table for month in OLD} <= attached(log)
        reader.rollback()
    assert len(retain(application_dsn).months.detached) == len(OLD)
    exact(log, built)


@pytest.mark.slow
def test_R01_undo_goes_on_wherever_it_ended(application_dsn: str, log: Connection) -> None:
    """Killed at each of its steps, it leaves nothing that a run of either command does not clean away."""
    built = value(log, "select built_at from analytics_refresh.incremental")
    retain(application_dsn)
    for place in range(1, 5):
        working = psycopg.connect(application_dsn, autocommit=True)
        left = [place]

        def die(_: str, left: list[int] = left, working: Connection = working) -> None:
            left[0] -= 1
            if left[0] == 0:
                working.close()

        with pytest.raises((MigrationError, psycopg.Error)):
            put_back(working, "public", str(OLD[0]), told=die)
        assert OLD[0].table not in attached(log)
    assert undo(application_dsn, OLD[0].table)
    assert value(log, "select count(*) from pg_constraint where conname ~ '^analytics_refresh_[0-9]'") == 0
    exact(log, built)


@pytest.mark.slow
def test_R11_a_restored_month_can_be_put_back_and_goes_in_its_time(
    application_dsn: str, log: Connection, databases: Callable[..., str], tmp_path: Path
) -> None:
    """A dump and restore changes the numbers of tables: each is found again, and nothing else is taken for one."""
    log.execute(f"comment on table {OLD[0].table} is 'ours'")
    assert len(retain(application_dsn).months.detached) == len(OLD) == 3
    before, target = figures(log), databases()
    dump_and_restore(application_dsn, target, log.info.server_version // 10000, tmp_path / "dump")
    with psycopg.connect(target, autocommit=True, options="-c timezone=UTC") as restored:
        # somebody's table bears the name of one that is gone
        restored.execute(f"drop table {OLD[2].table}; create table {OLD[2].table} (id text)")
        undo(target, str(OLD[0]))
        assert OLD[0].table in attached(restored)
        assert value(restored, "select obj_description(%s::regclass, 'pg_class')", OLD[0].table) == "ours"
        later(restored, 8)
        # the number of one month is by chance that of another's record
        restored.execute(
            "update analytics_refresh.retention_months set relation = %s::regclass where table_name = %s",
            [OLD[0].table, OLD[1].table],
        )
        done = retain(target).months
        assert done.detached == (f"public.{OLD[0].table}",)
        assert done.dropped == (f"public.{OLD[1].table}",)
        later(restored, 8)
        assert retain(target).months.dropped == (f"public.{OLD[0].table}",)
        assert value(restored, f"select count(*) from {OLD[2].table}") == 0
        restored.execute("select * from refresh_action_analytics()")
        assert figures(restored) == before
        assert verify(restored).ok


@pytest.mark.slow
def test_undo_says_what_it_cannot_do(application_dsn: str, log: Connection) -> None:
    """A month that was not taken is named wrong; another run, or rows of its time that came, are in the way."""
    with pytest.raises(UsageError, match="there is none"):
        undo(application_dsn, "2020-01")
    retain(application_dsn)
    with pytest.raises(UsageError, match=f"there is public.{OLD[0].table}"):
        undo(application_dsn, "2020-01")
    log.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at)"
        " values ('late', 'j', 'rest', 'failed', %s)",
        [OLD[0].start],
    )
    with pytest.raises(MigrationError, match="rows of its time came into"):
        undo(application_dsn, str(OLD[0]))
    with psycopg.connect(application_dsn) as another:
        another.execute("select pg_advisory_xact_lock(2583, 3)")
        with pytest.raises(MigrationError, match="another migration is running"):
            undo(application_dsn, str(OLD[0]))
    log.execute("delete from action_results where id = 'late'; select * from refresh_action_analytics()")
    assert undo(application_dsn, str(OLD[0]))


@pytest.mark.slow
def test_a_table_that_something_depends_on_stays(application_dsn: str, log: Connection) -> None:
    """It is named, the others go."""
    retain(application_dsn)
    log.execute(f"create view reports as select id from {OLD[0].table}")
    later(log, 8)
    done = retain(application_dsn)
    assert done.months.dropped == tuple(f"public.{month.table}" for month in OLD[1:])
    assert done.months.left[0].startswith(f"public.{OLD[0].table} stays: cannot drop table")


@pytest.mark.slow
def test_a_role_that_is_no_member_empties_months_row_by_row(application_dsn: str, log: Connection) -> None:
    """It says so, and which option makes it a member; a member takes them."""
    with temporary_role(log) as owner, temporary_role(log) as keeper:
        log.execute(f"grant create on schema public to {owner}")
        for name in [*attached(log), "action_results", "triggers"]:
            log.execute(f"alter table {name} owner to {owner}")
        migrate(log)
        incremental.install(log)
        psql(application_dsn, "retention.sql", "-v", f"role={keeper}")
        as_keeper = as_role(application_dsn, keeper)
        given = environment(as_keeper, schedule__interval="6h", retention__rows="90d", retention__max_share=1.0)
        shown = warm.run(["retain", "--dry-run"], given)
        assert shown.returncode == 0, shown.stderr
        assert f"this role is no member of {owner}" in shown.stdout
        config = load(
            SETTINGS | {"database": {"url": as_keeper}, "retention": SETTINGS["retention"] | {"horizon": "auto"}}
        )
        assert command.preview(config).takes == ()
        psql(application_dsn, "retention.sql", "-v", f"role={keeper}", "-v", "months=1")
        assert len(command.preview(config).takes) == len(OLD)
        done = command.retain(config, confirm=None, max_share=None, told=lambda _: None)
        assert len(done.months.detached) == len(OLD)
        assert undo(as_keeper, str(OLD[0]))
        log.execute("drop table action_results cascade")


@pytest.mark.nightly
@pytest.mark.skipif(not PROGRAMS[15].exists(), reason="PostgreSQL 15 is not installed")
def test_it_works_on_the_oldest_version_in_plain_mode() -> None:
    """Months go with their figures where nothing is to be kept; undo brings both back."""
    made = Server(programs=PROGRAMS[15]).start()
    try:
        create_application(made.dsn())
        with psycopg.connect(made.dsn(), autocommit=True, options="-c timezone=UTC") as connection:
            partition_log(connection)
            fill(connection, "plain")
            before = figures(connection)
            assert len(retain(made.dsn(), "plain").months.detached) == len(OLD)
            connection.execute("select * from refresh_action_analytics()")
            assert figures(connection) == []
            for month in OLD:
                undo(made.dsn(), str(month))
            connection.execute("select * from refresh_action_analytics()")
            assert figures(connection) == before
            later(connection, 8)
            assert len(retain(made.dsn(), "plain", undo="0s").months.dropped) == len(OLD)
    finally:
        made.destroy()


def test_a_log_that_is_one_table_has_no_months(dsn: str) -> None:
    """Its rows go in portions, as ever."""
    shown = command.preview(
        load(SETTINGS | {"database": {"url": dsn}, "retention": SETTINGS["retention"] | {"keep": "nothing"}})
    )
    assert (shown.takes, shown.drops, shown.months.old) == ((), (), ())


@pytest.mark.slow
def test_what_would_go_is_shown(application_dsn: str, log: Connection) -> None:
    """The preview names the months, and changes nothing."""
    config = load(
        SETTINGS | {"database": {"url": application_dsn}, "retention": SETTINGS["retention"] | {"horizon": "auto"}}
    )
    shown = command.preview(config)
    assert shown.refused is None
    assert shown.takes == tuple(f"public.{month.table}" for month in OLD)
    assert (shown.drops, shown.months.waiting()) == ((), ())
    assert {month.table for month in OLD} <= attached(log)


def somebody(connection: Connection) -> None:
    """Let one person and another act in the oldest month, in a later one that goes, and lately; then let these go."""
    connection.execute("insert into triggers (id, user_id) values ('alone', 'person'), ('other', 'somebody')")
    step = f"{(NOW - OLD[0].start).total_seconds() / 3 - 60} seconds"
    act(connection, ["alone"], CANARY, 3, step)
    act(connection, ["other"], "harmless", 3, step)
    connection.execute("select * from refresh_action_analytics()")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["redact", pytest.param("delete", marks=pytest.mark.nightly)])
def test_an_erasure_reaches_months_that_were_detached(
    application_dsn: str, log: Connection, tmp_path: Path, mode: str
) -> None:
    """Nothing of the person is left in a month that can come back, or was restored; all of the others is."""
    built = value(log, "select built_at from analytics_refresh.incremental")
    somebody(log)
    assert len(retain(application_dsn).months.detached) == len(OLD)
    rows = value(log, f"select count(*) from {OLD[0].table}")
    if mode == "delete":
        # a table that was restored from a dump has another number
        log.execute("update analytics_refresh.retention_months set relation = (relation::int8 + 100000000)::oid")
    before = figures(log)
    with temporary_role(log) as eraser:
        psql(application_dsn, "erasure.sql", "-v", f"role={eraser}")
        done = erase(as_role(application_dsn, eraser), make_key(tmp_path), "--user", "person", "--mode", mode)
        receipt = receipt_of(done)
    assert (receipt["rows_erased"], receipt["rows_left"]) == (3, 0)
    assert f'vacuum (full, analyze) "public"."{OLD[0].table}";' in json.loads(done.stdout)["commands"]
    assert found_by_sql(log, samples=False) == []
    assert value(log, f"select count(*) from {OLD[0].table}") == rows - (mode == "delete")
    assert value(log, f"select job_id from {OLD[0].table} where trigger_id = 'other'") == "harmlessjob0"
    assert figures(log) == before
    exact(log, built)
    if mode == "redact":
        undo(application_dsn, str(OLD[0]))
        assert found_by_sql(log, samples=False) == []
        exact(log, built)


@pytest.mark.slow
def test_R09_a_month_that_is_dropped_during_an_erasure_is_passed_over(
    application_dsn: str, log: Connection, tmp_path: Path
) -> None:
    """What was found there is gone, and the rest is erased."""
    somebody(log)
    retain(application_dsn)
    with psycopg.connect(application_dsn) as refreshing:
        refreshing.execute("select pg_advisory_xact_lock(2583, 2)")
        with started(application_dsn, make_key(tmp_path), "--user", "person") as running:
            eventually(lambda: value(log, "select count(*) from analytics_refresh.erasures") == 1)
            log.execute(f"drop table {OLD[0].table}")
            refreshing.rollback()
            assert running.wait(60) == 0
    assert found_by_sql(log, samples=False) == []
