"""Transactions of the API: two round trips, what they are admitted to, and what they leave behind."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import psycopg
import pytest

from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.page import Page, page_of, page_statement, total_statement
from analytics_refreshd.postgres.catalogue.run import bind
from analytics_refreshd.postgres.connection.batch import BatchConnection, Statement
from analytics_refreshd.postgres.tenants.reading import Transaction, admitted, read
from analytics_refreshd.postgres.tenants.wall import Wall
from tests.support.tenants import SCHEMA, SECRET, TENANTS, fill, foreign, walled

pytestmark = pytest.mark.slow
CATALOGUE = Catalogue.load()
VIEWS = ("trigger_performance_summary", "recent_failures")
WALL = Wall(SECRET)
ALL = Transaction(None, "pg_catalog, pg_temp", 5000, plan_anew=False, views=VIEWS)
SEEN = Statement("select distinct organization_id from analytics_api.triggers where organization_id is not null")


class Counting(BatchConnection):
    """Counts the round trips."""

    trips = 0

    def wait(self, *args: Any, **kwargs: Any) -> Any:
        self.trips += 1
        return super().wait(*args, **kwargs)


@dataclass(frozen=True)
class World:
    """One session of the API's role, and the time that queries ask for."""

    api: Counting
    now: datetime


@pytest.fixture(scope="module")
def world(templates: Callable[..., str], migrated_template: str) -> Iterator[World]:
    """Two tenants behind the wall."""
    dsn = templates(migrated_template)
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as owner:
        now = fill(owner)
        with walled(dsn, owner) as role, Counting.connect(role.info.dsn, autocommit=True) as api:
            yield World(api, now)


def of(*organizations: str) -> Transaction:
    """A transaction that is admitted to these."""
    return replace(ALL, organizations=organizations)


def test_it_takes_two_round_trips(world: World) -> None:
    """With the views' last successes and each statement's rows; without them where no record can be read."""
    before = world.api.trips
    successes, (rows, numbers) = read(world.api, WALL, ALL, [SEEN, Statement("select 1")])
    assert world.api.trips - before == 2
    assert set(successes) == set(VIEWS)
    assert all(at.tzinfo is not None for at in successes.values())
    assert (sorted(rows), numbers) == ([("acme",), ("bolt",)], [(1,)])
    assert read(world.api, WALL, replace(ALL, views=None), [SEEN])[0] == {}
    assert read(world.api, WALL, replace(ALL, views=("none",)), [SEEN])[0] == {}
    with admitted(world.api, WALL, of("acme")) as found:
        assert found == successes
        assert world.api.execute(SEEN.text).fetchall() == [("acme",)]


def test_a_plan_that_is_kept_is_nobody_elses(world: World) -> None:
    """One statement for all in one session, over and over, until the server makes a plan for any values."""
    every = [(("acme",), [("acme",)]), (("bolt",), [("bolt",)]), (TENANTS, [("acme",), ("bolt",)]), ((), [])]
    for number in range(12):
        for organizations, wanted in [*every[number % 4 :], *every[: number % 4]]:
            assert sorted(read(world.api, WALL, of(*organizations), [SEEN])[1][0]) == wanted
    (generic,) = world.api.execute(
        "select sum(generic_plans) from pg_prepared_statements where statement like 'select distinct%'"
    ).fetchall()[0]
    assert generic > 0


def test_every_query_without_its_limit(world: World) -> None:
    """Prepared and kept, each shows each tenant its own alone; with its limit it has the rows that it has else."""
    for query in [query for query in CATALOGUE if query.organizations]:
        columns = [field.column for field in query.api.fields]
        for tenant in ("acme", "bolt") * 4:
            bound = bind(query, {}, None, world.now, SCHEMA)
            _, (found,) = read(world.api, WALL, of(tenant), [page_statement(bound, Page(1000), columns)])
            assert not foreign(page_of(found, columns).rows, (tenant,)), (query.name, tenant)


def test_a_page_past_the_last_row(world: World) -> None:
    """The statement that counts tells how many there are."""
    bound = bind(CATALOGUE.get("most-active"), {}, ("acme",), world.now, SCHEMA)
    columns = [field.column for field in bound.query.api.fields]
    page = page_statement(bound, Page(10, 100), columns)
    _, (rows, ((total,),)) = read(world.api, WALL, of("acme"), [page, total_statement(bound)])
    assert (rows, total) == ([], 3)


def test_nothing_of_it_is_left(world: World) -> None:
    """Neither its settings nor a token nor what a text set for the session; and it can write nothing."""
    shown = Statement(
        "select current_setting('search_path'), current_setting('statement_timeout'), current_setting('TimeZone'),"
        " current_setting('plan_cache_mode'), coalesce(current_setting('analytics_api.token', true), '') = ''"
    )
    (before,) = world.api.batch([shown])
    sets = Statement(
        "select set_config('analytics_api.token', 'x', false), set_config('TimeZone', 'Asia/Tokyo', false)"
    )
    within = replace(ALL, search_path="pg_catalog, public, pg_temp", timeout_ms=1234, plan_anew=True)
    _, (during, _) = read(world.api, WALL, within, [shown, sets])
    assert during == [("pg_catalog, public, pg_temp", "1234ms", "UTC", "force_custom_plan", False)]
    assert world.api.batch([shown]) == [before]
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        read(world.api, WALL, ALL, [Statement("create temporary table t as select 1")])
    assert world.api.batch([shown]) == [before]


def test_a_failure_ends_the_transaction(world: World) -> None:
    """The session is as good as before it."""
    with pytest.raises(psycopg.errors.QueryCanceled):
        read(world.api, WALL, replace(ALL, timeout_ms=50), [Statement("select pg_sleep(60)"), SEEN])
    with pytest.raises(psycopg.errors.DivisionByZero), admitted(world.api, WALL, ALL):
        world.api.execute("select 1 / 0")
    with pytest.raises(ValueError, match="mine"), admitted(world.api, WALL, ALL):
        raise ValueError("mine")
    assert world.api.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
    assert world.api.execute(SEEN.text).fetchall() == []
    assert read(world.api, WALL, of("bolt"), [SEEN])[1] == [[("bolt",)]]


def test_a_wrong_secret_admits_to_nothing(world: World) -> None:
    """Whatever the transaction is told to see."""
    assert read(world.api, Wall(b"another" * 8), ALL, [SEEN])[1] == [[]]
