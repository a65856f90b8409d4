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

from analytics_refreshd.postgres.incremental import install as incremental
from tests.support.examples import examples
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
            assert not refresh_and_compare(self.connection)

    def teardown(self) -> None:
        """End what is open, and look a last time."""
        if self.open:
            self.connection.execute("commit")
        assert not refresh_and_compare(self.connection)


@pytest.mark.slow
def test_no_sequence_of_changes_is_inexact(databases: Callable[..., str], migrated_template: str) -> None:
    """Whatever hypothesis does to twelve rows, every refresh leaves the views as their plain definitions have them."""
    with psycopg.connect(databases(migrated_template), autocommit=True, options="-c timezone=UTC") as connection:
        incremental.install(connection)

        class Machine(Log):
            pass

        Machine.connection = connection
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=examples(25), stateful_step_count=30, deadline=None, print_blob=True,
                derandomize="REFRESHD_TEST_EXAMPLES" not in os.environ,
                suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip
