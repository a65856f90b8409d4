"""Every catalogue query against the same question answered from the rows in plain Python."""

import csv
import gzip
import json
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_refreshd.demo.actions import HISTORY, Generator, make_bursts
from analytics_refreshd.demo.world import make_world
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.run import bind, run
from tests.support.brute_force import ANSWERS, SETTINGS, Action, Data, Organization, Trigger
from tests.support.examples import examples

VIEWS = (
    "action_metrics_hourly",
    "trigger_performance_summary",
    "recent_failures",
    "action_type_distribution",
)
CATALOGUE = Catalogue.load()
BASE = datetime(2000, 1, 1, tzinfo=UTC)


def test_every_query_has_a_brute_force_twin() -> None:
    """All queries are compared; refresh-status, which asks the views themselves, has tests of its own."""
    assert set(ANSWERS) == set(CATALOGUE.queries) - {"refresh-status"}


def insert(connection: psycopg.Connection[Any], data: Data) -> None:
    """Write the rows; with triggers that are gone, the reference to them is dropped first."""
    connection.execute("alter table action_results drop constraint if exists action_results_trigger_id_fkey")
    with connection.cursor() as cursor:
        with cursor.copy("copy organizations (id, name, plan) from stdin") as copy:
            for organization in data.organizations.values():
                copy.write_row((organization.id, organization.name, organization.plan))
        with cursor.copy("copy triggers (id, organization_id, name, enabled, created_at) from stdin") as copy:
            for t in data.triggers.values():
                copy.write_row((t.id, t.organization_id, t.name, t.enabled, t.created_at))
        columns = (
            "id, job_id, trigger_id, event_id, action_type, status, executed_at, duration_ms, error_message,"
            " response_data, retry_count"
        )
        with cursor.copy(f"copy action_results ({columns}) from stdin") as copy:
            for a in data.actions:
                answer = None if a.response_data is None else json.dumps(a.response_data)
                times_and_kind = (a.action_type, a.status, a.executed_at, a.duration_ms)
                context = (a.error_message, answer, a.retry_count)
                copy.write_row((a.id, a.job_id, a.trigger_id, a.event_id, *times_and_kind, *context))


@contextmanager
def holding(connection: psycopg.Connection[Any], data: Data) -> Iterator[datetime]:
    """A database that holds the data, times shifted from BASE to its now, inside a transaction that is undone.

    The views are refreshed in the same transaction, so its now() is the views' and the queries'.
    """
    with connection.transaction(force_rollback=True):
        row = connection.execute("select now()").fetchone()
        assert row is not None
        insert(connection, shifted(data, row[0]))
        for view in VIEWS:
            connection.execute(f"refresh materialized view {view}")
        yield row[0]


def shifted(data: Data, now: datetime) -> Data:
    """The same data with BASE moved to `now`."""
    delta = now - BASE
    actions = tuple(
        replace(row, executed_at=row.executed_at + delta) if row.executed_at else row for row in data.actions
    )
    triggers = {key: replace(row, created_at=row.created_at + delta) for key, row in data.triggers.items()}
    return Data(actions, triggers, data.organizations)


def check(
    connection: psycopg.Connection[Any],
    data: Data,
    given: dict[str, object],
    limits: Sequence[Sequence[str] | None],
) -> None:
    """Compare every query, for every limit, with the brute-force answer on that tenant's data alone."""
    with holding(connection, data) as now:
        moved = shifted(data, now)
        for limit in limits:
            visible = moved if limit is None else moved.only(limit)
            for name, answer in ANSWERS.items():
                query = CATALOGUE.get(name)
                parameters = {
                    parameter.name: fitting(parameter.minimum, parameter.maximum, given[parameter.name])
                    if parameter.name in given
                    else parameter.default
                    for parameter in query.parameters
                }
                result = run(connection, bind(query, parameters, limit, now, "public", settings=SETTINGS), raw=True)
                expected = answer(visible, now, parameters)
                assert len(result.rows) == len(expected), (name, limit, result.rows, expected)
                for got, wanted in zip(result.rows, expected, strict=True):
                    for column, value, right in zip(result.columns, got, wanted, strict=True):
                        assert right == value, (name, limit, column.name, got, wanted)


def fitting(minimum: float | None, maximum: float | None, value: object) -> object:
    """The value moved into the parameter's bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or minimum is None or maximum is None:
        return value
    return int(max(minimum, min(maximum, value)))


ORGANIZATIONS = {
    "acme": Organization("acme", "Acme", "pro"),
    "blue": Organization("blue", "Blue", "free"),
    "idle": Organization("idle", "Never used", "starter"),
}
seconds_ago = st.one_of(
    st.integers(-1800, 26 * 3600),
    st.integers(0, 9 * 86400),
    st.integers(0, 80 * 86400),
    st.sampled_from([0, 3600, 24 * 3600, 7 * 86400, 30 * 86400]),
)
times = st.one_of(st.none(), *[seconds_ago.map(lambda ago: BASE - timedelta(seconds=ago))] * 7)
trigger_ids = st.one_of(st.none(), st.sampled_from(["t1", "t2", "t3", "t4", "T5", "gone"]))
actions = st.builds(
    Action,
    id=st.just(""),
    trigger_id=trigger_ids,
    action_type=st.sampled_from(["telegram", "rest", "mcp"]),
    status=st.sampled_from(["success", "success", "failed", "failed", "retrying"]),
    executed_at=times,
    duration_ms=st.one_of(st.none(), st.integers(0, 20_000), st.integers(0, 2_147_483_647)),
    error_message=st.sampled_from([None, "", "HTTP 502", "no response", "x" * 3000]),
    retry_count=st.sampled_from([None, 0, 0, 1, 2, 7]),
    response_data=st.sampled_from([None, {"code": 502}]),
)
triggers = st.fixed_dictionaries(
    {
        key: st.builds(
            Trigger,
            id=st.just(key),
            organization_id=st.sampled_from([None, "acme", "blue", "unknown"]),
            name=st.sampled_from([None, "Trigger"]),
            enabled=st.booleans(),
            created_at=st.integers(0, 90).map(lambda days: BASE - timedelta(days=days, seconds=1)),
        )
        for key in ("t1", "t2", "t3", "t4", "T5")
    }
)
parameters = st.fixed_dictionaries(
    {
        "hours": st.integers(1, 60),
        "days": st.integers(1, 60),
        "weeks": st.integers(1, 10),
        "months": st.integers(1, 5),
        "by": st.sampled_from(["organization", "trigger", "action_type"]),
        "limit": st.sampled_from([1, 3, 1000]),
        "min-executions": st.integers(1, 4),
        "above-ms": st.sampled_from([0, 5000, 10_000]),
        "below-percent": st.sampled_from([50, 80, 101]),
        "above": st.sampled_from([0, 1, 2]),
        "include-disabled": st.booleans(),
        "every": st.booleans(),
        "metric": st.sampled_from(["avg_duration_ms", "p95_duration_ms", "max_duration_ms"]),
        "trigger-id": st.sampled_from(["t1", "t5", "gone", "nobody"]),
    }
)


@pytest.mark.timeout(600)  # a failure is shrunk first, for up to five minutes
@settings(
    max_examples=examples(15),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(actions, max_size=60),
    owned=triggers,
    given=parameters,
    limit=st.lists(st.sampled_from(["acme", "blue", "unknown", "nobody"]), max_size=3),
)
@pytest.mark.slow
def test_equals_brute_force_on_random_data(
    connection: psycopg.Connection[Any],
    rows: list[Action],
    owned: dict[str, Trigger],
    given: dict[str, object],
    limit: list[str],
) -> None:
    """Each query equals the brute-force answer, without a limit and for any set of organizations."""
    numbered = tuple(replace(row, id=f"a{number}") for number, row in enumerate(rows))
    check(connection, Data(numbered, owned, ORGANIZATIONS), given, (None, limit))


def stream(rows: int) -> Data:
    """Sixty days of actions as a service makes them: busy hours, slow tails, three tenants, a few gaps."""
    chance = random.Random(7)
    owners = [None, "acme", "acme", "blue", "blue", "unknown"]
    owned = {
        f"trigger-{number}": Trigger(
            f"trigger-{number}", owners[number % 6], f"Job {number}", number % 7 > 0, BASE - timedelta(days=70)
        )
        for number in range(40)
    }
    made = []
    for number in range(rows):
        status = chance.choices(["success", "failed", "retrying"], [92, 6, 2])[0]
        ago = timedelta(days=60 * chance.random() ** 1.5)
        duration = min(int(chance.lognormvariate(6.5, 1.2)), 600_000)
        made.append(
            Action(
                id=f"action-{number}",
                trigger_id=None if chance.random() < 0.05 else f"trigger-{int(38 * chance.random() ** 2)}",
                action_type=chance.choice(["telegram", "rest", "rest", "mcp"]),
                status=status,
                executed_at=None if chance.random() < 0.002 else BASE - ago,
                duration_ms=None if status == "failed" and chance.random() < 0.3 else duration,
                error_message=f"HTTP {chance.choice([500, 502, 504])}" if status == "failed" else None,
                retry_count=chance.choices([0, 1, 3], [90, 7, 3])[0],
            )
        )
    return Data(tuple(made), owned, ORGANIZATIONS)


@pytest.mark.parametrize("rows", [5_000, pytest.param(20_000, marks=pytest.mark.nightly)])
@pytest.mark.slow
def test_equals_brute_force_on_a_stream(connection: psycopg.Connection[Any], rows: int) -> None:
    """On actions of 60 days, every query equals the brute-force answer for everyone and each tenant."""
    check(connection, stream(rows), {"every": True}, (None, ["acme"], ["blue", "unknown"], []))


def demo_actions(rows: int) -> Data:
    """What `demo` makes up for the 30 days before BASE."""
    world = make_world(3)
    made = Generator(world, random.Random(3), make_bursts(3, BASE)).history(rows, BASE - timedelta(seconds=1))
    return Data(
        tuple(
            Action(
                id=one.id,
                job_id=one.job_id,
                trigger_id=one.trigger_id,
                event_id=one.event_id,
                action_type=one.action_type,
                status=one.status,
                executed_at=one.executed_at,
                duration_ms=one.duration_ms,
                error_message=one.error_message,
                response_data=json.loads(one.response_data) if one.response_data else None,
                retry_count=one.retry_count,
            )
            for one in made
        ),
        {t.id: Trigger(t.id, t.organization_id, t.name, t.enabled, BASE - HISTORY) for t in world.triggers},
        {o.id: Organization(o.id, o.name, o.plan) for o in world.organizations},
    )


@pytest.mark.nightly
def test_equals_brute_force_on_the_demos_data(connection: psycopg.Connection[Any]) -> None:
    """On 20,000 actions as the demo makes them every query equals the brute-force answer, for everyone and a tenant."""
    data = demo_actions(20_000)
    assert len(data.actions) == 20_000
    check(connection, data, {}, (None, sorted(data.organizations)[:1]))


def real_actions() -> Data:
    """The recorded HTTP checks, shifted so that the last one is at BASE; each site's owner is its organization."""
    root = Path(__file__).resolve().parents[2]
    place = Path(os.environ.get("REFRESHD_TEST_DATA", root.parent / "shared" / "data"))
    file = place / "http_checks.csv.gz"
    if not file.is_file():
        pytest.skip(f"{file} is not there: set REFRESHD_TEST_DATA to the folder that holds it")
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    times = [datetime.fromisoformat(row["executed_at"]) for row in rows]
    times = [at if at.tzinfo else at.replace(tzinfo=UTC) for at in times]
    latest = max(times)
    made = tuple(
        Action(
            id=row["id"],
            job_id=row["job_id"],
            trigger_id=row["trigger_id"],
            event_id=row["event_id"] or None,
            action_type=row["action_type"],
            status=row["status"],
            executed_at=BASE - (latest - at) - timedelta(seconds=1),
            duration_ms=int(row["duration_ms"]) if row["duration_ms"] else None,
            error_message=row["error_message"] or None,
            response_data=json.loads(row["response_data"]) if row["response_data"] else None,
            retry_count=int(row["retry_count"]),
        )
        for row, at in zip(rows, times, strict=True)
    )
    owner = {row["trigger_id"]: row["organization_id"] for row in rows}
    owned = {key: Trigger(key, value, key, True, BASE - timedelta(days=30)) for key, value in owner.items()}
    names = {value: Organization(value, value, "free") for value in set(owner.values())}
    return Data(made, owned, names)


@pytest.mark.slow
def test_equals_brute_force_on_recorded_checks(connection: psycopg.Connection[Any]) -> None:
    """On 2,426 recorded HTTP checks every query equals the brute-force answer, for everyone and each service."""
    data = real_actions()
    assert len(data.actions) == 2426
    check(connection, data, {}, (None, *([key] for key in sorted(data.organizations))))


@pytest.mark.slow
def test_a_limit_equals_a_database_of_that_tenant_alone(connection: psycopg.Connection[Any]) -> None:
    """What a tenant is shown is what it would see if no other tenant had ever existed, approximations included."""
    data = stream(2_000)
    chance = random.Random(11)
    for _ in range(4):
        chosen = chance.sample(["acme", "blue", "unknown", "nobody"], chance.randint(1, 3))
        with holding(connection, data) as now:
            limited = {
                name: run(connection, bind(CATALOGUE.get(name), {}, chosen, now, "public"), raw=True).rows
                for name in ANSWERS
            }
        alone = shifted(data, now).only(chosen)
        with connection.transaction(force_rollback=True):
            insert(connection, alone)
            for view in VIEWS:
                connection.execute(f"refresh materialized view {view}")
            for name, rows in limited.items():
                full = run(connection, bind(CATALOGUE.get(name), {}, None, now, "public"), raw=True).rows
                assert full == rows, name
