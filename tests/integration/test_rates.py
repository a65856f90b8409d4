"""Success rate and p95 of the last 24 hours: those of the rows, in both modes, or said to be unknown."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from analytics_refreshd.core.failing_triggers import TriggerRate
from analytics_refreshd.core.model import Rates
from analytics_refreshd.core.unusual import MOST_TYPES
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.state import rates as rates_module
from analytics_refreshd.postgres.state.hours import PostgresHourCells
from analytics_refreshd.postgres.state.triggers import PostgresTriggerRates
from tests.support.adapters import session, status_reader
from tests.support.faults import as_role, least_role
from tests.support.installs import install_older

pytestmark = pytest.mark.fault

Connection = psycopg.Connection[Any]
_TRUE = """
select count(*), (100.0 * count(*) filter (where status = 'success') / count(*))::float8,
    (percentile_cont(0.95) within group (order by duration_ms) / 1000)::float8, count(duration_ms)
from action_results where executed_at between now() - interval '24 hours' and now()
"""


def _fill(connection: Connection) -> None:
    """Two days of actions whose slow ones are few and come together, and some of tomorrow."""
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at, duration_ms)"
        " select i::text, 'j', (array['rest', 'mcp', 'telegram'])[1 + i % 3],"
        "     (array['success', 'success', 'failed', 'retrying'])[1 + i / 7 % 4],"
        "     now() - (i - 300) * interval '37 seconds',"
        "     case when i % 1000 < 60 then 20000 + i when i % 11 > 0 then i % 97 end"
        " from generate_series(1, 4000) i"
    )


def _rates(dsn: str, **settings: Any) -> Rates:
    with status_reader(dsn, **settings) as reader:
        return reader.rates()


def _true(connection: Connection) -> Rates:
    return Rates(*(connection.execute(_TRUE).fetchone() or ()))


def _alike(found: Rates, true: Rates) -> bool:
    """Whether they are the same, but for a row or two that the window lost between the two questions."""
    assert found.latency_problem is None
    return (
        abs(found.executions - true.executions) <= 2
        and abs(found.latency_executions - true.latency_executions) <= 2
        and found.success_rate_percent == pytest.approx(true.success_rate_percent, abs=0.2)
        and found.latency_p95_seconds == pytest.approx(true.latency_p95_seconds, abs=0.05)
    )


@pytest.mark.parametrize("mode", [pytest.param("plain", marks=pytest.mark.quick), "incremental", "older"])
@pytest.mark.slow
def test_L07_the_figures_are_those_of_the_rows_of_the_last_day(request: pytest.FixtureRequest, mode: str) -> None:
    """Exact whatever the distribution, and without what is dated in the future; rows come and go with the window."""
    dsn = request.getfixturevalue("application_dsn" if mode == "older" else "dsn")
    with psycopg.connect(dsn, autocommit=True) as connection:
        _fill(connection)
        if mode == "older":
            install_older(connection)
        if mode == "incremental":
            incremental.install(connection)
        connection.execute("select * from refresh_action_analytics()")
        assert _alike(_rates(dsn), _true(connection))
        assert _true(connection).executions < 2400


def test_L07_rollups_that_are_being_built_are_not_asked(dsn: str, connection: Connection) -> None:
    """While they hold a part the rows tell; in a whole state the rows of whole hours are not read."""
    _fill(connection)
    incremental.install(connection)
    connection.execute("select * from refresh_action_analytics()")
    connection.execute("update analytics_refresh.incremental set built = false")
    connection.execute("delete from analytics_refresh.hour_cells where status = 'success'")
    assert _alike(_rates(dsn), _true(connection))


@pytest.mark.parametrize("mode", ["plain", "incremental"])
def test_L07_without_the_grant_the_p95_is_unknown_and_says_why(dsn: str, connection: Connection, mode: str) -> None:
    """No figure in its place; the success rate is that of the hours, none of them in the future."""
    _fill(connection)
    if mode == "incremental":
        incremental.install(connection)
    connection.execute("select * from refresh_action_analytics()")
    with least_role(connection) as role:
        assert _alike(_rates(as_role(dsn, role)), _true(connection))
        revoke = sql.SQL("revoke select (status) on action_results from {}").format(sql.Identifier(role))
        connection.execute(revoke)
        found = _rates(as_role(dsn, role))
    assert found.latency_p95_seconds is None
    assert found.latency_problem is not None
    grant = f'GRANT SELECT (executed_at, duration_ms, status) ON "public"."action_results" TO "{role}";'
    assert grant.replace('"', "") in found.latency_problem.replace('"', "")
    assert found.success_rate_percent == pytest.approx(_true(connection).success_rate_percent, abs=3.0)
    assert found.executions <= _true(connection).executions + 100


def test_L07_reading_the_rows_is_bounded_in_time(
    dsn: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the rows do not come in time the figure is absent and says so, and the rest is read all the same."""
    _fill(connection)
    connection.execute("select * from refresh_action_analytics()")
    monkeypatch.setattr(rates_module, "LONGEST_SECONDS", 0.3)
    with psycopg.connect(dsn) as holder:
        holder.execute("lock table action_results in access exclusive mode")
        found = _rates(dsn)
    assert (found.latency_p95_seconds, found.executions > 0) == (None, True)
    assert found.latency_problem is not None
    assert "not read within 0.3 s" in found.latency_problem
    assert "index on executed_at" in found.latency_problem


def test_L07_row_security_leaves_no_row_out_without_a_word(dsn: str, connection: Connection) -> None:
    """Figures of the rows that a policy lets through would be wrong ones."""
    _fill(connection)
    connection.execute("select * from refresh_action_analytics()")
    with least_role(connection) as role:
        connection.execute("alter table action_results enable row level security")
        found = _rates(as_role(dsn, role))
    assert found.latency_p95_seconds is None
    assert "row-level security" in (found.latency_problem or "")


def test_L07_the_rows_of_a_day_are_found_by_the_index_on_their_time(connection: Connection) -> None:
    """The cost is that of a day, however long the history is."""
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at, duration_ms)"
        " select i::text, 'j', 'rest', 'success', now() - i * interval '5 minutes', 5 from generate_series(1, 30000) i"
    )
    connection.execute("analyze action_results")
    query = sql.SQL(blocks("state/rates.sql")["of_rows"]).format(app=sql.Identifier("public"))
    plan = "\n".join(row[0] for row in connection.execute(sql.SQL("explain ") + query))
    assert "Index" in plan
    assert "Seq Scan" not in plan


def test_L07_the_rows_are_those_of_the_configured_schema(application_dsn: str) -> None:
    """Whatever its name, and on a database without our schema."""
    with psycopg.connect(application_dsn, autocommit=True) as application:
        application.execute('create schema "My App"')
        application.execute('create table "My App".action_results (like public.action_results)')
        application.execute(
            'insert into "My App".action_results (id, job_id, action_type, status, executed_at, duration_ms)'
            " values ('a', 'j', 'rest', 'success', now(), 1500)"
        )
    assert _rates(application_dsn, app_schema="My App") == Rates(1, 100.0, 1.5, 1)


def test_hours_are_those_of_the_rows(dsn: str, connection: Connection) -> None:
    """By hour and action type over all states, the p95 of the successes, of the busiest types only."""
    _fill(connection)
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at, duration_ms)"
        " select 'rare ' || i, 'j', 'rare ' || i, 'success', now() - interval '5 hours', 1"
        " from generate_series(1, 30) i"
    )
    connection.execute("select * from refresh_action_analytics()")
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    since = until - timedelta(hours=20)
    with session(dsn) as shared:
        found = PostgresHourCells(shared).read(since, until)
    true = connection.execute(
        "select date_trunc('hour', executed_at, 'UTC'), action_type, count(*),"
        " count(*) filter (where status = 'failed'), count(*) filter (where status = 'success'),"
        " percentile_cont(0.95) within group (order by duration_ms) filter (where status = 'success') / 1000"
        " from action_results where executed_at >= %s and executed_at < %s and action_type !~ 'rare' group by 1, 2",
        [since, until],
    ).fetchall()
    rows = {(hour, action_type): figures for hour, action_type, *figures in true}
    busiest = {(cell.hour, cell.action_type): cell for cell in found if "rare" not in cell.action_type}
    assert busiest.keys() == rows.keys()
    for key, cell in busiest.items():
        assert [cell.executions, cell.failures, cell.successes] == rows[key][:3]
        assert cell.p95_seconds == pytest.approx(rows[key][3], abs=0.001)
    assert len({cell.action_type for cell in found}) == MOST_TYPES


@pytest.mark.slow
def test_triggers_below_a_rate_are_those_of_the_rows_of_the_last_day(dsn: str, connection: Connection) -> None:
    """The busiest first; what has too few executions, or none since yesterday, or a date in the future, is left out."""
    connection.execute("alter table action_results drop constraint action_results_trigger_id_fkey")
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at)"
        " select gen_random_uuid(), 'j', t.id, 'rest', case when i <= t.good then 'success' else 'failed' end,"
        " now() - t.ago"
        " from (values ('bad', 60, 30, interval '1 hour'), ('worse', 40, 0, interval '23 hours'),"
        "     ('good', 50, 45, interval '1 hour'), ('few', 19, 0, interval '1 hour'),"
        "     ('old', 50, 0, interval '25 hours'), ('coming', 50, 0, interval '-1 hour')) t (id, n, good, ago)"
        " cross join lateral generate_series(1, t.n) i"
    )
    with session(dsn) as own:
        rates = PostgresTriggerRates(own)
        assert rates.below(81.0, 20) == [TriggerRate("bad", 60, 50.0), TriggerRate("worse", 40, 0.0)]
        assert [rate.trigger_id for rate in rates.below(91.0, 1)] == ["bad", "good", "worse", "few"]
