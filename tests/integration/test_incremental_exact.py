"""The rollups agree with the plain definitions after whatever happened to action_results."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.verify import verify
from tests.support.incremental import Changes, differences, refresh_and_compare
from tests.support.waiting import eventually

Connection = psycopg.Connection[Any]


def connect(dsn: str) -> Connection:
    """An autocommit connection in UTC."""
    return psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC")


@pytest.fixture(scope="module")
def dsn_template(templates: Callable[..., str], migrated_template: str) -> str:
    """A migrated database in incremental mode."""
    dsn = templates(migrated_template)
    with connect(dsn) as connection:
        incremental.install(connection)
    return dsn


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(1, 5))])
@pytest.mark.slow
def test_fuzzed_changes_stay_exact(dsn: str, connection: Connection, seed: int) -> None:
    """Fifty cycles a seed of random changes, rolled back, committed late or not at all, leave no row different."""
    changes = Changes(connection, seed)
    with ExitStack() as stack:
        late = [Changes(stack.enter_context(connect(dsn)), 1000 + seed * 10 + i) for i in range(2)]
        for number, each in enumerate(late):
            each.rows = 1_000_000 * (number + 1)
        for cycle in range(50):
            for _ in range(changes.random.randint(0, 5)):
                with connection.transaction(force_rollback=changes.random.random() < 0.15):
                    connection.execute("set local lock_timeout = '50ms'")
                    _tolerating_locks(connection, changes.any)
            other = late[cycle % 2]
            if other.connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                other.connection.execute("begin")
                other.insert()
            elif changes.random.random() < 0.5:
                other.connection.execute(changes.random.choice(["commit", "commit", "rollback"]))
            found = refresh_and_compare(connection)
            assert not found, f"seed {seed}, cycle {cycle}"
        for each in late:
            each.connection.execute("commit")
    assert not refresh_and_compare(connection)
    assert verify(connection).ok


def _tolerating_locks(connection: Connection, change: Callable[[], None]) -> None:
    """A change that waits for a row or table of an open transaction is left out."""
    try:
        with connection.transaction():
            change()
    except psycopg.errors.LockNotAvailable:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("enough", [30, pytest.param(60, marks=pytest.mark.nightly)])
def test_concurrent_writers_lose_nothing(dsn: str, connection: Connection, enough: int) -> None:
    """Four writers and two refreshing sessions at once: whatever they interleave, the end is exact."""
    Changes(connection, 0)
    stop = threading.Event()
    errors: list[BaseException] = []

    def run(work: Callable[[Connection], None]) -> None:
        try:
            with connect(dsn) as own:
                while not stop.is_set():
                    work(own)
        except BaseException as error:
            errors.append(error)
            stop.set()

    writers: dict[int, Changes] = {}

    def write(own: Connection) -> None:
        number = threading.get_ident()
        if number not in writers:
            writers[number] = Changes(own, len(writers))
            writers[number].rows = 10_000_000 * (1 + len(writers))
        each = writers[number]
        try:
            with own.transaction():
                each.random.choice([each.insert, each.copy, each.update, each.delete, each.insert_many])()
        except (psycopg.errors.DeadlockDetected, psycopg.errors.ForeignKeyViolation):
            pass

    cycles = 0

    def refresh(own: Connection) -> None:
        nonlocal cycles
        failed = own.execute("select * from refresh_action_analytics() where not success").fetchall()
        assert not failed
        cycles += 1
        if cycles >= enough:
            stop.set()

    threads = [threading.Thread(target=run, args=(work,)) for work in (write, write, write, write, refresh, refresh)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert not errors
    assert not refresh_and_compare(connection)


@pytest.mark.slow
def test_verify_beside_writers(dsn: str, connection: Connection) -> None:
    """A verification looks at one snapshot, so changes committed meanwhile are no differences."""
    changes = Changes(connection, 3)
    changes.insert()
    with connect(dsn) as other:
        late = Changes(other, 4)
        late.rows = 5_000_000
        with other.transaction():
            late.insert()
            changes.copy()
            assert verify(connection).ok
        assert verify(connection).ok
    assert not refresh_and_compare(connection)


@pytest.mark.slow
def test_verify_names_what_differs(connection: Connection) -> None:
    """A rollup that was tampered with is found in both directions, recorded, and mended by a rebuild only."""
    changes = Changes(connection, 5)
    changes.copy()
    refresh_and_compare(connection)
    connection.execute("update analytics_refresh.hour_cells set n = n + 1")
    report = verify(connection)
    hourly = report.views[0]
    assert hourly.missing == hourly.extra > 0
    assert {side for side, _ in hourly.first} == {"missing", "extra"}
    assert not report.ok
    found = incremental.state(connection)
    assert (found.verified_ok, found.verified_differences) == (False, report.differences)
    incremental.rebuild(connection)
    assert verify(connection).ok
    assert incremental.state(connection).verified_ok


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
@pytest.mark.slow
def test_every_isolation_level_is_exact(connection: Connection, isolation: str) -> None:
    """A caller in any isolation level leaves exact views."""
    changes = Changes(connection, 6)
    for _ in range(5):
        changes.any()
        with connection.transaction():
            connection.execute(f"set transaction isolation level {isolation}")
            connection.execute("select * from refresh_action_analytics()")
            assert not differences(connection)


def test_direct_refresh_of_one_view_folds_first(connection: Connection) -> None:
    """The one-view function sees what was committed before its call."""
    changes = Changes(connection, 7)
    changes.copy()
    with connection.transaction():
        for view in (
            "action_type_distribution",
            "recent_failures",
            "trigger_performance_summary",
            "action_metrics_hourly",
        ):
            reply = connection.execute("select success from refresh_action_analytics_view(%s)", [view]).fetchone()
            assert reply == (True,)
        assert not differences(connection)


@pytest.mark.slow
def test_a_rebuild_beside_a_refresh_empties_no_view(dsn: str, connection: Connection) -> None:
    """A view's refresh that meets a rebuild waits for it, or is refused; it never reads the emptied rollups."""
    Changes(connection, 8).insert_many()
    refresh_and_compare(connection)
    connection.execute("update analytics_refresh.view_changes set version = version + 1")
    with connect(dsn) as builder, connect(dsn) as reader:
        connection.execute("insert into analytics_refresh.rebuild_marks (reason) values ('test')")
        builder.execute("begin")
        builder.execute("select analytics_refresh.rebuild_step()")
        # the fold was another transaction's, as with one transaction a view
        reader.execute("set analytics_refresh.fold = 'off'")
        answer: list[Any] = []
        view = "select rows_refreshed, success from refresh_action_analytics_view('action_metrics_hourly')"
        waiting = threading.Thread(target=lambda: answer.append(reader.execute(view).fetchone()))
        waiting.start()
        eventually(
            lambda: connection.execute(
                "select 1 from pg_stat_activity where pid = %s and wait_event_type = 'Lock'", [reader.info.backend_pid]
            ).fetchone()
        )
        builder.execute("commit")
        waiting.join(30)
    assert answer[0][1]
    assert answer[0][0] > 0
    assert not differences(connection)


@pytest.mark.slow
def test_failures_are_refreshed_where_the_fold_fails(dsn: str, connection: Connection) -> None:
    """Without a fold nobody knows whether failures came, so that view is refreshed and not believed to be whole."""
    refresh_and_compare(connection)
    with connect(dsn) as other, other.transaction():
        other.execute("select from analytics_refresh.incremental for update")
        connection.execute(
            "insert into action_results (id, job_id, action_type, status) values ('new', 'j', 'rest', 'failed')"
        )
        connection.execute("set lock_timeout = '100ms'")
        rows = connection.execute("select view_name, success from refresh_action_analytics()").fetchall()
        connection.execute("reset lock_timeout")
    assert {name for name, success in rows if success} == {"recent_failures"}
    assert connection.execute("select id from recent_failures").fetchall() == [("new",)]
    assert not refresh_and_compare(connection)


@pytest.mark.slow
def test_nothing_is_believed_to_be_refreshed_ahead(connection: Connection) -> None:
    """Whoever says that a view was refreshed up to a version that is still to come is believed up to now only."""
    with connection.transaction():
        connection.execute("refresh materialized view concurrently action_metrics_hourly")
        connection.execute(
            "select analytics_refresh.view_refreshed(c.view_name, c.version + 1) from analytics_refresh.view_changes c"
            " where c.view_name = 'action_metrics_hourly'"
        )
    Changes(connection, 9).insert_many()
    assert not refresh_and_compare(connection)


def test_infinite_times_are_built_once(connection: Connection) -> None:
    """Rows at -infinity, where a build begins, are counted once, however short its steps."""
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at) select 'row ' || i, 'j', 'rest',"
        " 'success', (array['-infinity', 'infinity', null]::timestamptz[])[i % 3 + 1] from generate_series(1, 15) i"
    )
    connection.execute("insert into analytics_refresh.rebuild_marks (reason) values ('test')")
    for _ in range(5):
        connection.execute("select analytics_refresh.rebuild_step(2)")
    assert incremental.state(connection).built
    assert not refresh_and_compare(connection)


@pytest.mark.slow
def test_what_lost_everything_is_not_looked_for(connection: Connection) -> None:
    """Triggers that lose all their rows, and hours, leave nothing behind, and cost no walk through the table."""
    connection.execute("insert into triggers (id) select 'busy ' || i from generate_series(1, 3) i")
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
        " select i::text, 'j', 'busy ' || i % 3 + 1, 'rest', 'success', now() - i * interval '10 s', i % 50"
        " from generate_series(1, 6000) i"
    )
    assert not refresh_and_compare(connection)
    connection.execute("vacuum analyze action_results")
    connection.execute("delete from triggers where id like 'busy%'")
    connection.execute("vacuum analyze action_results")
    read = (
        "select sum(pg_stat_get_xact_tuples_returned(indexrelid))::int from pg_index"
        " where indrelid = 'action_results'::regclass"
    )
    with connection.transaction():
        before = (connection.execute(read).fetchone() or (0,))[0]
        connection.execute("select analytics_refresh.fold()")
        entries = (connection.execute(read).fetchone() or (0,))[0] - before
    assert entries < 100
    connection.execute("delete from action_results")
    assert not refresh_and_compare(connection)
    left = "select count(*) from analytics_refresh.duration_stats"
    assert connection.execute(left).fetchone() == (0,)


def test_known_triggers_take_no_new_numbers(connection: Connection) -> None:
    """Cells are numbered by a sequence of 31 bits: a trigger that is known already must not use one up each refresh."""
    connection.execute("insert into triggers (id) values ('busy')")
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at)"
        " values ('busy', 'j', 'busy', 'rest', 'success', now())"
    )
    refresh_and_compare(connection)
    numbers = "select last_value from analytics_refresh.cells"
    before = (connection.execute(numbers).fetchone() or (0,))[0]
    for _ in range(3):
        connection.execute("update action_results set retry_count = retry_count + 1")
        assert not refresh_and_compare(connection)
    # the hour's row takes one each time, the trigger's none
    assert (connection.execute(numbers).fetchone() or (0,))[0] == before + 3
