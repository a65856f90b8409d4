"""The API over a frozen horizon: `retain` deleted the rows, and every figure of each tenant is still what it was."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest

from analytics_refreshd.api.routes import BASE, Route, routes_of
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.install import Retention
from tests.integration.test_api import same
from tests.integration.test_queries_exact import insert
from tests.integration.test_wall import rows as rows_behind
from tests.support.api import Api, api_role, make_key
from tests.support.brute_force import ANSWERS, Action, Data, Organization, Trigger
from tests.support.daemon import command
from tests.support.faults import value

pytestmark = pytest.mark.slow
ROUTES = {route.paths[0].removeprefix(f"{BASE}/"): route for route in routes_of(Catalogue.load())}
KEPT_DAYS = 40
RETENTION: dict[str, Any] = {
    "schedule__interval": "6h",
    "retention__rows": f"{KEPT_DAYS}d",
    "retention__horizon": "auto",
    "retention__max_share": 1.0,
}
TENANTS: dict[str, tuple[str, ...] | None] = {"everything": None, "acme": ("acme",), "two": ("acme", "blue")}
FILTERS: tuple[dict[str, str], ...] = (
    {},
    {"action_type": "rest"},
    {"trigger_id": "acme 1"},
    {"action_type": "mcp", "trigger_id": "blue 1"},
)


@dataclass(frozen=True)
class World:
    """An API, the database as its role and its owner see it, all actions that there ever were, and keys by tenant."""

    api: Api
    own: str
    owner: psycopg.Connection[Any]
    data: Data
    keys: dict[str, str]
    horizon: datetime


def _data(now: datetime) -> Data:
    """Actions of 85 days of two organizations and of nobody; each has a duration, so that averages are exact."""
    chance = random.Random(5)
    owned = {f"{owner} {number}": owner for owner in ("acme", "blue", "nobody") for number in range(3)}
    triggers = {
        key: Trigger(key, None if owner == "nobody" else owner, key.title(), True, now - timedelta(days=90))
        for key, owner in owned.items()
    }
    actions = tuple(
        Action(
            id=f"action {number}",
            trigger_id=chance.choice([*owned, None]),
            action_type=chance.choice(["rest", "mcp", "telegram"]),
            status=chance.choice(["success", "success", "failed", "retrying"]),
            executed_at=now - timedelta(days=85) * chance.random(),
            duration_ms=chance.randint(0, 9000),
            error_message=None,
            retry_count=chance.randint(0, 3),
        )
        for number in range(2_000)
    )
    return Data(actions, triggers, {name: Organization(name, name.title(), "pro") for name in ("acme", "blue")})


@pytest.fixture(scope="module")
def world(
    templates: Callable[..., str], migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One API for all tests of this file, which only read."""
    dsn, folder = templates(migrated_template), tmp_path_factory.mktemp("frozen")
    with (
        psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as owner,
        api_role(dsn, owner, folder) as (own, secret),
    ):
        owner.execute(
            "insert into users (id, username) values ('u', 'u');"
            " alter table organizations alter column owner_id drop not null, alter column slug drop not null"
        )
        data = _data(value(owner, "select date_trunc('second', now()) - interval '10 minutes'").astimezone(UTC))
        insert(owner, data)
        incremental.install(owner, retention=Retention(KEPT_DAYS * 86_400.0))
        token = json.loads(command(dsn, "retain", "--dry-run", "--format", "json", **RETENTION).stdout)["token"]
        done = command(dsn, "retain", "--confirm", token, **RETENTION)
        assert done.returncode == 0, done.stderr
        assert value(owner, "select count(*) from action_results") < 1_200
        assert all(one[3] for one in owner.execute("select * from refresh_action_analytics()"))
        horizon = value(owner, "select frozen_until from analytics_refresh.incremental").astimezone(UTC)
        options = {"everything": ("--all-organizations", "--role", "admin")} | {
            name: tuple(word for each in organizations for word in ("--organization", each))
            for name, organizations in TENANTS.items()
            if organizations
        }
        keys = {name: make_key(dsn, *words) for name, words in options.items()}
        with Api(own, secret, schedule__interval="6h", staleness__max_age="13h") as api:
            yield World(api, own, owner, data, keys, horizon)


def _visible(data: Data, organizations: tuple[str, ...] | None, filters: dict[str, str]) -> Data:
    """What a tenant sees, and what is asked for of it."""
    seen = data if organizations is None else data.only(organizations)
    kept = (row for row in seen.actions if all(getattr(row, name) == text for name, text in filters.items()))
    return replace(seen, actions=tuple(kept))


def _unlike(route: Route, answer: Any, wanted: list[Any], filters: dict[str, str]) -> list[str]:
    """Return the fields of an answer that are other figures than those of the rows."""
    rows = answer["data"] if route.endpoint.shape == "list" else [answer["data"]]
    assert len(rows) == len(wanted), (rows, wanted)
    places = {column.name: number for number, column in enumerate(route.query.columns)}
    unknown = {field.name for field in route.endpoint.fields if field.column.name in route.query.after_horizon}
    # a share is one of all types
    unknown |= {"percentage"} if "action_type" in filters else set()
    return [
        f"{field.name}: {got[field.name]} for {right[places[field.column.name]]}"
        for got, right in zip(rows, wanted, strict=True)
        for field in route.endpoint.fields
        if field.name not in unknown and not same(got[field.name], right[places[field.column.name]])
    ]


@pytest.mark.parametrize("tenant", TENANTS)
@pytest.mark.parametrize(
    "path",
    ["actions/daily", "actions/success-rate", "actions/distribution", "growth/weekly", "health/summary",
     "organizations/usage", "triggers/most-active"],
)  # fmt: skip
def test_figures_of_deleted_rows_are_those_of_the_rows(world: World, path: str, tenant: str) -> None:
    """For each endpoint over days, each tenant and each filter: what a list of all actions gives, in plain Python."""
    route = ROUTES[path]
    for filters in FILTERS:
        asked = dict(filters)
        if route.endpoint.shape == "list":
            asked["limit"] = "100"
        if path == "growth/weekly":
            asked["weeks"] = "11"
        elif path == "actions/daily":
            asked["days"] = "80"
        else:
            # at midnight, so that days can be compared with rows
            midnight = (world.horizon - timedelta(days=20)).replace(hour=0)
            asked["since"] = f"{midnight:%Y-%m-%dT%H:%M:%SZ}"
        answer = world.api.ask(f"{path}?{urlencode(asked)}", world.keys[tenant])
        assert answer.status == 200, answer.body
        meta = answer.json["meta"]
        assert datetime.fromisoformat(meta["frozen_until"]) == world.horizon
        given: dict[str, object] = {item.name: item.default for item in route.query.parameters}
        since, until = (datetime.fromisoformat(meta["window"][name]) for name in ("since", "until"))
        given |= {"since": since, "until": until, "limit": 10**9}
        if path == "growth/weekly":
            # the week before is compared with
            given["since"] = since - timedelta(weeks=1)
        given["hours"] = (until - since) // timedelta(hours=1)
        now = datetime.fromisoformat(meta["generated_at"])
        wanted = ANSWERS[route.query.name](_visible(world.data, TENANTS[tenant], filters), now, given)
        assert _unlike(route, answer.json, wanted, filters) == [], (asked, answer.json)
        limited = TENANTS[tenant] is not None or "trigger_id" in filters
        reads_days = limited or path in ("actions/distribution", "organizations/usage", "triggers/most-active")
        assert bool(meta["notes"]) is reads_days
        unknown = {field.name for field in route.endpoint.fields if field.column.name in route.query.after_horizon}
        assert not reads_days or unknown <= set(meta["approximate"])
        if path == "health/summary":
            shown = answer.json["data"]
            assert (shown["p95_duration_ms"] is None) is (shown["p99_duration_ms"] is None) is reads_days


def test_what_days_do_not_hold_is_refused_with_the_horizon(world: World) -> None:
    """A tenant's hours before it, or a trigger's; asked since then, as the sentence says, they are there."""
    for path in ("throughput/peak-hours?days=80", "actions/heatmap?days=80", "actions/correlations?days=80"):
        assert world.api.ask(path, world.keys["everything"]).status == 200
        for asked, tenant in ((path, "acme"), (f"{path}&trigger_id=acme%201", "everything")):
            for form in ("", "&format=csv"):
                refused = world.api.ask(asked + form, world.keys[tenant])
                assert (refused.status, refused.json["error"]) == (400, "validation_error")
            since = refused.json["message"].rpartition("ask since ")[2]
            assert datetime.fromisoformat(since) == world.horizon
            again = world.api.ask(asked.replace("days=80", f"since={since}"), world.keys[tenant])
            assert (again.status, again.json["meta"]["notes"]) == (200, [])


def test_an_answer_over_rows_alone_says_that_some_may_be_gone(world: World) -> None:
    """Percentiles are made of rows; what is younger than the horizon is whole, and says nothing."""
    old = (world.horizon - timedelta(days=10)).strftime("since=%Y-%m-%dT%H:%M:%SZ")
    until = (world.horizon - timedelta(days=8)).strftime("until=%Y-%m-%dT%H:%M:%SZ")
    for path in ("actions/latency", "failures/by-action-type"):
        meta = world.api.ask(f"{path}?{old}&{until}", world.keys["acme"]).json["meta"]
        assert "may be deleted" in meta["notes"][0]
        meta = world.api.ask(path, world.keys["acme"]).json["meta"]
        assert (meta["notes"], datetime.fromisoformat(meta["frozen_until"])) == ([], world.horizon)
    for path in ("meta/refresh-status", "actions/hourly"):
        meta = world.api.ask(path, world.keys["everything"]).json["meta"]
        assert datetime.fromisoformat(meta["frozen_until"]) == world.horizon


def test_P02_frozen_days_are_behind_the_wall(world: World) -> None:
    """Whatever a text asks, it finds the days of who is admitted; the tables themselves are closed to it."""
    text = "select distinct d.organization_id from analytics_api.frozen_days('-infinity', 'infinity') d order by 1"
    with psycopg.connect(world.own, autocommit=True) as own:
        assert rows_behind(own, text, ("acme",)) == [("acme",)]
        assert rows_behind(own, text, ("acme", "blue")) == [("acme",), ("blue",)]
        assert rows_behind(own, text, ("nobody",)) == rows_behind(own, text, ()) == []
        assert own.execute(text).fetchall() == []
        assert len(rows_behind(own, text, None)) == 3
        for table in ("frozen_days", "frozen_series", "incremental"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute(f"select * from analytics_refresh.{table}")
