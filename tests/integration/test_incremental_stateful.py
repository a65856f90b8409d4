"""Hypothesis looks for a sequence of changes after which a view differs from its plain definition."""

import os
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg import sql

from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.horizon import late_rows_wait
from analytics_refreshd.postgres.incremental.install import Retention
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.schema.definitions import FROZEN_TABLES
from tests.support.examples import examples
from tests.support.horizon import connect, create_oracle, keep_rows, refresh_and_ask
from tests.support.incremental import refresh_and_compare

Connection = psycopg.Connection[Any]

_IDS = st.integers(1, 12).map(str)
_TRIGGERS = st.sampled_from(["t1", "t2", None])
_STATUSES = st.sampled_from(["success", "failed", "retrying"])
_TYPES = st.sampled_from(["rest", "mcp"])
_AGES = st.one_of(
    st.none(),
    st.sampled_from([0, 1, 3599, 3600, 23 * 3600, 25 * 3600, 719 * 3600, 721 * 3600, 5000 * 3600]),
    st.integers(-7200, 8000 * 3600),
)
_DURATIONS = st.one_of(st.none(), st.sampled_from([0, 1, 63, 64, 127, 128, 2**31 - 1]), st.integers(0, 300))
_RETRIES = st.one_of(st.none(), st.integers(0, 3))


class Log(RuleBasedStateMachine):
    """An action log of at most twelve rows, so that every count soon goes up, down, to zero and back."""

    connection: Connection

    def __init__(self) -> None:
        super().__init__()
        self.due = False
        self.open = False

    @initialize()
    def empty(self) -> None:
        """Start from nothing; the mark that TRUNCATE leaves is part of the test."""
        self.connection.execute(
            "truncate action_results; delete from triggers; insert into triggers (id) values ('t1'), ('t2')"
        )
        self.due = True

    @rule(id=_IDS, trigger=_TRIGGERS, type=_TYPES, status=_STATUSES, age=_AGES, duration=_DURATIONS, retries=_RETRIES)
    def put(
        self,
        id: str,
        trigger: str | None,
        type: str,
        status: str,
        age: int | None,
        duration: int | None,
        retries: int | None,
    ) -> None:
        """Insert a row or put another in its place."""
        self.connection.execute(
            "insert into action_results"
            " (id, job_id, trigger_id, action_type, status, executed_at, duration_ms, retry_count) values (%s, 'j',"
            " (select id from triggers where id = %s), %s, %s, now() - make_interval(secs => %s), %s, %s)"
            " on conflict (id) do update set trigger_id = excluded.trigger_id, action_type = excluded.action_type,"
            " status = excluded.status, executed_at = excluded.executed_at, duration_ms = excluded.duration_ms,"
            " retry_count = excluded.retry_count",
            [id, trigger, type, status, age, duration, retries],
        )

    @rule(first=_IDS, last=_IDS)
    def delete(self, first: str, last: str) -> None:
        """Delete some rows."""
        self.connection.execute("delete from action_results where id between %s and %s", [first, last])

    @rule(status=_STATUSES, duration=_DURATIONS, type=_TYPES)
    def update(self, status: str, duration: int | None, type: str) -> None:
        """Update every row of a type."""
        self.connection.execute(
            "update action_results set status = %s, duration_ms = %s where action_type = %s", [status, duration, type]
        )

    @rule(trigger=st.sampled_from(["t1", "t2"]))
    def delete_trigger(self, trigger: str) -> None:
        """ON DELETE SET NULL."""
        self.connection.execute("delete from triggers where id = %s", [trigger])

    @rule()
    def truncate(self) -> None:
        """Empty the table."""
        self.connection.execute("truncate action_results")

    @precondition(lambda self: not self.open)
    @rule()
    def begin(self) -> None:
        """Start a transaction that is later kept or not."""
        self.connection.execute("begin")
        self.open = True

    @precondition(lambda self: self.open)
    @rule(kept=st.booleans())
    def end(self, kept: bool) -> None:
        """End it."""
        self.connection.execute("commit" if kept else "rollback")
        self.open = False

    @rule()
    def refresh(self) -> None:
        """Have the next look refresh first."""
        self.due = True

    @invariant()
    def exact(self) -> None:
        """After a refresh, inside or outside a transaction, no view differs."""
        if self.due:
            self.due = False
            assert not self.compare()

    def compare(self) -> dict[str, tuple[int, int]]:
        """Refresh, and return per view that differs the rows missing and too many."""
        return refresh_and_compare(self.connection)

    def teardown(self) -> None:
        """End what is open, and look a last time."""
        if self.open:
            self.connection.execute("commit")
        assert not self.compare()


class FrozenLog(Log):
    """The same log with retention in the loop: the horizon passes over its rows, and an oracle knows what it froze."""

    def compare(self) -> dict[str, tuple[int, int]]:
        """Compare with the oracle, which was told every change that counts."""
        return refresh_and_ask(self.connection)

    @initialize()
    def empty(self) -> None:
        """Start from nothing, frozen figures included."""
        super().empty()
        self.hours, self.off = 100 * 24.0, False
        tables = sql.SQL(", ").join(sql.Identifier("analytics_refresh", name) for name in FROZEN_TABLES)
        self.connection.execute(
            sql.SQL("truncate oracle.action_results, oracle.changes, {}").format(tables)
            + sql.SQL(
                "; update analytics_refresh.incremental set frozen_until = '-infinity', frozen_checksum = 0,"
                " late_rows = 'ignore'; insert into analytics_refresh.rebuild_marks (reason) values ('a test')"
            )
        )
        keep_rows(self.connection, self.hours)

    @rule(hours=st.sampled_from([1, 2, 24, 200, 1000]))
    def advance(self, hours: int) -> None:
        """Keep rows for less time; what waits is frozen as well, unless the horizon stood still before."""
        if self.off:
            assert not self.compare()
        self.hours, self.off = max(31 * 24.0, self.hours - hours), False
        keep_rows(self.connection, self.hours)

    @rule()
    def stay(self) -> None:
        """Let the horizon stand where it is; what waited is folded before."""
        assert not self.compare()
        self.off = True
        keep_rows(self.connection, None)

    @rule(late_rows=st.sampled_from(["ignore", "apply"]))
    def late(self, late_rows: str) -> None:
        """Count rows from before the horizon or not, from now on."""
        assert not self.compare()
        self.connection.execute("update analytics_refresh.incremental set late_rows = %s", [late_rows])

    @rule(hours=st.sampled_from([0, 1, 24, 25, 2000]))
    def retain(self, hours: int) -> None:
        """Delete by age, whether that is frozen already or not."""
        self.connection.execute(
            "delete from action_results where executed_at < now() - %s * interval '1 hour'", [self.hours - hours]
        )

    @rule(trigger=st.sampled_from(["t1", "t2"]), organization=st.sampled_from(["acme", "blue", None]))
    def move_trigger(self, trigger: str, organization: str | None) -> None:
        """Give a trigger to an organization; what is frozen stays with the one before."""
        self.connection.execute("update triggers set organization_id = %s where id = %s", [organization, trigger])

    @rule()
    def rebuild(self) -> None:
        """Have the rollups built again."""
        self.connection.execute("insert into analytics_refresh.rebuild_marks (reason) values ('a test')")

    @precondition(lambda self: not self.open)
    @rule()
    def verify(self) -> None:
        """A verification at any moment finds nothing, whatever waits."""
        marked = self.connection.execute("select from analytics_refresh.rebuild_marks").fetchone()
        # late rows that wait make it fold in earnest, which the oracle would have to be told before
        if not marked and not late_rows_wait(self.connection):
            report = verify(self.connection)
            assert report.ok, report


def _run(machine: type[Log], connection: Connection, number: int = 25) -> None:
    class Machine(machine):  # type: ignore[valid-type,misc]
        pass

    Machine.connection = connection
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples(number), stateful_step_count=30, deadline=None, print_blob=True,
            derandomize="REFRESHD_TEST_EXAMPLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


@pytest.mark.nightly
def test_no_sequence_of_changes_around_a_horizon_is_inexact(
    databases: Callable[..., str], migrated_template: str
) -> None:
    """Whatever hypothesis does to twelve rows while the horizon passes, every row counts as the oracle has it."""
    with connect(databases(migrated_template)) as connection:
        incremental.install(connection, retention=Retention(100 * 86400.0))
        create_oracle(connection)
        _run(FrozenLog, connection, 10)


@pytest.mark.slow
def test_no_sequence_of_changes_is_inexact(databases: Callable[..., str], migrated_template: str) -> None:
    """Whatever hypothesis does to twelve rows, every refresh leaves the views as their plain definitions have them."""
    with psycopg.connect(databases(migrated_template), autocommit=True, options="-c timezone=UTC") as connection:
        incremental.install(connection)
        _run(Log, connection)
