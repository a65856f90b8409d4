"""What stands in the way of exact rollups is found whenever it comes, named everywhere, and never fails a writer."""

from collections.abc import Callable, Iterator
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from analytics_refreshd.core.errors import DatabaseFault, MigrationError
from analytics_refreshd.core.model import VIEWS, Reason
from analytics_refreshd.postgres.check.run import CheckSettings, Level, run_checks
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.commands import Commands
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.postgres.schema.definitions import Definitions, index_names
from tests.support.adapters import connector, refresher, status_reader
from tests.support.incremental import build_reason, differences
from tests.support.installs import temporary_role
from tests.support.states import NOW

Connection = psycopg.Connection[Any]

ROLLUPS = frozenset(VIEWS) - {"recent_failures"}


def insert(connection: Connection, key: str, column: str = "job_id", given: object = "job") -> None:
    """Insert a successful row of two hours ago, with a value for one column."""
    values = {"id": key, "job_id": "job", "action_type": "rest", "status": "success", "duration_ms": 5} | {
        column: given
    }
    columns = sql.SQL(", ").join(map(sql.Identifier, values))
    marks = sql.SQL(", ").join(sql.Placeholder() for _ in values)
    connection.execute(
        sql.SQL("insert into action_results ({}, executed_at) values ({}, now() - interval '2 hours')").format(
            columns, marks
        ),
        list(values.values()),
    )


def failures(dsn: str) -> dict[str, str]:
    """What a refresh by the daemon's adapter says of the views that failed."""
    with refresher(dsn) as refresh:
        refresh.rebuild(uuid4(), lambda: None)
        reports = refresh.refresh(uuid4(), lambda pid: None).reports
    return {str(report.view): str(report.error) for report in reports if not report.success}


def problems(dsn: str) -> tuple[str, ...]:
    """What an evaluation finds, which must be what `check` calls errors."""
    with status_reader(dsn) as reader:
        found = reader.delta().problems
    errors = [
        finding.text
        for finding in run_checks(connector(dsn), CheckSettings(), lambda: NOW)
        if (finding.name, finding.level) == ("incremental", Level.ERROR)
    ]
    assert set(found) <= set(errors) | {text for text in found if "captured" in text}
    return found


def recreate_failures(connection: Connection) -> None:
    """Create the view anew that reads the table, as whoever changes a column of that has to."""
    definitions = Definitions("public", connection.info.server_version)
    connection.execute(Commands(definitions).view("recent_failures", "public"))
    for index in index_names("recent_failures"):
        connection.execute(definitions.create(index))
    connection.execute("refresh materialized view recent_failures")


@pytest.fixture(scope="module")
def dsn_template(templates: Callable[..., str], migrated_template: str) -> str:
    """A database in incremental mode with rows, refreshed."""
    dsn = templates(migrated_template)
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection:
        for key in ("a", "b"):
            insert(connection, key)
        incremental.install(connection)
        connection.execute("select refresh_action_analytics()")
    return dsn


@pytest.fixture
def subscribed(connection: Connection) -> Iterator[Connection]:
    """The same, and then its table becomes the target of a subscription."""
    connection.execute("set allow_system_table_mods = on")
    connection.execute("create subscription apply connection 'dbname=none' publication p with (connect = false)")
    connection.execute(
        "insert into pg_subscription_rel select oid, 'action_results'::regclass, 'r' from pg_subscription"
    )
    yield connection
    unsubscribe(connection)


def unsubscribe(connection: Connection) -> None:
    """Drop the subscription, if it is there."""
    if connection.execute("select from pg_subscription where subname = 'apply'").fetchone() is not None:
        connection.execute("alter subscription apply disable")
        connection.execute("alter subscription apply set (slot_name = none)")
        connection.execute("drop subscription apply")


@pytest.mark.quick
@pytest.mark.fault
@pytest.mark.slow
def test_L04_a_subscription_added_later(dsn: str, subscribed: Connection) -> None:
    """Rows that it applies are missed: that is told, no view over rollups is refreshed, and later all are counted."""
    words = "public.action_results receives rows by logical replication"
    insert(subscribed, "applied")
    subscribed.execute("delete from analytics_refresh.deltas")  # as an apply worker leaves none
    (problem,) = problems(dsn)
    assert problem.startswith(words)
    for _ in range(2):
        failed = failures(dsn)
        assert failed.keys() == ROLLUPS
        assert words in failed["action_metrics_hourly"]
    for refused in (verify, incremental.rebuild):
        with pytest.raises(MigrationError, match="logical replication"):
            refused(subscribed)
    unsubscribe(subscribed)
    assert failures(dsn) == {}
    assert words in str(build_reason(subscribed))
    assert differences(subscribed) == {}
    assert problems(dsn) == ()


_CHANGES: list[tuple[LiteralString, LiteralString, str, object, str]] = [
    ("type numeric", "type integer", "duration_ms", 1e30, "duration_ms is numeric"),
    ("type double precision", "type integer", "duration_ms", float("inf"), "duration_ms is double precision"),
    ("type text", "type integer using 7", "duration_ms", "long", "duration_ms is text"),
    ("type interval using null", "type integer using 7", "duration_ms", "1 hour", "duration_ms is interval"),
    (
        "drop default, alter retry_count type text",
        "type integer using 7",
        "retry_count",
        "often",
        "retry_count is text",
    ),
]


@pytest.mark.fault
@pytest.mark.parametrize(("change", "back", "column", "given", "words"), _CHANGES)
@pytest.mark.slow
def test_L04_a_column_of_another_type_fails_no_writer(
    dsn: str, connection: Connection, change: LiteralString, back: LiteralString, column: str, given: object, words: str
) -> None:
    """The application's writes go on, the obstacle is named, and once it is gone every row is counted."""
    connection.execute("drop materialized view recent_failures")
    name = sql.Identifier(column)
    connection.execute(sql.SQL("alter table action_results alter {} " + change).format(name))
    for key in ("c", "d"):
        insert(connection, key, column, given)
    connection.execute("update action_results set status = 'failed' where id = 'c'")
    connection.execute("delete from action_results where id = 'a'")
    assert f"public.action_results.{words}, and the rollups count only bigint or integer exactly" in problems(dsn)
    failed = failures(dsn)
    assert words in failed["action_metrics_hourly"]
    connection.execute(sql.SQL("update action_results set {} = null").format(name))
    connection.execute(sql.SQL("alter table action_results alter {} " + back).format(name))
    assert failures(dsn).keys() == {"recent_failures"}
    assert connection.execute("select sum(execution_count) from action_metrics_hourly").fetchone() == (3,)
    assert differences(connection, views=ROLLUPS) == {}


@pytest.mark.fault
@pytest.mark.parametrize("column", ["duration_ms", "retry_count", "trigger_id", "status", "executed_at"])
@pytest.mark.slow
def test_L04_a_column_that_is_gone_fails_no_writer(dsn: str, connection: Connection, column: str) -> None:
    """While a column is renamed the writes go on, and its absence is named; with its name back all is counted."""
    connection.execute("drop materialized view recent_failures")
    rename = sql.SQL("alter table action_results rename {} to {}")
    connection.execute(rename.format(sql.Identifier(column), sql.Identifier("other")))
    connection.execute("update action_results set job_id = 'other'")
    connection.execute("delete from action_results where id = 'a'")
    assert any(text.startswith(f"public.action_results.{column} is missing") for text in problems(dsn))
    assert f"{column} is missing" in failures(dsn)["action_metrics_hourly"]
    connection.execute(rename.format(sql.Identifier("other"), sql.Identifier(column)))
    assert failures(dsn).keys() == {"recent_failures"}
    assert differences(connection, views=ROLLUPS) == {}


@pytest.mark.fault
@pytest.mark.slow
def test_L04_values_that_no_view_can_hold_are_counted_apart(dsn: str, connection: Connection) -> None:
    """A wider column takes larger values: those are named while the rest folds; corrected, they count like others."""
    connection.execute("drop materialized view recent_failures")
    for column in ("duration_ms", "retry_count"):
        connection.execute(sql.SQL("alter table action_results alter {} type bigint").format(sql.Identifier(column)))
    recreate_failures(connection)
    assert problems(dsn) == ()
    insert(connection, "held", "duration_ms", 2**31 - 1)
    insert(connection, "long", "duration_ms", 2**31)
    insert(connection, "often", "retry_count", -(2**31) - 1)
    assert failures(dsn) == {}
    assert problems(dsn) == (
        "1 rows of action_results have a duration_ms that is too large for the views: they are counted without it",
        "1 rows of action_results have a retry_count that is too large for the views: they are counted without it",
    )
    assert connection.execute(
        # two rows where an hour begins meanwhile
        "select sum(execution_count), max(max_duration_ms), sum(total_retries) from action_metrics_hourly"
    ).fetchall() == [(5, 2**31 - 1, 0)]
    assert verify(connection).ok
    assert incremental.rebuild(connection)
    assert len(problems(dsn)) == 2
    connection.execute("update action_results set duration_ms = 8 where id = 'long'")
    connection.execute("delete from action_results where id = 'often'")
    assert failures(dsn) == {}
    assert problems(dsn) == ()
    assert differences(connection) == {}


@pytest.mark.fault
@pytest.mark.slow
def test_L04_rows_without_a_key_are_counted_apart(dsn: str, connection: Connection) -> None:
    """A key that may be null is named; rows without one are left out and named, and the rest folds."""
    connection.execute("alter table action_results alter status drop not null, alter action_type drop not null")
    words = "may be null, and the rollups have no place for that: set it not null"
    nullable = tuple(f"public.action_results.{column} {words}" for column in ("action_type", "status"))
    assert problems(dsn) == nullable
    for column in ("status", "action_type"):
        insert(connection, f"without {column}", column, None)
    assert failures(dsn) == {}
    left_out = "2 rows of action_results have no action_type or no status: they are not counted"
    assert problems(dsn) == (*nullable, left_out)
    assert connection.execute("select sum(execution_count) from action_metrics_hourly").fetchone() == (2,)
    connection.execute("update action_results set status = 'success', action_type = 'rest'")
    assert failures(dsn) == {}
    assert problems(dsn) == nullable
    assert differences(connection) == {}


@pytest.mark.fault
def test_L04_a_table_that_a_crash_empties(dsn: str, connection: Connection) -> None:
    """Unlogged, it is named and not folded; logged again, it is counted anew, for nobody knows what it lost."""
    connection.execute("alter table action_results set unlogged")
    (problem,) = problems(dsn)
    assert problem.startswith("public.action_results is not logged")
    assert failures(dsn).keys() == ROLLUPS
    connection.execute("alter table action_results set logged")
    assert failures(dsn) == {}
    assert "is not logged" in str(build_reason(connection))


@pytest.mark.fault
def test_L04_our_own_tables_are_looked_at_too(dsn: str, connection: Connection) -> None:
    """What loses rows of the rollups is as bad as what loses the application's."""
    connection.execute("alter table analytics_refresh.type_cells set unlogged")
    (problem,) = problems(dsn)
    assert problem.startswith("analytics_refresh.type_cells is not logged")
    assert failures(dsn).keys() == ROLLUPS


@pytest.mark.fault
@pytest.mark.parametrize("mode", ["plain", "incremental"])
@pytest.mark.slow
def test_L04_forced_row_security_empties_no_view(application_dsn: str, mode: str) -> None:
    """Its owner sees no row any more: the refresh fails and says so, the views keep theirs, and nothing is rebuilt."""
    with (
        psycopg.connect(application_dsn, autocommit=True) as admin,
        temporary_role(admin) as role,
        psycopg.connect(make_conninfo(application_dsn, user=role), autocommit=True) as owner,
    ):
        name = sql.Identifier(role)
        admin.execute(sql.SQL("grant all on database {} to {}").format(sql.Identifier(admin.info.dbname), name))
        admin.execute(sql.SQL("grant all on schema public to {}").format(name))
        for table in ("organizations", "users", "triggers", "action_results"):
            admin.execute(sql.SQL("alter table {} owner to {}").format(sql.Identifier(table), name))
        dsn = make_conninfo(application_dsn, user=role)
        insert(owner, "a")
        insert(owner, "b", "status", "failed")
        migrate(owner)
        if mode == "incremental":
            incremental.install(owner)
        assert failures(dsn) == {}
        owner.execute("alter table action_results enable row level security, force row level security")
        with pytest.raises(DatabaseFault, match=r"row security hides all rows of public\.action_results") as refused:
            failures(dsn)
        assert refused.value.reason is Reason.CONTRACT
        if mode == "incremental":
            assert "row security hides rows of public.action_results" in problems(dsn)[0]
            errors = "select count(*) from refresh_action_analytics() where error_message like '%row security%'"
            assert owner.execute(errors).fetchone() == (4,)
            for refuses in (verify, incremental.rebuild):
                with pytest.raises(MigrationError, match="row security hides rows"):
                    refuses(owner)
        for view in ("action_metrics_hourly", "recent_failures", "action_type_distribution"):
            rows = owner.execute(sql.SQL("select count(*) > 0 from {}").format(sql.Identifier(view))).fetchone()
            assert rows == (True,), view
        owner.execute("alter table action_results no force row level security")
        assert failures(dsn) == {}
        if mode == "incremental":
            owner.execute("alter table analytics_refresh.duration_stats enable row level security")
            assert problems(dsn) == ()
            owner.execute("alter table analytics_refresh.duration_stats force row level security")
            assert problems(dsn) == ("analytics_refresh.duration_stats hides rows from its owner by row security",)
