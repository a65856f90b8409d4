"""Costs behind the wall: of rows and of frozen days, of the admitted organizations alone."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import psycopg
import pytest

from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.horizon import in_database, with_horizon
from analytics_refreshd.postgres.catalogue.run import Result, bind, run
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.install import Retention
from analytics_refreshd.postgres.tenants.horizon import frozen_horizon
from analytics_refreshd.postgres.tenants.wall import Wall
from tests.support.brute_force import SETTINGS
from tests.support.tenants import SCHEMA, SECRET, TENANTS, fill, foreign, walled

Connection = psycopg.Connection[Any]
COSTS = Catalogue.load().get("organization-costs")
WALL = Wall(SECRET)
_OLD = """
insert into action_results (id, job_id, trigger_id, event_id, action_type, status, executed_at, duration_ms,
    retry_count)
    select o || '-old-' || n, 'job', case when n % 7 > 0 or o <> 'nobody' then o || '-trigger-' || (1 + n % 3) end,
        'event', (array['rest', 'telegram', 'mcp'])[1 + n % 3], 'success', now() - n * interval '7 hours', n % 900,
        n % 4
    from unnest(array['acme', 'bolt', 'nobody']) o, generate_series(1, 340) n
"""


@pytest.fixture
def world(dsn: str, connection: Connection) -> Iterator[tuple[Connection, datetime]]:
    """The API's role over 100 days of two tenants, and the time to ask by."""
    fill(connection)
    connection.execute(_OLD)
    incremental.install(connection, retention=Retention(1000 * 86400.0))
    with walled(dsn, connection) as api:
        yield api, datetime.now(UTC)


def of_tables(connection: Connection, now: datetime, limit: Sequence[str] | None, by: str) -> Result:
    """The costs as the command line asks for them."""
    bound = bind(COSTS, {"months": 4, "by": by}, limit, now, "public", settings=SETTINGS)
    return run(connection, in_database(connection, bound, now))


def walled_costs(
    api: Connection, now: datetime, admitted: Sequence[str] | None, limit: Sequence[str] | None, by: str
) -> Result:
    """The costs as the API asks for them, in a transaction that is admitted; `limit` is the query's own."""
    bound = bind(COSTS, {"months": 4, "by": by}, limit, now, SCHEMA, settings=SETTINGS)
    with api.transaction(force_rollback=True):
        WALL.admit(api, admitted)
        return run(api, with_horizon(bound, frozen_horizon(cast("Any", api))))


def freeze(connection: Connection) -> None:
    """Freeze what is older than 50 days, and delete its rows."""
    connection.execute("update analytics_refresh.incremental set retained = make_interval(days => 50)")
    assert not connection.execute("select * from refresh_action_analytics() where not success").fetchall()
    assert connection.execute("delete from action_results where executed_at < now() - interval '50 days'").rowcount
    assert not connection.execute("select * from refresh_action_analytics() where not success").fetchall()


@pytest.mark.quick
def test_the_costs_of_deleted_rows_stay_behind_the_wall(
    world: tuple[Connection, datetime], connection: Connection
) -> None:
    """Each tenant's are those that its rows gave before they went; also where a query forgot its limit."""
    api, now = world
    limits: list[Sequence[str] | None] = [("acme",), ("bolt",), TENANTS, (), None]
    before = {
        (repr(limit), by): of_tables(connection, now, limit, by).rows
        for limit in limits
        for by in ("organization", "trigger", "action_type")
    }
    assert before[repr(None), "organization"]
    for limit in limits:
        assert walled_costs(api, now, limit, limit, "trigger").rows == before[repr(limit), "trigger"]
    freeze(connection)
    for limit in limits:
        for by in ("organization", "trigger", "action_type"):
            found = walled_costs(api, now, limit, limit, by)
            assert found.rows == before[repr(limit), by], (limit, by)
            assert found.rows == of_tables(connection, now, limit, by).rows
            assert any("noon" in note for note in found.notes)
        # sabotaged: the query without its own limit
        rows = walled_costs(api, now, limit, None, "trigger").rows
        assert rows == before[repr(limit), "trigger"], limit
        assert [row for row in rows if foreign(row, (*TENANTS, "nobody") if limit is None else tuple(limit))] == []


@pytest.mark.slow
def test_a_trigger_that_moved_leaves_its_frozen_days(
    world: tuple[Connection, datetime], connection: Connection
) -> None:
    """They are for the organization of that time, which sees the name of its trigger no more."""
    api, now = world
    freeze(connection)
    connection.execute("update triggers set organization_id = 'bolt' where organization_id = 'acme'")
    found = walled_costs(api, now, ("acme",), ("acme",), "trigger").rows
    assert found
    assert {row[1] for row in found} == {"acme"}
    assert {row[4] for row in found} == {None}
    since = bind(COSTS, {"months": 4}, None, now, "public").values["since"]
    (total,) = connection.execute(
        "select sum(d.n) from analytics_refresh.frozen_days d join analytics_refresh.frozen_series s using (series)"
        " where s.organization_id = 'acme' and d.day >= %s", [since]
    ).fetchall()  # fmt: skip
    assert sum(int(str(row[6])) for row in found) == total[0]
