"""The four views against the contract and against plain Python."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.support import view_figures
from tests.support.view_figures import Action

Connection = psycopg.Connection[Any]

VIEWS = {
    "action_metrics_hourly": """hour timestamp with time zone, action_type text, status text, execution_count bigint,
        avg_duration_ms numeric(12,2), min_duration_ms integer, max_duration_ms integer,
        p50_duration_ms numeric(12,2), p95_duration_ms numeric(12,2), p99_duration_ms numeric(12,2),
        success_count bigint, failure_count bigint, retrying_count bigint, total_retries bigint,
        actions_with_retries bigint""",
    "trigger_performance_summary": """trigger_id text, total_executions bigint, success_count bigint,
        failure_count bigint, retrying_count bigint, success_rate numeric, avg_duration_ms numeric(12,2),
        min_duration_ms integer, max_duration_ms integer, p50_duration_ms numeric(12,2),
        p95_duration_ms numeric(12,2), p99_duration_ms numeric(12,2), total_retries bigint,
        avg_retries numeric(12,2), max_retries integer, last_execution_at timestamp with time zone,
        first_execution_at timestamp with time zone, hours_active numeric""",
    "recent_failures": """id text, job_id text, trigger_id text, event_id text, action_type text, error_message text,
        retry_count integer, executed_at timestamp with time zone, duration_ms integer, response_data jsonb""",
    "action_type_distribution": """action_type text, total_executions bigint, success_count bigint,
        failure_count bigint, percentage numeric, avg_duration_ms numeric(12,2), total_retries bigint,
        last_execution_at timestamp with time zone""",
}
INDEXES = {
    "idx_action_metrics_hourly_unique": "UNIQUE (hour, action_type, status) NULLS NOT DISTINCT",
    "idx_action_metrics_hourly_hour": "(hour DESC)",
    "idx_action_metrics_hourly_action_type": "(action_type)",
    "idx_action_metrics_hourly_status": "(status)",
    "idx_trigger_performance_summary_unique": "UNIQUE (trigger_id)",
    "idx_trigger_performance_summary_executions": "(total_executions DESC)",
    "idx_trigger_performance_summary_success_rate": "(success_rate NULLS FIRST)",
    "idx_trigger_performance_summary_avg_duration": "(avg_duration_ms DESC NULLS LAST)",
    "idx_trigger_performance_summary_retries": "(total_retries DESC)",
    "idx_recent_failures_unique": "UNIQUE (id)",
    "idx_recent_failures_trigger_id": "(trigger_id) WHERE (trigger_id IS NOT NULL)",
    "idx_recent_failures_executed_at": "(executed_at DESC)",
    "idx_recent_failures_action_type": "(action_type)",
    "idx_recent_failures_error_message": '("left"(error_message, 200)) WHERE (error_message IS NOT NULL)',
    "idx_action_type_distribution_unique": "UNIQUE (action_type)",
    "idx_action_type_distribution_executions": "(total_executions DESC)",
}


def insert(connection: Connection, actions: list[Action]) -> None:
    """Write the actions, and the triggers that they name."""
    triggers = sorted({action.trigger_id for action in actions if action.trigger_id})
    with connection.cursor() as cursor:
        cursor.executemany("insert into triggers (id) values (%s) on conflict do nothing", [(t,) for t in triggers])
        cursor.executemany(
            "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms,"
            " error_message, retry_count) values (%s, 'job', %s, %s, %s, %s, %s, %s, %s)",
            [
                (a.id, a.trigger_id, a.action_type, a.status, a.executed_at, a.duration_ms, a.error_message,
                 a.retry_count)
                for a in actions
            ],
        )  # fmt: skip


def refresh(connection: Connection) -> dict[str, tuple[int, int, bool, str | None]]:
    """Each view's duration, rows, success and error."""
    rows = connection.execute("select * from refresh_action_analytics()").fetchall()
    return {row[0]: row[1:] for row in rows}


def random_actions(seed: int, count: int, now: datetime) -> list[Action]:
    """A small log with everything that a real one has: nulls everywhere, extremes, all ages."""
    pick = random.Random(seed)
    return [
        Action(
            id=f"a{number}",
            action_type=pick.choice(["telegram", "rest", "mcp"]),
            status=pick.choice(["success", "success", "failed", "retrying"]),
            executed_at=None
            if pick.random() < 0.1
            else now - timedelta(seconds=pick.choice([pick.uniform(60, 86000), pick.uniform(87000, 60 * 86400)])),
            trigger_id=pick.choice([None, "t1", "t2", "t3", "t4"]),
            duration_ms=pick.choice([None, 0, 1, 7, pick.randrange(5000), 100_000_000, 2_147_483_647]),
            retry_count=pick.choice([None, 0, 0, 0, 1, 3]),
            error_message=pick.choice([None, "", "timeout", "x" * 9000]),
        )
        for number in range(count)
    ]


def table(connection: Connection, view: str, key: int) -> dict[Any, tuple[object, ...]]:
    """The view by its first `key` columns."""
    rows = connection.execute(psycopg.sql.SQL("select * from {}").format(psycopg.sql.Identifier(view))).fetchall()
    return {row[:key] if key > 1 else row[0]: row[key:] for row in rows}


def hours_to_6_decimals(summary: dict[Any, tuple[object, ...]]) -> dict[Any, tuple[object, ...]]:
    """hours_active is unrounded in the view."""
    return {
        key: (*row[:-1], None if row[-1] is None else round(Decimal(str(row[-1])), 6)) for key, row in summary.items()
    }


@pytest.mark.parametrize("view", VIEWS)
def test_columns_of_the_contract(connection: Connection, view: str) -> None:
    """A view has exactly the contract's columns, in its order, with its types."""
    rows = connection.execute(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
        (view,),
    ).fetchall()
    assert ", ".join(f"{name} {kind}" for name, kind in rows) == " ".join(VIEWS[view].split())


def test_index_names_of_the_contract(connection: Connection) -> None:
    """The views carry exactly the 16 indexes that outside tests look up."""
    rows = connection.execute(
        "select i.relname, case when x.indisunique then 'UNIQUE ' else '' end"
        " || regexp_replace(pg_get_indexdef(i.oid), '^.* USING btree ', '')"
        " from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class v on v.oid = x.indrelid"
        " where v.relkind = 'm'"
    ).fetchall()
    assert dict(rows) == INDEXES


def test_status_of_an_empty_log(connection: Connection) -> None:
    """With no actions at all, every view is empty, fresh and refreshable."""
    assert {view: row[1:] for view, row in refresh(connection).items()} == {view: (0, True, None) for view in VIEWS}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.slow
def test_views_agree_with_brute_force(connection: Connection, seed: int) -> None:
    """Every view equals plain Python over the same rows, to the last decimal, twice in a row."""
    now = datetime.now(UTC)
    actions = random_actions(seed, 300, now)
    insert(connection, actions)
    for _ in range(2):
        assert all(success for _, _, success, _ in refresh(connection).values())
    assert table(connection, "action_metrics_hourly", 3) == view_figures.action_metrics_hourly(actions)
    summary = table(connection, "trigger_performance_summary", 1)
    assert hours_to_6_decimals(summary) == view_figures.trigger_performance_summary(actions)
    assert set(table(connection, "recent_failures", 1)) == view_figures.recent_failures(actions, now)
    distribution = table(connection, "action_type_distribution", 1)
    assert distribution == view_figures.action_type_distribution(actions, now)
    assert sum(Decimal(str(row[3])) for row in distribution.values()) == pytest.approx(100, abs=0.03)


def test_null_hour_is_one_row_that_survives_refreshes(connection: Connection) -> None:
    """Executions without a time are one row per type and status, updated in place by later refreshes."""
    for number in range(3):
        insert(connection, [Action(f"n{number}", "rest", "success", None, duration_ms=10)])
        assert refresh(connection)["action_metrics_hourly"][1:] == (1, True, None)
        assert list(table(connection, "action_metrics_hourly", 1)) == [None]
    assert table(connection, "action_type_distribution", 1) == {}


def test_hours_are_of_utc_in_a_half_hour_zone(connection: Connection) -> None:
    """Buckets start on the hour of UTC, whatever the zone of the session that refreshes."""
    connection.execute("set timezone = 'Asia/Kolkata'")
    moment = datetime(2026, 3, 29, 10, 45, tzinfo=UTC)
    insert(connection, [Action("k", "rest", "success", moment)])
    refresh(connection)
    connection.execute("set timezone = 'UTC'")
    assert [key[0] for key in table(connection, "action_metrics_hourly", 3)] == [moment.replace(minute=0)]


def test_long_error_messages_do_not_fail_a_view(connection: Connection) -> None:
    """A message longer than an index entry may be is a row like any other."""
    text = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=50_000))
    insert(connection, [Action("long", "rest", "failed", datetime.now(UTC), error_message=text)])
    assert refresh(connection)["recent_failures"][1:] == (1, True, None)


def test_index_on_the_failures_window(connection: Connection) -> None:
    """A failure leaves the view once it is a day old."""
    now = datetime.now(UTC)
    ages = {"fresh": timedelta(hours=23, minutes=59), "old": timedelta(hours=24, minutes=1)}
    insert(connection, [Action(name, "rest", "failed", now - age) for name, age in ages.items()])
    refresh(connection)
    assert set(table(connection, "recent_failures", 1)) == {"fresh"}


def test_everything_has_a_comment(connection: Connection) -> None:
    """Every object of ours, columns and indexes included, says what it is."""
    rows = connection.execute(
        """
        select pg_describe_object('pg_class'::regclass, c.oid, coalesce(a.attnum, 0))
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        left join pg_attribute a
            on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'm')
        where (n.nspname = 'analytics_refresh' or c.relkind = 'm' or c.relname like 'idx\\_%')
            and c.relkind in ('r', 'm', 'i', 'S', 'v')
            and (obj_description(c.oid, 'pg_class') is null
                or a.attnum is not null and col_description(c.oid, a.attnum) is null)
        union all
        select pg_describe_object('pg_proc'::regclass, p.oid, 0)
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname in ('analytics_refresh', 'public') and obj_description(p.oid, 'pg_proc') is null
        union all
        select nspname from pg_namespace n
        where nspname = 'analytics_refresh' and obj_description(n.oid, 'pg_namespace') is null
        """
    ).fetchall()
    assert rows == []
