"""The REST API as its clients see it: a real process, a real database, figures counted again in plain Python."""

import base64
import csv
import gzip
import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jsonschema
import psycopg
import pytest

from analytics_refreshd.api.openapi import openapi
from analytics_refreshd.api.routes import BASE, STREAM_PATHS, Route, routes_of
from analytics_refreshd.postgres.catalogue.files import Catalogue
from tests.generate.api_dashboard import PICKED
from tests.integration.test_queries_exact import ORGANIZATIONS, insert, shifted, stream
from tests.support.api import Api, api_role, make_key
from tests.support.brute_force import ANSWERS, Data, Estimate
from tests.support.costs import COSTS
from tests.support.generated_client import GeneratedClient

pytestmark = pytest.mark.slow
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
CATALOGUE = Catalogue.load()
ROUTES = routes_of(CATALOGUE)
DOCUMENT = openapi(ROUTES)
OWN = """-- name: own
-- section: our own
-- endpoint: types
-- purpose: How many actions of each type?
-- parameter: least integer default 0 min 0 max 100; Types with fewer are left out
-- parameter: limit integer default 5 min 1 max 10; Rows at most
-- window: days in hours
-- parameter: days integer default 7 min 1 max 30; Days
-- organizations: yes
-- column: action_type text; The type
-- column: actions count; How many
select a.action_type, count(*) as actions from {actions} as a group by 1 having count(*) >= %(least)s
 order by 1 limit %(limit)s
"""


@dataclass(frozen=True)
class World:
    """The API over 3,000 actions of three tenants."""

    api: Api
    dsn: str
    data: Data
    everything: str
    acme: str


@pytest.fixture(scope="module")
def world(
    templates: Callable[..., str], migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One API for all tests of this file, which only read."""
    dsn = templates(migrated_template)
    folder = tmp_path_factory.mktemp("queries")
    (folder / "own.sql").write_text(OWN)
    with (
        psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection,
        api_role(dsn, connection, folder) as (own, secret),
    ):
        row = connection.execute("select date_trunc('second', now()) - interval '10 minutes'").fetchone()
        assert row is not None
        data = shifted(stream(3_000), row[0])
        formula = replace(data.organizations["acme"], name="=1+1")
        data = replace(data, organizations={**data.organizations, "acme": formula})
        connection.execute("insert into users (id, username) values ('u', 'u')")
        connection.execute(
            "alter table organizations alter column owner_id drop not null, alter column slug drop not null"
        )
        insert(connection, data)
        assert all(one[3] for one in connection.execute("select * from refresh_action_analytics()"))
        everything = make_key(dsn, "--all-organizations", "--role", "admin")
        acme = make_key(dsn, "--organization", "acme")
        given: dict[str, Any] = {"schedule__interval": "1h", "staleness__max_age": "3h", **COSTS}
        with Api(own, secret, queries__directory=folder, **given) as api:
            yield World(api, dsn, data, everything, acme)


def json_value(value: object) -> object:
    """A figure of the brute-force answer as the API writes it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def same(got: object, wanted: object) -> bool:
    """Whether a figure of the API is that of the brute-force answer."""
    if isinstance(wanted, Decimal) and isinstance(got, str):
        # money is text, so that no reader makes a float of it
        return Decimal(got) == wanted
    if isinstance(wanted, Estimate):
        return wanted == (None if got is None else Decimal(str(got)))
    return got == json_value(wanted) or (isinstance(got, float) and math.isclose(got, float(str(wanted)), abs_tol=1e-9))


PATHS = [path for route in ROUTES for path in route.paths if route.query.name in ANSWERS]


def route_of(path: str) -> Route:
    """The route of a path."""
    return next(route for route in ROUTES if path in route.paths)


@pytest.mark.parametrize("tenant", [False, True], ids=["everything", "tenant"])
def test_figures_equal_brute_force(world: World, tenant: bool) -> None:
    """Each endpoint's fields are those of the rows, for everybody and for a tenant alone."""
    key = world.acme if tenant else world.everything
    visible = world.data.only(["acme"]) if tenant else world.data
    asked = next(one for one in visible.triggers if one == "trigger-1")
    for path in PATHS:
        route = route_of(path)
        filled = path.replace("{trigger_id}", asked)
        answer = world.api.ask(f"{filled}?limit=3" if route.endpoint.shape == "list" else filled, key)
        assert answer.status == 200, (path, answer.body)
        document = answer.json
        now = datetime.fromisoformat(document["meta"]["generated_at"])
        if route.query.name == "distribution" and not tenant:
            now = datetime.fromisoformat(document["meta"]["as_of"])
        given: dict[str, object] = {item.name: item.default for item in route.query.parameters}
        given["limit"] = 10**9
        if "trigger-id" in given:
            given["trigger-id"] = asked
        every = ANSWERS[route.query.name](visible, now, given)
        if route.endpoint.order == "-hour":
            every = sorted(every, key=lambda row: row[0], reverse=True)
        rows = document["data"] if route.endpoint.shape == "list" else [document["data"]]
        places = {column.name: number for number, column in enumerate(route.query.columns)}
        expected = every[:3] if route.endpoint.shape == "list" else every
        assert len(rows) == len(expected), (path, rows, expected)
        for got, wanted in zip(rows, expected, strict=True):
            assert list(got) == [field.name for field in route.endpoint.fields]
            for field in route.endpoint.fields:
                right = wanted[places[field.column.name]]
                assert same(got[field.name], right), (path, tenant, field.name, got[field.name], right)
        if route.endpoint.shape == "list":
            assert document["pagination"] == {
                "total": len(every),
                "limit": 3,
                "offset": 0,
                "has_more": len(every) > 3,
            }, path


def test_every_answer_is_as_the_openapi_document_says(world: World) -> None:
    """Also the fields' types; the document that is served is the one of the catalogue, and of the user's own query."""
    served = world.api.ask("/api/v1/openapi.json")
    assert served.status == 200
    document = served.json
    assert set(document["paths"]) == set(DOCUMENT["paths"]) | {f"{BASE}/custom/types"}
    for path, operations in document["paths"].items():
        if path in STREAM_PATHS or not path.startswith(BASE):
            continue
        schema = operations["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        answer = world.api.ask(path.replace("{trigger_id}", "trigger-1"), world.everything)
        assert answer.status == 200, (path, answer.body)
        jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(answer.json)


CALLS = """
import json, sys
from client import AuthenticatedClient
from client.api.default import queries
from client.api.operators import ask_pause
from client.api.our_own import own
from client.api.performance import slowest_triggers
from client.api.success_rate import hourly_actions, success_rate
from client.api.trigger_health import trigger_stats
from client.models import AskPauseBody, Problem, SlowestTriggersMetric, SlowestTriggersSort

def client(key):
    return AuthenticatedClient(base_url=sys.argv[1], token=key, prefix="", auth_header_name="X-API-Key")

def problem(answer):
    assert isinstance(answer, Problem), answer
    return [answer.status, answer.error, answer.message]

with client(sys.argv[2]) as api:
    seen, offset, more = [], 0, True
    while more:
        page = slowest_triggers.sync(
            client=api, metric=SlowestTriggersMetric.MAX_DURATION_MS, sort=SlowestTriggersSort.TRIGGER_NAME,
            limit=7, offset=offset)
        seen += [row.trigger_id for row in page.data]
        offset, more = offset + page.pagination.limit, page.pagination.has_more
    hours = hourly_actions.sync(client=api, hours=3, action_type="rest")
    print(json.dumps({
        "rates": [row.to_dict() for row in success_rate.sync(client=api, days=30).data],
        "hours": [row.hour.timestamp() for row in hours.data],
        "window": [hours.meta.window.since.timestamp(), hours.meta.window.until.timestamp()],
        "seen": [seen, page.pagination.total],
        "one": trigger_stats.sync("trigger-1", client=api).data.to_dict()["total_executions"],
        "own": [row.actions for row in own.sync(client=api, least=1).data],
        "queries": len(queries.sync(client=api).data),
        "problems": [
            problem(success_rate.sync(client=api, days=1000)),
            problem(trigger_stats.sync("nowhere", client=api)),
            problem(ask_pause.sync(client=api, body=AskPauseBody(for_="2h", reason="import"))),
            problem(success_rate.sync(client=client("rfd_" + 43 * "a"), days=7)),
        ],
    }))
"""


def test_a_generated_client_calls_it(world: World, tmp_path: Path) -> None:
    """Of openapi-python-client, which warns of nothing: rows, pages, times, the user's own query, and problems."""
    document = world.api.ask("/api/v1/openapi.json").json
    client = GeneratedClient(document, tmp_path)
    told = client.call(CALLS, f"http://127.0.0.1:{world.api.port}", world.everything)

    def answer(path: str) -> Any:
        return world.api.ask(path, world.everything).json

    assert told["rates"] == answer("actions/success-rate?days=30")["data"]
    hours = answer("actions/hourly?hours=3&action_type=rest")
    assert told["hours"] == [datetime.fromisoformat(row["hour"]).timestamp() for row in hours["data"]]
    assert told["window"] == [datetime.fromisoformat(at).timestamp() for at in hours["meta"]["window"].values()]
    every = answer("triggers/slowest?metric=max_duration_ms&sort=trigger_name&limit=100")
    assert told["seen"] == [[row["trigger_id"] for row in every["data"]], every["pagination"]["total"]]
    assert len(every["data"]) > 7
    assert told["one"] == answer("triggers/trigger-1/stats")["data"]["total_executions"]
    assert told["own"] == [row["actions"] for row in answer("custom/types?least=1")["data"]]
    assert told["queries"] == len(answer("meta/queries")["data"])
    problems = [
        world.api.ask("actions/success-rate?days=1000", world.everything),
        world.api.ask("triggers/nowhere/stats", world.everything),
        world.api.post("pause", world.everything, members={"for": "2h", "reason": "import"}),
        world.api.ask("actions/success-rate", "rfd_" + 43 * "a"),
    ]
    assert told["problems"] == [[each.status, each.json["error"], each.json["message"]] for each in problems]
    assert [each.status for each in problems] == [400, 404, 403, 401]


def test_the_documentation_is_a_page_that_loads_nothing_else(world: World) -> None:
    """Every path, parameter and field is on it; its policy allows its own style alone."""
    answer = world.api.ask("/api/v1/docs")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = answer.body.decode()
    style = page.partition("<style>")[2].partition("</style>")[0]
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{allowed}'" in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for path, operations in world.api.ask("/api/v1/openapi.json").json["paths"].items():
        for method, operation in operations.items():
            assert f"{method.upper()} {path}<" in page
            for parameter in operation["parameters"]:
                assert f"<code>{parameter['name']}</code>" in page
    assert all(f"<code>{field.name}</code>" in page for route in ROUTES for field in route.endpoint.fields)
    assert "<td>30</td><td>1 to 365</td><td>Days of the window" in page
    assert "built-in" not in page
    assert not re.search(r"<script|<link|<img|src=|url\(|https?://", page)


@pytest.mark.parametrize("tenant", [False, True], ids=["everything", "tenant"])
def test_every_panel_of_the_apis_dashboard_is_answered(world: World, tenant: bool) -> None:
    """With the times that Grafana's picker gives by default, and the fields that the panel names."""
    document = json.loads((DEPLOY / "grafana" / "api-dashboard.json").read_text("utf-8"))
    assert document["time"] == {"from": "now-24h", "to": "now"}
    now = datetime.now(UTC)
    picked = {"since": now - timedelta(hours=24), "until": now}
    times = {
        PICKED[name]: f"{at.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z" for name, at in picked.items()
    }
    for panel in document["panels"]:
        for target in panel.get("targets", []):
            given = {each["key"]: times.get(each["value"], each["value"]) for each in target["url_options"]["params"]}
            answer = world.api.ask(f"{target['url']}?{urlencode(given)}", world.acme if tenant else world.everything)
            assert answer.status == 200, (target["url"], answer.body)
            data = answer.json[target["root_selector"]]
            rows = data if isinstance(data, list) else [data]
            assert all({each["selector"] for each in target["columns"]} == set(row) for row in rows)


def test_an_own_query_is_an_endpoint(world: World) -> None:
    """A file of the user's is one below /custom/, with its parameters, filters and pages."""
    answer = world.api.ask("custom/types?least=1&limit=2&days=30", world.everything)
    assert answer.status == 200, answer.body
    assert answer.json["pagination"]["limit"] == 2
    assert [row["action_type"] for row in answer.json["data"]] == ["mcp", "rest"]
    assert answer.json["meta"]["parameters"] == {"least": 1, "days": 30}
    one = world.api.ask("custom/types?action_type=rest", world.everything).json
    assert [row["action_type"] for row in one["data"]] == ["rest"]


def test_meta_tells_of_window_age_and_parameters(world: World) -> None:
    """A view's answer is as old as the view; one from rows is of now. What is approximate is named."""
    view = world.api.ask("actions/hourly?hours=3", world.everything).json["meta"]
    assert (view["stale"], view["parameters"]) == (False, {"hours": 3})
    assert view["approximate"] == ["avg_duration_ms", "p95_duration_ms"]
    assert (view["frozen_until"], view["notes"]) == (None, [])
    since, until = (datetime.fromisoformat(view["window"][name]) for name in ("since", "until"))
    assert until - since == timedelta(hours=3)
    with psycopg.connect(world.dsn) as connection:
        row = connection.execute(
            "select greatest(last_success_at, last_checked_at) from analytics_refresh.last_refresh"
            " where view_name = 'action_metrics_hourly'"
        ).fetchone()
    assert row is not None
    assert datetime.fromisoformat(view["as_of"]) == row[0]
    rows = world.api.ask("actions/latency", world.everything).json["meta"]
    assert rows["as_of"] == rows["generated_at"]
    assert world.api.ask("actions/hourly", world.acme).json["meta"]["as_of"] > view["as_of"]


def test_a_span_and_filters_replace_the_window(world: World) -> None:
    """`since` and `until` stand for days or hours, in any zone; type and trigger limit what is counted."""
    asked = "actions/daily?since=2026-01-01T00:00:00%2B01:00&until=2026-01-03T00:00:00Z&timezone=Europe/Berlin"
    answer = world.api.ask(asked, world.everything)
    assert answer.status == 200, answer.body
    assert answer.json["meta"]["window"] == {"since": "2025-12-31T23:00:00Z", "until": "2026-01-03T23:00:00Z"}
    assert answer.json["meta"]["parameters"]["timezone"] == "Europe/Berlin"
    spaced = world.api.ask(asked.replace("%2B", "+"), world.everything)
    assert spaced.json["data"] == answer.json["data"]
    for path in ("actions/success-rate?days=60", "actions/latency?hours=168", "failures/by-action-type?hours=168"):
        for name, value in (("action_type", "rest"), ("trigger_id", "trigger-1")):
            extra = f"{name}={value}"
            for key, data in ((world.everything, world.data), (world.acme, world.data.only(["acme"]))):
                answer = world.api.ask(f"{path}&{extra}", key)
                assert answer.status == 200, answer.body
                route = route_of(f"{BASE}/{path.partition('?')[0]}")
                kept = replace(data, actions=tuple(row for row in data.actions if getattr(row, name) == value))
                now = datetime.fromisoformat(answer.json["meta"]["generated_at"])
                given: dict[str, object] = {"days": 60, "hours": 168}
                every = ANSWERS[route.query.name](kept, now, given)
                figures = [next(value for value in row if isinstance(value, int)) for row in every]
                counted = next(field.name for field in route.endpoint.fields if field.column.unit == "count")
                if counted == "sample_count":
                    figures = [row[2] for row in every]
                assert [row[counted] for row in answer.json["data"]] == figures, (path, extra)


def test_pages_are_whole_and_in_order(world: World) -> None:
    """Page by page each row comes once, in the order asked for; Link leads on and back."""
    path, seen = "triggers/slowest?limit=7&sort=-total_executions", []
    answer = world.api.ask(path, world.everything)
    while True:
        seen += answer.json["data"]
        parts = [part.strip().split("; ") for part in answer.headers.get("link", "").split(",") if part]
        links = {relation: target.strip("<>") for target, relation in parts}
        if 'rel="next"' not in links:
            break
        assert answer.json["pagination"]["has_more"]
        answer = world.api.ask(links['rel="next"'], world.everything)
    assert 'rel="prev"' in links
    assert not answer.json["pagination"]["has_more"]
    assert len(seen) == answer.json["pagination"]["total"] == len({row["trigger_id"] for row in seen})
    figures = [row["total_executions"] for row in seen]
    assert figures == sorted(figures, reverse=True)
    beyond = world.api.ask("triggers/slowest?offset=9999", world.everything).json
    assert (beyond["data"], beyond["pagination"]["total"]) == ([], len(seen))


@pytest.mark.parametrize(
    ("path", "status", "code", "said"),
    [
        ("actions/hourly?hour=3", 400, "validation_error", "did you mean hours?"),
        ("actions/hourly?hours=0", 400, "validation_error", "hours must be at least 1"),
        ("actions/hourly?hours=169", 400, "validation_error", "hours must be at most 168"),
        ("actions/hourly?hours=x", 400, "validation_error", "hours must be a whole number"),
        ("actions/hourly?hours=1&hours=2", 400, "validation_error", "twice"),
        ("actions/hourly?hours=1&since=2026-01-01T00:00:00Z", 400, "validation_error", "not both"),
        ("actions/hourly?since=yesterday", 400, "validation_error", "since must be a time"),
        ("actions/hourly?until=2026-01-01T00:00:00Z", 400, "validation_error", "until needs since"),
        ("actions/hourly?timezone=Mars/Olympus", 400, "validation_error", "timezone must be a name"),
        ("actions/hourly?since=2020-01-01T00:00:00Z", 400, "validation_error", "at most 168 hours"),
        ("triggers/slowest?limit=0", 400, "validation_error", "limit must be at least 1"),
        ("triggers/slowest?limit=101", 400, "validation_error", "limit must be at most 100"),
        ("triggers/slowest?offset=10001", 400, "validation_error", "offset must be at most 10000"),
        ("triggers/slowest?metric=id", 400, "validation_error", "metric must be one of"),
        ("triggers/slowest?sort=password", 400, "validation_error", "sort must be one of"),
        ("failures/top-errors?limit=51", 400, "validation_error", "limit must be at most 50"),
        ("triggers/low-success-rate?threshold=101", 400, "validation_error", "threshold must be at most 100"),
        ("triggers/nobody/stats", 404, "not_found", "nothing of that name"),
        ("triggers/trigger-%00/stats", 400, "validation_error", "without NUL"),
        ("meta/queries?organisation_id=acme", 400, "validation_error", "did you mean organization_id?"),
        ("meta/refresh-status?organization_id=", 400, "bad_request", "no organization id"),
        ("triggers/{trigger_id}/stats", 404, "not_found", "nothing of that name"),
        ("nothing", 404, "not_found", "no such path"),
    ],
)
def test_P01_a_wrong_request_is_a_problem_document(world: World, path: str, status: int, code: str, said: str) -> None:
    """RFC 9457, with the members that clients know; the sentence says what works."""
    answer = world.api.ask(path, world.everything)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json
    assert (problem["status"], problem["error"]) == (status, code)
    assert said in problem["message"]
    assert problem["detail"] == problem["message"]
    assert {"type", "title", "instance", "details"} <= set(problem)
    assert "--" not in problem["message"]


def test_P02_who_has_no_key_sees_nothing(world: World) -> None:
    """Every path of data asks for one; what another tenant owns is not there."""
    for path in [*PATHS, f"{BASE}/meta/refresh-status", f"{BASE}/meta/queries", f"{BASE}/custom/types"]:
        answer = world.api.ask(path.replace("{trigger_id}", "trigger-1"))
        assert (answer.status, answer.json["error"]) == (401, "unauthorized"), path
        assert answer.headers["content-type"] == "application/problem+json"
    foreign = next(key for key, trigger in world.data.triggers.items() if trigger.organization_id == "blue")
    assert world.api.ask(f"triggers/{foreign}/stats", world.everything).status == 200
    assert world.api.ask(f"triggers/{foreign}/stats", world.acme).status == 404
    named = world.api.ask("organizations/top", world.everything, {"X-Organization-ID": "blue"}).json
    assert [row["organization_id"] for row in named["data"]] == ["blue"]
    assert set(ORGANIZATIONS) >= {"acme", "blue"}


def test_freshness_is_for_all_and_sizes_for_who_sees_all(world: World) -> None:
    """A tenant learns how fresh the views are, not how much all tenants together have."""
    everything = world.api.ask("meta/refresh-status", world.everything).json
    tenant = world.api.ask("meta/refresh-status", world.acme).json
    assert tenant["summary"] == {"all_views_fresh": True}
    outlook = everything["summary"].pop("outlook")
    assert everything["summary"] == {"all_views_fresh": True, "last_cost": None}
    assert [one["quantity"] for one in outlook] == ["refresh_time", "success_rate"]
    assert (outlook[0]["state"], outlook[0]["value"], outlook[0]["limit"]) == ("unknown", None, 3600)
    assert len(everything["data"]) == len(tenant["data"]) == 4
    assert all(row["row_count"] and row["size_bytes"] for row in everything["data"])
    assert all(row["row_count"] is None and row["size_bytes"] is None for row in tenant["data"])
    assert [row["last_refresh"] for row in tenant["data"]] == [row["last_refresh"] for row in everything["data"]]


def test_an_answer_from_views_can_be_kept_and_is_not_sent_twice(world: World) -> None:
    """ETag and max-age come from the views' last success; another tenant, parameter or refresh has another tag."""
    first = world.api.ask("triggers/slowest", world.everything)
    assert first.headers["cache-control"].startswith("private, max-age=")
    tag = first.headers["etag"]
    again = world.api.ask("triggers/slowest", world.everything, {"If-None-Match": f'"other", {tag}'})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert world.api.ask("triggers/slowest?limit=2", world.everything).headers["etag"] != tag
    assert world.api.ask("triggers/slowest", world.acme).headers["etag"] != tag
    assert world.api.ask("triggers/slowest", world.acme, {"If-None-Match": tag}).status == 200
    assert world.api.ask("triggers/slowest", None, {"If-None-Match": tag}).status == 401
    rows = world.api.ask("actions/latency", world.everything)
    assert "etag" not in rows.headers
    assert rows.headers["cache-control"] == "private, no-cache"


def test_the_catalogue_tells_of_itself(world: World) -> None:
    """`meta/queries` lists every endpoint, its parameters and what its fields mean."""
    listed = world.api.ask("meta/queries", world.everything).json["data"]
    assert {one["query"] for one in listed} == {*CATALOGUE.queries, "own"}
    assert all(field["meaning"] for one in listed for field in one["fields"])


def test_costs_are_exact_and_what_has_no_price_is_unknown(world: World) -> None:
    """By organization, trigger or type; one month; JSON as text, CSV as digits; said to be no bill."""
    document = world.api.ask("organizations/costs?months=3&by=action_type", world.acme).json
    assert {row["organization_id"] for row in document["data"]} == {"acme"}
    assert {row["action_type"]: row["cost"] is None for row in document["data"]} == {
        "rest": False, "telegram": False, "mcp": True,
    }  # fmt: skip
    assert any("never a bill" in note for note in document["meta"]["notes"])
    assert sum(row["unpriced_executions"] for row in document["data"]) > 0
    month = document["data"][0]["month"]
    one = world.api.ask(f"organizations/costs?month={month}&by=action_type", world.acme).json
    assert one["data"] == [row for row in document["data"] if row["month"] == month]
    assert one["meta"]["window"]["since"].startswith(f"{month}-01T00:00:00")
    rows = world.api.ask(f"organizations/costs?month={month}&by=action_type&format=csv", world.acme).body.decode()
    for row, wanted in zip(csv.DictReader(io.StringIO(rows)), one["data"], strict=True):
        assert (row["cost"], row["priced_cost"]) == (wanted["cost"] or "", wanted["priced_cost"] or "")
        assert (list(row)[-1], "never a bill" in row["note"]) == ("note", True)
    for wrong, said in (
        ("month=2026-13", "month must be a month such as 2026-03"),
        ("month=2026-03&months=2", "give month, or months, not both"),
        ("month=2026-03&since=2026-03-01T00:00:00Z", "give month, or since and until, not both"),
        ("by=job", "by must be one of organization, trigger, action_type"),
    ):
        answer = world.api.ask(f"organizations/costs?{wrong}", world.acme)
        assert (answer.status, said in answer.json["message"]) == (400, True), answer.body


def test_rows_come_as_csv(world: World) -> None:
    """By `format` or Accept, all rows, with exact figures; a text that a spreadsheet would run gets an apostrophe."""
    pages = world.api.ask("triggers/slowest?limit=100&sort=trigger_id", world.everything).json
    answer = world.api.ask("triggers/slowest?format=csv&sort=trigger_id", world.everything)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert answer.headers["content-disposition"] == 'attachment; filename="triggers-slowest.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
    assert len(rows) == pages["pagination"]["total"]
    for row, wanted in zip(rows, pages["data"], strict=False):
        assert list(row) == list(wanted)
        assert row["trigger_name"] == (wanted["trigger_name"] or "")
        assert float(row["p95_duration_ms"]) == wanted["p95_duration_ms"]
        assert datetime.fromisoformat(row["last_execution_at"]) == datetime.fromisoformat(wanted["last_execution_at"])
    accepted = world.api.ask("triggers/slowest?limit=2", world.everything, {"Accept": "text/csv, */*;q=0.1"})
    assert accepted.body.decode().count("\r\n") == 3
    assert accepted.headers["etag"] != world.api.ask("triggers/slowest?limit=2", world.everything).headers["etag"]
    kept = world.api.ask("triggers/slowest?format=csv", world.everything, {"If-None-Match": "*"})
    assert kept.status == 304
    assert world.api.ask("triggers/nobody/stats?format=csv", world.everything).status == 404
    assert world.api.ask("triggers/trigger-1/stats?format=csv", world.everything).body.count(b"\r\n") == 2
    assert world.api.ask("meta/refresh-status?format=csv", world.acme).body.count(b"\r\n") == 5
    evil = world.api.ask("organizations/top?format=csv", world.everything).body.decode()
    assert ",'=1+1," in evil
    wrong = world.api.ask("triggers/slowest?format=xml", world.everything)
    assert (wrong.status, wrong.json["details"]) == (400, {"parameter": "format"})


def test_long_answers_are_compressed_for_who_asks(world: World) -> None:
    """gzip, of JSON and CSV; the content is the same."""
    for path in ("actions/hourly?hours=168", "actions/hourly?hours=168&format=csv"):
        plain = world.api.ask(path, world.everything)
        packed = world.api.ask(path, world.everything, {"Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert "Accept-Encoding" in packed.headers["vary"]
        assert len(packed.body) < len(plain.body) / 2
        body = gzip.decompress(packed.body)
        assert body == plain.body if "csv" in path else json.loads(body)["data"] == plain.json["data"]


def test_open_documents_are_compressed_once(world: World) -> None:
    """They come compressed to who accepts that, each time in the same bytes, with a header for caches."""
    for path in ("/api/v1/openapi.json", "/api/v1/docs"):
        plain = world.api.ask(path)
        first, second = (world.api.ask(path, None, {"Accept-Encoding": "br, gzip"}) for _ in range(2))
        assert "content-encoding" not in plain.headers
        assert first.headers["content-encoding"] == "gzip"
        assert first.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
        assert int(first.headers["content-length"]) == len(first.body)
        assert gzip.decompress(first.body) == plain.body
        # compressed for this answer, the header would have had its time
        assert first.body == second.body
        assert first.body[4:8] == bytes(4)


def test_headers_and_methods(world: World) -> None:
    """The caller's request id comes back, or a new one; HEAD has no body; nothing else than GET and HEAD."""
    assert world.api.ask("nothing", None, {"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = world.api.ask("actions/hourly", world.everything, {"X-Request-ID": 'a"b\tc'})
    assert made.headers["x-request-id"].isalnum()
    assert made.headers["x-content-type-options"] == "nosniff"
    head = world.api.ask("actions/hourly", world.everything, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    refused = world.api.ask("actions/hourly", world.everything, method="POST")
    assert (refused.status, refused.json["error"]) == (405, "method_not_allowed")
    assert "GET" in refused.headers["allow"]


def test_metrics_and_log_count_requests_and_tell_no_key(world: World) -> None:
    """Series of the endpoint, with process="api", on the management port alone; a line a request."""
    world.api.ask("growth/weekly", world.everything, {"X-Request-ID": "counted"})
    metrics = world.api.probe("/metrics").body.decode()
    assert "analytics_query_run_duration_seconds_count{database=" in metrics
    (count,) = [
        line
        for line in metrics.splitlines()
        if line.startswith("analytics_query_run_duration_seconds_count") and 'endpoint="growth/weekly"' in line
    ]
    assert 'process="api"' in count
    assert float(count.rpartition(" ")[2]) >= 1
    assert "analytics_query_errors_total{" in metrics
    for path in ("/metrics", "/livez", "/readyz"):
        assert world.api.ask(path).status == 404
        assert world.api.probe(path).status == 200
    line = world.api.wait_for("request.finished", lambda line: line["request_id"] == "counted")
    assert (line["endpoint"], line["status"], line["method"]) == ("growth/weekly", 200, "GET")
    assert line["key_id"].startswith("key_")
    for key in (world.everything, world.acme):
        assert key not in json.dumps(world.api.raw)


def test_P05_what_nobody_may_ask_is_one_sentence(world: World) -> None:
    """100 kB of headers, and a query string of 100 kB, end in an answer; the next request is served."""
    for path, headers in (("nothing", {"X-Long": "x" * 100_000}), ("nothing?" + "a" * 100_000, {})):
        try:
            answer: Any = world.api.ask(path, world.everything, headers)
            assert 400 <= answer.status < 500
        except (ConnectionError, OSError):
            pass
    assert world.api.ask("meta/refresh-status", world.everything).status == 200
