"""The rollups agree with the plain definitions after whatever happened to action_results."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from analytics_refreshd.postgres import incremental
from analytics_refreshd.postgres.incremental_verify import verify
from tests.support.incremental import Changes, differences, refresh_and_compare

Connection = psycopg.Connection[Any]


def connect(dsn: str) -> Connection:
    """An autocommit connection in UTC."""
    return psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC")


@pytest.fixture(scope="module")
def incremental_template(databases: Callable[..., str], migrated_template: str) -> str:
    """Name of a migrated database in incremental mode."""
    dsn = databases(migrated_template)
    with connect(dsn) as connection:
        incremental.install(connection)
    return str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])


@pytest.fixture
def dsn(databases: Callable[..., str], incremental_template: str) -> str:
    """A fresh database in incremental mode, with empty source tables."""
    return databases(incremental_template)


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    """A connection to it."""
    with connect(dsn) as opened:
        yield opened


@pytest.mark.parametrize("seed", range(5))
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


def test_concurrent_writers_lose_nothing(dsn: str, connection: Connection) -> None:
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
        if cycles >= 60:
            stop.set()

    threads = [threading.Thread(target=run, args=(work,)) for work in (write, write, write, write, refresh, refresh)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert not errors
    assert not refresh_and_compare(connection)


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
