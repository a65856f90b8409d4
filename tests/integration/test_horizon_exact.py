"""What is frozen stays, whatever becomes of its rows: against an oracle that was told every change that counts."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.install import Retention
from analytics_refreshd.postgres.incremental.verify import verify
from tests.support.horizon import ask, connect, create_oracle, horizon, keep_rows, refresh_and_ask
from tests.support.incremental import Changes

Connection = psycopg.Connection[Any]

_DAY = 86400.0
_LEAST_HOURS = 31 * 24


@pytest.fixture(scope="module")
def dsn_template(templates: Callable[..., str], migrated_template: str) -> str:
    """A database that freezes what is older than 200 days, with an oracle beside it."""
    dsn = templates(migrated_template)
    with connect(dsn) as connection:
        incremental.install(connection, retention=Retention(200 * _DAY))
        create_oracle(connection)
    return dsn


class OldChanges(Changes):
    """Changes of rows that are mostly between 30 and 34 days old, where the horizon passes."""

    def _age(self) -> str | None:
        if self.random.random() < 0.2:
            return super()._age()
        # whole hours among them, and 20 in one hour
        return f"{self.random.choice([720, 721, 730.5, self.random.uniform(715, 800)]) * 3600:.6f} seconds"

    def insert(self) -> None:
        """Insert more rows than others do."""
        for _ in range(3):
            super().insert()

    def retain(self) -> None:
        """Delete what is older than a random age around the horizon."""
        hours = self.random.randint(715, 790)
        self.connection.execute(
            "delete from action_results where executed_at < now() - %s * interval '1 hour'", [hours]
        )

    def move_trigger(self) -> None:
        """Give a trigger to another organization, or to none."""
        self.connection.execute(
            "update triggers set organization_id = %s where id = %s",
            [self.random.choice(["acme", "blue", None]), self._trigger()],
        )

    def any(self) -> None:
        """One random change; a trigger may move as well."""
        if self.random.random() < 0.1:
            self.move_trigger()
        super().any()

    def truncate(self) -> None:
        """Empty the table, seldom."""
        if self.random.random() < 0.3:
            super().truncate()


def _tolerating_locks(connection: Connection, change: Callable[[], None]) -> None:
    """A change that waits for a row of an open transaction is left out."""
    try:
        with connection.transaction():
            connection.execute("set local lock_timeout = '50ms'")
            change()
    except psycopg.errors.LockNotAvailable:
        pass


def _fold_cut_short(connection: Connection, milliseconds: int) -> None:
    """A fold that a time limit may end at any point, and that is rolled back in any case."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(f"set local statement_timeout = {milliseconds}")
            connection.execute("select analytics_refresh.fold()")
    except psycopg.errors.QueryCanceled:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(1, 5))])
def test_no_change_is_lost_or_counted_twice(dsn: str, connection: Connection, seed: int) -> None:
    """Random changes around a horizon that moves, with rebuilds, TRUNCATE, off and on: the oracle agrees each time."""
    changes = OldChanges(connection, 7000 + seed)
    random = changes.random
    hours, off = 800.0, False
    with ExitStack() as stack:
        late = [OldChanges(stack.enter_context(connect(dsn)), 7100 + seed * 10 + number) for number in range(2)]
        for number, each in enumerate(late):
            each.rows = 1_000_000 * (number + 1)
        # the others run at night
        for cycle in range(60 if seed else 30):
            for _ in range(random.randint(0, 6)):
                with connection.transaction(force_rollback=random.random() < 0.1):
                    _tolerating_locks(connection, changes.any)
            other = late[cycle % 2]
            if other.connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                other.connection.execute("begin")
                other.insert()
            elif random.random() < 0.5:
                other.connection.execute(random.choice(["commit", "commit", "rollback"]))
            if random.random() < 0.2:
                _tolerating_locks(connection, changes.retain)
            if random.random() < 0.1:
                # what waits is folded by the setting before
                assert not refresh_and_ask(connection), f"seed {seed}, cycle {cycle}, before late rows"
                late_rows = random.choice(["apply", "apply", "ignore"])
                connection.execute("update analytics_refresh.incremental set late_rows = %s", [late_rows])
            if random.random() < 0.15:
                connection.execute("insert into analytics_refresh.rebuild_marks (reason) values ('a test')")
            if random.random() < 0.1:
                _fold_cut_short(connection, random.randint(1, 60))
            if random.random() < 0.1:
                # what waits is folded as it was meant; then it stays
                assert not refresh_and_ask(connection), f"seed {seed}, cycle {cycle}, before it stays"
                keep_rows(connection, None)
                off = True
            elif random.random() < 0.7:
                assert not off or not refresh_and_ask(connection), f"seed {seed}, cycle {cycle}, before it goes on"
                hours = max(_LEAST_HOURS, hours - random.choice([0, 0, 1, 1, 2, 5]))
                keep_rows(connection, hours)
                off = False
            assert not refresh_and_ask(connection), f"seed {seed}, cycle {cycle}"
            if cycle % 10 == 9:
                assert verify(connection).ok, f"seed {seed}, cycle {cycle}"
        for each in late:
            each.connection.execute("commit")
    assert not refresh_and_ask(connection)
    frozen = connection.execute("select count(*), sum(n) from analytics_refresh.frozen_hours").fetchone()
    assert frozen is not None
    assert frozen[0] > 5
    assert frozen[1] > 5


@pytest.mark.slow
def test_R02_writers_retention_and_folds_at_once_lose_nothing(dsn: str, connection: Connection) -> None:
    """Rows come, late ones too, change, and are deleted by age while the horizon passes: every row counts for ever."""
    connection.execute("drop trigger oracle_rows on action_results; drop trigger oracle_truncate on action_results")
    connection.execute(
        "insert into triggers (id) select 'trigger ' || i from generate_series(0, 9) i;"
        " insert into action_results"
        " (id, job_id, trigger_id, action_type, status, executed_at, duration_ms, retry_count)"
        " select 'old ' || i, 'job', 'trigger ' || i % 10, 'rest', 'success', now() - i * interval '12 minutes',"
        " i % 977, i % 3 from generate_series(1, 5000) i;"
        " insert into oracle.action_results select r.* from action_results r"
    )
    hours = 1000.0
    keep_rows(connection, hours)
    connection.execute("update analytics_refresh.incremental set late_rows = 'apply'")
    assert not refresh_and_ask(connection)
    stop, errors = threading.Event(), list[BaseException]()

    def run(work: Callable[[Connection, int], None]) -> None:
        try:
            with connect(dsn) as own:
                turn = 0
                while not stop.is_set():
                    turn += 1
                    work(own, turn)
        except BaseException as error:
            errors.append(error)
            stop.set()

    def write(own: Connection, turn: int) -> None:
        with own.transaction():
            for table in ("action_results", "oracle.action_results"):
                own.execute(
                    f"insert into {table} (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
                    f" values ('new ' || %s, 'job', 'trigger 3', 'mcp', 'retrying', now() - interval '2 days', %s)",
                    [turn, turn % 50],
                )
                own.execute(
                    f"insert into {table} (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
                    f" values ('late ' || %s, 'job', 'trigger 4', 'mcp', 'failed', now() - interval '200 days', %s)",
                    [turn, turn % 50],
                )
                own.execute(f"update {table} set status = 'success' where id = 'new ' || %s", [turn - 5])

    def delete(own: Connection, turn: int) -> None:
        # who deletes by age is up to a day early or late
        own.execute(
            "delete from action_results a using analytics_refresh.incremental i where a.ctid = any (array("
            " select o.ctid from action_results o, analytics_refresh.incremental i"
            " where o.executed_at < date_trunc('hour', now() - i.retained + interval '24 hours', 'UTC')"
            " order by o.executed_at limit 75))"
        )

    def fold(own: Connection, turn: int) -> None:
        nonlocal hours
        hours = max(_LEAST_HOURS, hours - 3)
        own.execute("select analytics_refresh.fold()")
        keep_rows(own, hours)
        if turn > 100:
            stop.set()

    threads = [threading.Thread(target=run, args=[work]) for work in (write, delete, delete, fold)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not errors
    failed = connection.execute("select * from refresh_action_analytics() where not success").fetchall()
    assert not failed
    left = connection.execute("select count(*) < 20000 from action_results where id like 'old%'").fetchone()
    assert left == (True,)
    with connection.transaction():
        connection.execute("select * from refresh_action_analytics()")
        assert not ask(connection)
    assert verify(connection).ok
    assert horizon(connection) is not None
