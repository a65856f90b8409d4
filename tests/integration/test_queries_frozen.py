"""Queries limited to organizations read frozen days for what is older than the horizon: the figures of deleted rows."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from analytics_refreshd.postgres.catalogue.definition import ParameterError
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.horizon import in_database
from analytics_refreshd.postgres.catalogue.run import Result, bind, run
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.install import Retention
from tests.generate.queries_dashboard import dashboard_sql
from tests.integration.test_migrate_roles import psql
from tests.integration.test_queries_run import expanded
from tests.support.brute_force import SETTINGS
from tests.support.daemon import command
from tests.support.faults import as_role
from tests.support.horizon import connect
from tests.support.installs import temporary_role
from tests.support.tenants import add_organizations

Connection = psycopg.Connection[Any]

_DAY = 86400.0
_CATALOGUE = Catalogue.load()
_SPAN: dict[str, object] = {"since": timedelta(days=80)}
_ASKED: dict[str, dict[str, object]] = {
    "daily-trend": {"days": 90},
    "weekly-growth": {"weeks": 11},
    "organization-usage": {"days": 90},
    "success-rate": _SPAN,
    "summary": _SPAN,
    "most-active": _SPAN,
    "distribution": _SPAN,
    "organization-costs": {"months": 4, "by": "trigger"},
}


@pytest.fixture(scope="module")
def dsn_template(templates: Callable[..., str], migrated_template: str) -> str:
    """A database with actions of 100 days of three organizations, in incremental mode with nothing frozen."""
    dsn = templates(migrated_template)
    with connect(dsn) as connection:
        add_organizations(connection, {"acme": "Acme", "blue": "Blue"})
        connection.execute(
            "insert into triggers (id, name, organization_id) values ('one', 'One', 'acme'), ('two', 'Two', 'acme'),"
            " ('three', 'Three', 'blue'), ('none', 'None', null);"
            " insert into action_results"
            " (id, job_id, trigger_id, action_type, status, executed_at, duration_ms, retry_count)"
            " select 'row ' || i, 'job', (array['one', 'two', 'three', 'none', null])[1 + i % 5],"
            " (array['rest', 'mcp'])[1 + i % 2], (array['success', 'failed', 'retrying'])[1 + i % 3],"
            " now() - i * interval '100 minutes', i * 7 % 1000, i % 4 from generate_series(1, 1440) i"
        )
        incremental.install(connection, retention=Retention(1000 * _DAY))
    return dsn


@pytest.fixture(scope="module")
def now() -> datetime:
    """One time to ask by; a span back from it begins at midnight."""
    return datetime.now(UTC)


def ask(
    connection: Connection, name: str, now: datetime, limit: list[str] | None, given: dict[str, object] | None = None
) -> Result:
    """Ask a query as the command line does; a span begins at midnight, UTC, so that days can be compared with rows."""
    parameters = dict(_ASKED[name] if given is None else given)
    if "since" in parameters:
        parameters["since"] = (now - timedelta(days=80)).replace(hour=0, minute=0, second=0, microsecond=0)
    bound = bind(_CATALOGUE.get(name), parameters, limit, now, "public", settings=SETTINGS)
    return run(connection, in_database(connection, bound, now), raw=True)


def figures(result: Result) -> list[tuple[object, ...]]:
    """The rows without what is an approximation, or says nothing of frozen days."""
    left_out = {column.name for column in result.columns if column.approximated} | set(result.query.after_horizon)
    kept = [number for number, column in enumerate(result.columns) if column.name not in left_out]
    return sorted((tuple(row[number] for number in kept) for row in result.rows), key=repr)


def freeze(connection: Connection, days: float = 50) -> None:
    """Freeze what is older than a day less, and delete the rows."""
    connection.execute(
        "update analytics_refresh.incremental set retained = make_interval(secs => %s)", [days * _DAY]
    )  # fmt: skip
    assert not connection.execute("select * from refresh_action_analytics() where not success").fetchall()
    assert connection.execute(
        "delete from action_results where executed_at < now() - %s * interval '1 day'", [days]
    ).rowcount
    assert not connection.execute("select * from refresh_action_analytics() where not success").fetchall()


@pytest.mark.quick
def test_deleted_rows_are_answered_from_days(connection: Connection, now: datetime) -> None:
    """For every query over days and every limit the figures are those that the rows gave before they went."""
    limits = [["acme"], ["blue"], ["acme", "blue"], []]
    cases: list[tuple[str, list[str] | None]] = [(name, limit) for name in _ASKED for limit in limits]
    cases += [("organization-usage", None), ("distribution", None), ("organization-costs", None)]
    before = {repr(case): ask(connection, case[0], now, case[1]) for case in cases}
    assert all(
        result.frozen_until is None and not any("noon" in note for note in result.notes) for result in before.values()
    )
    freeze(connection)
    for name, limit in cases:
        after = ask(connection, name, now, limit)
        assert figures(after) == figures(before[repr((name, limit))]), (name, limit)
        assert after.frozen_until is not None
        assert "noon" in after.notes[-1]
        told = {column.name for column in after.columns if "frozen" in column.approximated}
        assert told == set(after.query.after_horizon)


@pytest.mark.slow
def test_every_query_over_the_relations_says_what_it_makes_of_days() -> None:
    """Of the built-in queries only those that show hours refuse what is older than the horizon."""
    read = {query.name for query in _CATALOGUE if query.relations & {"hourly", "usage", "monthly", "distribution"}}
    by_hour = {"hourly-actions", "throughput", "peak-hours", "heat-map", "correlations", "anomalies", "forecast"}
    assert {name for name in read if not _CATALOGUE.get(name).days} == by_hour
    assert {query.name for query in _CATALOGUE if query.days} == set(_ASKED)


@pytest.mark.slow
def test_frozen_days_stay_with_their_organization(connection: Connection, now: datetime) -> None:
    """A trigger that moves takes what comes after the horizon along, and nothing of what is frozen."""
    freeze(connection)
    before: Any = ask(connection, "organization-usage", now, ["acme"]).rows[0][3]
    connection.execute("update triggers set organization_id = 'blue' where organization_id = 'acme'")
    rows = {row[0]: row[3] for row in ask(connection, "organization-usage", now, ["acme", "blue"]).rows}
    (frozen,) = connection.execute(
        "select sum(d.n) from analytics_refresh.frozen_days d join analytics_refresh.frozen_series s using (series)"
        " where s.organization_id = 'acme' and d.day > %s", [now - timedelta(days=90)]
    ).fetchall()  # fmt: skip
    assert 0 < frozen[0] < before
    assert rows["acme"] == frozen[0]
    named = {row[0]: row[1] for row in ask(connection, "most-active", now, ["acme"]).rows}
    assert named == {"one": None, "two": None}


@pytest.mark.slow
def test_hours_before_the_horizon_are_refused(connection: Connection, now: datetime) -> None:
    """A query by the hour, limited, has no figure there and says since when it has; without a limit it has all."""
    freeze(connection)
    for name, given in (
        ("hourly-actions", {"hours": 2000}),
        ("throughput", {"hours": 2000}),
        ("peak-hours", {"days": 80}),
    ):
        with pytest.raises(
            ParameterError, match=f"{name} limited to organizations or a trigger needs rows, .* ask --since 20"
        ):
            ask(connection, name, now, ["acme"], dict(given))
        assert ask(connection, name, now, None, dict(given)).frozen_until is None
        assert ask(connection, name, now, ["acme"], {}).frozen_until is None


@pytest.mark.slow
def test_a_query_over_rows_says_that_some_may_be_gone(connection: Connection, now: datetime) -> None:
    """Percentiles are made of rows alone: where the window begins before the horizon, that is said."""
    freeze(connection, 31)
    for limit in (None, ["acme"]):
        found = ask(connection, "latency", now, limit, {"hours": 744})
        assert "may be deleted" in found.notes[0]
        assert found.frozen_until is None
        assert not ask(connection, "latency", now, limit, {"hours": 24}).notes


@pytest.mark.slow
def test_the_command_says_what_is_frozen(dsn: str, connection: Connection) -> None:
    """JSON has the horizon and the notes; a table has notes beside it."""
    freeze(connection)
    asked = ("query", "summary", "--hours", "2000", "--organization", "acme")
    document = json.loads(command(dsn, *asked, "--format", "json").stdout)
    assert document["frozen_until"].startswith("20")
    assert "noon" in document["notes"][0]
    approximated = {column["name"]: column["approximated"] for column in document["columns"]}
    assert "frozen" in approximated["approx_p95_duration_ms"]
    assert "frozen" in approximated["min_duration_ms"]
    assert (document["rows"][0]["approx_p95_duration_ms"], document["rows"][0]["min_duration_ms"]) == (None, None)
    assert approximated["executions"] is None
    assert "noon is in the window" in command(dsn, *asked).stderr


@pytest.mark.slow
def test_the_dashboard_reads_days_as_the_catalogue_does(dsn: str, connection: Connection, now: datetime) -> None:
    """Of an organization, over 80 days, each panel over days shows what the query shows; before a freeze, too."""
    since = (now - timedelta(days=80)).replace(hour=0, minute=0, second=0, microsecond=0)
    with temporary_role(connection) as role:
        psql(dsn, "reader.sql", "-v", f"role={role}")
        with psycopg.connect(as_role(dsn, role), autocommit=True, options="-c timezone=UTC") as reader:
            for frozen in (False, True):
                if frozen:
                    freeze(connection)
                # it knows no prices, and leaves costs out
                for name, limit in product(_ASKED.keys() - {"organization-costs"}, (["acme"], None)):
                    query, chosen = _CATALOGUE.get(name), {"organization": "acme"} if limit else {}
                    rows = reader.execute(expanded(dashboard_sql(query, "public"), since, now, chosen)).fetchall()
                    bound = bind(query, {"since": since, "until": now}, limit, now, "public")
                    right = run(connection, in_database(connection, bound, now), raw=True)
                    shown = Result(query, right.columns, tuple(rows), right.parameters)
                    assert figures(shown) == figures(right), (name, limit, frozen)


@pytest.mark.slow
def test_days_that_are_missing_or_may_not_be_read_are_told(connection: Connection, now: datetime) -> None:
    """Whoever may not read frozen days, or asks for more than there are, reads so beside the figures."""
    freeze(connection)
    connection.execute("update analytics_refresh.incremental set days_since = frozen_until - interval '5 days'")
    assert "nothing is known of organizations before" in ask(connection, "daily-trend", now, ["acme"]).notes[1]
    role = f"reader_{uuid4().hex[:8]}"
    connection.execute(f"create role {role}; grant select on action_results, triggers, organizations to {role}")
    try:
        connection.execute(f"set role {role}")
        found = ask(connection, "daily-trend", now, ["acme"])
        assert "may not read frozen figures" in found.notes[0]
        assert found.frozen_until is None
    finally:
        connection.execute(f"reset role; drop owned by {role}; drop role {role}")
