"""Days of triggers are frozen with the organization of that time; what becomes of a trigger later changes none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from analytics_refreshd.core.errors import MigrationError
from analytics_refreshd.postgres.check.run import CheckSettings, Level, run_checks
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.horizon import checksums, knows_organizations
from analytics_refreshd.postgres.incremental.install import Retention
from analytics_refreshd.postgres.incremental.transfer import export_frozen, import_frozen
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate
from tests.support.adapters import connector
from tests.support.horizon import FROZEN_DAYS, ask, connect, create_oracle, keep_rows, learn, refresh_and_ask
from tests.support.postgres import dump_and_restore
from tests.support.states import NOW
from tests.support.tenants import add_organizations

Connection = psycopg.Connection[Any]

_DAY = 86400.0
_OF_TEN_DAYS = (60, 61)
"""Rows of ten days, and of an hour more where the clock strikes meanwhile."""
_BY_ORGANIZATION = (
    "select s.organization_id, sum(d.n)::int from analytics_refresh.frozen_days d"
    " join analytics_refresh.frozen_series s on s.series = d.series group by 1"
)


@pytest.fixture(scope="module")
def dsn_template(templates: Callable[..., str], migrated_template: str) -> str:
    """A database with actions of 60 days, six a day, of which those before 49 days are frozen."""
    dsn = templates(migrated_template)
    with connect(dsn) as connection:
        add_organizations(connection, {"acme": "Acme", "blue": "Blue"})
        connection.execute(
            "insert into triggers (id, organization_id) values ('one', 'acme'), ('two', 'acme'), ('none', null);"
            " insert into action_results"
            " (id, job_id, trigger_id, action_type, status, executed_at, duration_ms, retry_count)"
            " select 'row ' || i, 'job', (array['one', 'two', 'none', null])[1 + i % 4],"
            " (array['rest', 'mcp'])[1 + i % 2],"
            " (array['success', 'failed', 'retrying'])[1 + i % 3], now() - i * interval '4 hours',"
            " nullif(i * 7 % 1000, 0), i % 4 from generate_series(1, 360) i"
        )
        incremental.install(connection, retention=Retention(50 * _DAY))
        create_oracle(connection)
    return dsn


def by_organization(connection: Connection) -> dict[str | None, int]:
    """Frozen executions of each organization."""
    return dict(connection.execute(_BY_ORGANIZATION).fetchall())


def all_days(connection: Connection) -> list[tuple[Any, ...]]:
    """Every frozen day, in an order."""
    return connection.execute(f"select * from ({FROZEN_DAYS}) f order by f::text").fetchall()


@pytest.mark.quick
def test_a_frozen_day_keeps_its_organization(connection: Connection) -> None:
    """A trigger that moves or is deleted takes no frozen day along; what is frozen later is the new owner's."""
    assert not ask(connection)
    before = all_days(connection)
    frozen = by_organization(connection)
    assert set(frozen) == {"acme", None}
    connection.execute("update triggers set organization_id = 'blue' where id = 'one'")
    connection.execute("delete from triggers where id = 'two'")
    assert not refresh_and_ask(connection)
    assert all_days(connection) == before
    keep_rows(connection, 40 * 24)
    connection.execute("delete from action_results where executed_at < now() - interval '40 days'")
    assert not refresh_and_ask(connection)
    after = by_organization(connection)
    # 'one' had every fourth row, and 'two' has none any more
    assert after["acme"] == frozen["acme"]
    assert after["blue"] in (15, 16)
    assert verify(connection).ok


@pytest.mark.slow
def test_a_day_is_frozen_hour_by_hour(connection: Connection) -> None:
    """A day in which the horizon stops is completed later, under two organizations where the trigger moved between."""
    # on every hour of what is frozen below, which holds a whole day whatever the time is now
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at)"
        " select 'hour ' || i, 'job', 'one', 'rest', 'success', now() - i * interval '1 hour'"
        " from generate_series(46 * 24, 48 * 24 + 22) i"
    )
    for hours in range(49 * 24 + 23, 48 * 24 - 6, -5):
        organization = "acme" if hours % 2 else "blue"
        connection.execute("update triggers set organization_id = %s where id = 'one'", [organization])
        keep_rows(connection, hours)
        assert not refresh_and_ask(connection), hours
    split = connection.execute(
        "select count(*) from (select d.day from analytics_refresh.frozen_days d"
        " join analytics_refresh.frozen_series s on s.series = d.series and s.trigger_id = 'one'"
        " group by d.day having count(distinct s.organization_id) > 1) t"
    )
    assert split.fetchone() != (0,)
    assert verify(connection).ok


@pytest.mark.slow
def test_a_rebuild_and_truncate_leave_the_days(connection: Connection) -> None:
    """Neither touches a frozen day, and the checksum holds."""
    before = all_days(connection)
    connection.execute("call analytics_refresh.rebuild('a test')")
    assert all_days(connection) == before
    connection.execute("truncate action_results")
    assert not refresh_and_ask(connection)
    assert all_days(connection) == before
    assert verify(connection).ok


@pytest.mark.slow
def test_what_others_change_of_a_day_is_found(connection: Connection) -> None:
    """Any figure, day, trigger or organization that something else changed is a difference."""
    for change in (
        *(f"update analytics_refresh.frozen_days set {column} = {column} + 1 where series = 1"
          for column in ("n", "timed", "retried", "duration_total", "retry_total", "day")),
        "update analytics_refresh.frozen_days set n = n + 1, timed = timed - 1 where series = 1",
        "update analytics_refresh.frozen_series set organization_id = 'blue' where trigger_id = 'one'",
        "delete from analytics_refresh.frozen_series where trigger_id = 'one'",
        "delete from analytics_refresh.frozen_days where status = 'failed'",
        "update analytics_refresh.frozen_series set trigger_id = organization_id, organization_id = trigger_id",
    ):  # fmt: skip
        with connection.transaction(force_rollback=True):
            assert connection.execute(change).rowcount
            kept, there = checksums(connection)
            assert kept != there, change
    connection.execute("update analytics_refresh.frozen_days set n = n + 1 where series = 1")
    assert "what is frozen" in [view.view_name for view in verify(connection).views if view.extra]


@pytest.mark.slow
def test_days_are_exported_and_taken_in(
    connection: Connection, databases: Callable[..., str], migrated_template: str
) -> None:
    """The days travel with the other frozen figures; an export without days says since when there are any."""
    lines = list[str]()
    export_frozen(connection, lines.append)
    with connect(databases(migrated_template)) as target:
        incremental.install(target)
        import_frozen(target, "public", lines)
        assert all_days(target) == all_days(connection)
        assert verify(target).ok
        since = "select days_since::text from analytics_refresh.incremental"
        assert target.execute(since).fetchone() == ("-infinity",)


@pytest.mark.slow
def test_R11_a_dump_and_restore_keep_the_days(
    dsn: str, connection: Connection, databases: Callable[..., str], tmp_path: Path
) -> None:
    """They travel with a dump, and the horizon goes on over it."""
    target = databases()
    dump_and_restore(dsn, target, connection.info.server_version // 10000, tmp_path / "dump")
    with connect(target) as restored:
        assert all_days(restored) == all_days(connection)
        keep_rows(restored, 40 * 24)
        assert not refresh_and_ask(restored)
        assert verify(restored).ok


@pytest.mark.slow
def test_going_back_takes_the_days_along(connection: Connection) -> None:
    """`--plain` with --discard-frozen leaves no table of them."""
    (day,) = connection.execute("select frozen_until::date from analytics_refresh.incremental").fetchall()[0]
    incremental.uninstall_to_plain(connection, discard_frozen=day)
    left = "select count(*) from pg_class where relname like 'frozen%'"
    assert connection.execute(left).fetchone() == (0,)


@pytest.mark.slow
def test_an_installation_without_days_gets_them(connection: Connection) -> None:
    """`migrate` adds them where figures were frozen already: from that horizon on, and it says since when."""
    kept, _ = checksums(connection)
    connection.execute("drop table analytics_refresh.frozen_days, analytics_refresh.frozen_series")
    connection.execute("alter table analytics_refresh.incremental drop column days_since")
    with pytest.raises(MigrationError, match="run `analytics-refreshd migrate` first"):
        verify(connection)
    with pytest.raises(MigrationError, match="run `analytics-refreshd migrate` first"):
        export_frozen(connection, lambda line: None)
    horizon = connection.execute("select frozen_until from analytics_refresh.incremental").fetchone()
    connection.execute("alter table analytics_refresh.rebuild_marks drop column asked")
    migrate(connection)
    incremental.install(connection)
    assert connection.execute("select days_since from analytics_refresh.incremental").fetchone() == horizon
    # what an older program had summed up
    connection.execute("update analytics_refresh.incremental set frozen_checksum = %s", [checksums(connection)[1]])
    assert kept != checksums(connection)[1]
    keep_rows(connection, 40 * 24)
    connection.execute("update analytics_refresh.incremental set late_rows = 'apply'")
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at)"
        " values ('late', 'job', 'one', 'rest', 'success', now() - interval '55 days')"
    )
    connection.execute("select * from refresh_action_analytics()")
    assert verify(connection).ok
    assert sum(by_organization(connection).values()) in _OF_TEN_DAYS
    oldest = connection.execute("select min(day) >= days_since::date from analytics_refresh.frozen_days,"
        " analytics_refresh.incremental group by days_since").fetchone()  # fmt: skip
    assert oldest == (True,)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "alter table triggers owner to {role}",
        "alter table triggers rename to others; create view triggers as select * from others",
        "alter table triggers rename column organization_id to tenant",
        "alter table action_results drop constraint action_results_trigger_id_fkey; drop table triggers",
    ],
)
def test_organizations_that_cannot_be_read_safely_are_left_out(dsn: str, connection: Connection, change: str) -> None:
    """The days are frozen all the same, without organizations; `check` says so."""
    told = [each.text for each in run_checks(connector(dsn), CheckSettings(), lambda: NOW)]
    assert not [text for text in told if "without organizations" in text]
    role = f"days_{uuid4().hex[:8]}"
    connection.execute(f"create role {role}")
    try:
        with connection.transaction():
            connection.execute(f"grant create, usage on schema public to {role}")
            connection.execute(change.format(role=role))
        frozen = by_organization(connection)
        told = [
            each.text
            for each in run_checks(connector(dsn), CheckSettings(), lambda: NOW)
            if each.level is Level.WARNING and each.name == "incremental"
        ]
        assert any("without organizations" in text for text in told)
        keep_rows(connection, 40 * 24)
        connection.execute("select * from refresh_action_analytics()")
        assert by_organization(connection)["acme"] == frozen["acme"]
        assert sum(by_organization(connection).values()) - sum(frozen.values()) in _OF_TEN_DAYS
        assert verify(connection).ok
    finally:
        connection.execute(f"reassign owned by {role} to current_user; drop owned by {role}; drop role {role}")


@pytest.mark.slow
def test_organizations_hidden_by_row_security_are_unknown(connection: Connection) -> None:
    """Where row security holds for the owner, too, an organization that is not seen would be frozen as none."""
    role = f"days_{uuid4().hex[:8]}"
    connection.execute(f"create role {role}; grant create, usage on schema public to {role}")
    try:
        with connection.transaction(force_rollback=True):
            for change, known in (
                (f"alter table triggers owner to {role}", False),
                (f"alter table action_results owner to {role}", True),
                ("alter table triggers enable row level security", True),
                ("alter table triggers force row level security", False),
                (f"alter role {role} bypassrls", True),
            ):
                connection.execute(change)
                assert knows_organizations(connection, "public") is known, change
    finally:
        connection.execute(f"drop owned by {role}; drop role {role}")


@pytest.mark.slow
def test_late_rows_count_in_their_days(connection: Connection) -> None:
    """With `late_rows = "apply"` a late row joins its day, under the organization that its trigger has now."""
    connection.execute("update analytics_refresh.incremental set late_rows = 'apply'")
    connection.execute("update triggers set organization_id = 'blue' where id = 'one'")
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
        " values ('late', 'job', 'one', 'rest', 'success', now() - interval '55 days', 7)"
    )
    learn(connection)
    assert verify(connection).ok
    connection.execute("select * from refresh_action_analytics()")
    assert not ask(connection)
    assert by_organization(connection)["blue"] == 1
