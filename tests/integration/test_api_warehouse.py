"""The API with a warehouse as its engine: the same answers, and what happens where it is away."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest

from analytics_refreshd.api.openapi import openapi
from analytics_refreshd.api.routes import BASE, Route, routes_of
from analytics_refreshd.api.warehouse.reader import fleets
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.warehouse.catalogue.definition import answers
from analytics_refreshd.warehouse.client import Client
from analytics_refreshd.warehouse.settings import WarehouseSettings
from tests.integration.test_queries_exact import insert, shifted, stream
from tests.support.api import Answer, Api, api_role, make_key
from tests.support.clickhouse import PASSWORD, USER, ClickHouse, needs_chdb, serving
from tests.support.costs import COSTS
from tests.support.proxy import Proxy
from tests.support.waiting import eventually
from tests.support.warehouse_loading import load, tables

pytestmark = [needs_chdb, pytest.mark.slow]
CATALOGUE = Catalogue.load()
ROUTES = [route for route in routes_of(CATALOGUE, fleets()) if route.query.name in answers()]
NARROWED = {name for name, answer in answers().items() if answer.not_narrowed}
"""The queries that the warehouse cannot answer a tenant."""
UNSTEADY = {"as_of", "generated_at", "stale", "engine", "frozen_until", "window"}


@dataclass(frozen=True)
class World:
    """The API over the same figures twice: from PostgreSQL, and from the warehouse."""

    postgres: Api
    warehouse: Api
    server: ClickHouse
    settings: WarehouseSettings
    everything: str
    acme: str
    own: tuple[str, Path]
    """The database as the API's role sees it, and the secret's file."""


@pytest.fixture(scope="module")
def world(
    templates: Callable[..., str], migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One for all tests of this file, which only read. The warehouse also holds the database `west`."""
    dsn = templates(migrated_template)
    folder = tmp_path_factory.mktemp("engine")
    (folder / "password").write_text(PASSWORD)
    with (
        serving(folder / "data", walled="analytics") as server,
        psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection,
        api_role(dsn, connection, folder) as (own, secret),
    ):
        settings = WarehouseSettings(
            "shop", server.url, user=USER, password_file=folder / "password", connect_seconds=60
        )
        fill(connection)
        with tables(settings):
            for name in ("shop", "west"):
                load(replace(settings, name=name), connection)
            everything = make_key(dsn, "--all-organizations", "--role", "admin")
            acme = make_key(dsn, "--organization", "acme")
            given: dict[str, Any] = {
                "schedule__interval": "1h",
                "staleness__max_age": "3h",
                "service__name": "shop",
                # on a busy machine too, every question has its answer
                "api__statement_timeout": "60s",
                **COSTS,
            }
            with (
                Api(own, secret, **given) as postgres,
                Api(own, secret, **given, **reached(server.url, folder / "password")) as warehouse,
            ):
                yield World(postgres, warehouse, server, settings, everything, acme, (own, secret))


def fill(connection: psycopg.Connection[Any]) -> None:
    """Insert 2,000 actions of three tenants, the last ones of just now."""
    row = connection.execute("select date_trunc('second', now()) - interval '10 minutes'").fetchone()
    assert row is not None
    connection.execute("insert into users (id, username) values ('u', 'u')")
    connection.execute("alter table organizations alter column owner_id drop not null, alter column slug drop not null")
    insert(connection, shifted(stream(2_000), row[0]))
    assert all(one[3] for one in connection.execute("select * from refresh_action_analytics()"))


def reached(url: str, password: Path) -> dict[str, Any]:
    """The configuration by which the warehouse answers."""
    return {
        "api__engine": "warehouse",
        "warehouse__url": url,
        "warehouse__user": USER,
        "warehouse__password_file": str(password),
    }


def asked(route: Route) -> list[str]:
    """Query strings that an endpoint takes: its own values, a zone and filters, each with another order or page."""
    values = (("format", "json"), ("timezone", "America/Santiago"), ("action_type", "rest"),
              ("trigger_id", "trigger-3"), ("days", "3"), ("hours", "5"), ("weeks", "2"), ("by", "trigger"),
              ("metric", "max_duration_ms"), ("threshold", "97"), ("threshold", "0.01"))  # fmt: skip
    taken = {*route.parameters, *(["timezone"] if route.query.window else [])}
    chosen = [f"{name}={value}" for name, value in values if name in taken]
    pages = []
    if route.endpoint.shape == "list":
        first, last = route.endpoint.sorts[0], route.endpoint.sorts[-1]
        pages = ["limit=5&offset=900", f"sort={first}", f"sort=-{last}&limit=2&offset=1"]
    return ["", *("?" + "&".join(filter(None, both)) for both in zip_longest(chosen, pages, fillvalue=""))]


def steady(answer: Answer) -> Any:
    """The document without what tells when and by whom it was read."""
    document = answer.json
    document["meta"] = {name: value for name, value in document["meta"].items() if name not in UNSTEADY}
    return document


@pytest.mark.parametrize("tenant", [False, True], ids=["everything", "tenant"])
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.query.name)
def test_an_answer_is_that_of_postgresql(world: World, route: Route, tenant: bool) -> None:
    """Figures, order, pages and totals are the same to the last digit; what it does not hold PostgreSQL answers."""
    key = world.acme if tenant else world.everything
    path = route.paths[0].replace("{trigger_id}", "trigger-1")
    rows = 0
    held = not tenant or route.query.name not in NARROWED
    # where PostgreSQL answers both, one question tells it
    for question in asked(route) if held else [""]:
        wanted, got = (api.ask(path + question, key) for api in (world.postgres, world.warehouse))
        assert got.status == wanted.status, (question, got.body, wanted.body)
        if got.status != 200:
            continue
        if not question:
            assert got.json["meta"]["engine"] == ("warehouse" if held else "postgres")
        assert wanted.json["meta"]["engine"] == "postgres"
        assert steady(got) == steady(wanted), question
        rows += len(got.json["data"])
    assert rows or route.query.name == "idle-triggers"


def test_rows_as_csv_are_those_of_postgresql(world: World) -> None:
    """All rows come, by the same names and in the same order."""
    for route in ROUTES:
        path = route.paths[0].replace("{trigger_id}", "trigger-1") + "?format=csv"
        wanted, got = (api.ask(path, world.everything) for api in (world.postgres, world.warehouse))
        assert got.status == wanted.status == 200, (path, got.body)
        read = [list(csv.reader(io.StringIO(answer.body.decode()))) for answer in (got, wanted)]
        assert [[_number(cell) for cell in row] for row in read[0]] == [
            [_number(cell) for cell in row] for row in read[1]
        ]


def _number(cell: str) -> object:
    try:
        return float(cell)
    except ValueError:
        return cell


def test_an_answer_tells_the_last_batch_and_is_kept_until_the_next(world: World) -> None:
    """`as_of` is when it was folded; its ETag is a 304 until another lands, and nobody else's."""
    first = world.warehouse.ask("organizations/top", world.everything)
    meta = first.json["meta"]
    assert (meta["as_of"], meta["stale"], meta["engine"]) == ("2026-01-01T00:00:03Z", True, "warehouse")
    tag = first.headers["etag"]
    again = world.warehouse.ask("organizations/top", world.everything, {"If-None-Match": tag})
    assert (again.status, again.body) == (304, b"")
    tenants = world.warehouse.ask("organizations/top", world.acme, {"If-None-Match": tag})
    assert tenants.status == 200
    assert (
        world.warehouse.ask("organizations/top", world.everything).json["meta"]["generated_at"] == meta["generated_at"]
    )
    batch = ("insert into {target}.batches (database, epoch, batch, batch_id, folded_at, rows) "
             "select 'shop', 1, 4, generateUUIDv4(), '2026-01-01 00:00:04', 1")  # fmt: skip
    client = Client(world.settings)
    client.execute(batch.replace("{target}", world.settings.database))
    try:
        eventually(
            lambda: world.warehouse.ask("organizations/top", world.everything, {"If-None-Match": tag}).status == 200
        )
        later = world.warehouse.ask("organizations/top", world.everything)
        assert later.json["meta"]["as_of"] == "2026-01-01T00:00:04Z"
        # the small tables are of the batch before: such an answer is not kept
        assert "etag" not in later.headers
    finally:
        client.execute(
            f"alter table {world.settings.database}.batches delete where batch = 4 settings mutations_sync = 1"
        )


def test_a_fleet_is_for_who_sees_all(world: World) -> None:
    """Two databases with the same rows count twice; rows that are of one name it; a tenant is refused."""
    one = world.warehouse.ask("actions/success-rate", world.everything).json["data"]
    both = world.warehouse.ask("actions/success-rate?fleet=true", world.everything)
    assert both.status == 200, both.body
    assert both.json["meta"]["parameters"]["fleet"] is True
    counts = [{row["action_type"]: row["total_executions"] for row in rows} for rows in (one, both.json["data"])]
    assert {kind: 2 * count for kind, count in counts[0].items()} == counts[1]
    rows = world.warehouse.ask("organizations/top?fleet=true&limit=100", world.everything).json["data"]
    of = {name: [row["organization_id"] for row in rows if row["database"] == name] for name in ("shop", "west")}
    assert sorted(of["shop"]) == sorted(of["west"]) != []
    listed = world.warehouse.ask("organizations/top?fleet=true&format=csv", world.everything).body.decode()
    assert listed.startswith("database,organization_id,")
    for key, path, status, said in (
        (world.acme, "actions/success-rate?fleet=true", 403, "not for all"),
        (world.everything, "actions/success-rate?fleet=true&organization_id=acme", 403, "not for all"),
        (world.everything, "actions/distribution?fleet=true", 400, "fleet"),
        (world.everything, "failures/recent?fleet=true&since=2020-01-01T00:00:00Z", 400, ""),
        (world.everything, "failures/by-trigger?fleet=true&hours=48", 400, "last 24 hours"),
        (world.everything, "actions/success-rate?fleet=perhaps", 400, "true or false"),
    ):
        refused = world.warehouse.ask(path, key)
        assert (refused.status, said in refused.json["message"]) == (status, True), refused.body
    assert world.postgres.ask("actions/success-rate?fleet=true", world.everything).status == 400


def test_the_document_offers_a_fleet_where_there_is_one(world: World) -> None:
    """The parameter is described where the warehouse answers, and what is there without it stays."""
    documents = [api.ask("/api/v1/openapi.json").json for api in (world.postgres, world.warehouse)]
    assert documents[0] == json.loads(json.dumps(openapi(routes_of(CATALOGUE))))
    offered = [
        {
            path
            for path, methods in document["paths"].items()
            for one in methods["get"].get("parameters", [])
            if one["name"] == "fleet"
        }
        for document in (
            {"paths": {path: methods for path, methods in each["paths"].items() if "get" in methods}}
            for each in documents
        )
    ]
    assert offered[0] == set()
    assert f"{BASE}/actions/success-rate" in offered[1]
    assert f"{BASE}/actions/distribution" not in offered[1]
    assert f"{BASE}/triggers/{quote('{trigger_id}', safe='{}')}/stats" not in offered[1]
    for path, methods in documents[0]["paths"].items():
        assert set(methods) == set(documents[1]["paths"][path])


@pytest.mark.fault
def test_P21_without_its_warehouse_it_says_so_and_finds_it_again(world: World, tmp_path: Path) -> None:
    """503 with Retry-After and nothing secret; what PostgreSQL answers goes on; back again, no restart is needed."""
    given: dict[str, Any] = {"schedule__interval": "1h", "service__name": "shop"}
    (own, secret), password = world.own, tmp_path / "password"
    password.write_text(PASSWORD)
    behind = ("127.0.0.1", urlsplit(world.server.url).port or 0)
    with Proxy(behind) as proxy:
        reach = reached(f"http://127.0.0.1:{proxy.port}", password)
        with Api(own, secret, **given, **reach, api__statement_timeout="5s") as api:
            assert api.ask("actions/success-rate", world.everything).status == 200
            proxy.target = ("127.0.0.1", 1)
            # the connection that it keeps, too
            proxy.cut()
            away = api.ask("actions/success-rate?days=2", world.everything)
            assert (away.status, away.headers["retry-after"], away.json["error"]) == (503, "5", "service_unavailable")
            for text in (str(proxy.port), "127.0.0.1", "user", "url"):
                assert text not in away.body.decode()
            assert api.ask("meta/refresh-status", world.everything).status == 200
            proxy.target = behind
            eventually(lambda: api.ask("actions/success-rate?days=2", world.everything).status == 200)
            proxy.freeze()
            slow = api.ask("actions/success-rate?days=4", world.everything)
            assert (slow.status, slow.headers["retry-after"], slow.json["error"]) == (503, "5", "timeout")
            proxy.thaw()
            eventually(lambda: api.ask("actions/success-rate?days=4", world.everything).status == 200)
            line = api.wait_for("request.finished", lambda line: line["status"] == 503)
            assert "the warehouse cannot be reached" in line["error"]
