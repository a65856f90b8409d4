"""The endpoints that the query files declare, against the project's own copy of the table that clients know."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from analytics_refreshd.api.openapi import openapi
from analytics_refreshd.api.routes import BASE, Route, routes_of
from analytics_refreshd.postgres.catalogue.files import Catalogue

TABLE: dict[str, dict[str, Any]] = tomllib.loads(
    (Path(__file__).parents[1] / "acceptance" / "api_table.toml").read_text()
)
ROUTES = routes_of(Catalogue.load())
WINDOW = {"since", "until", "timezone", "action_type", "trigger_id"}
ADDED = {
    "triggers/health-summary",
    "triggers/daily",
    "actions/heatmap",
    "actions/correlations",
    "organizations/costs",
    "anomalies",
    "forecast",
}
"""Endpoints of ours beside the table."""


def fields_of(path: str) -> list[str]:
    """The fields of an endpoint: those of the table, then ours."""
    return [*TABLE[path]["fields"].split(), *TABLE[path].get("added", "").split()]


def route(path: str) -> Route:
    """The route that serves the path."""
    return next(each for each in ROUTES if f"{BASE}/{path}" in each.paths)


def test_every_endpoint_of_the_table_is_there_and_no_other() -> None:
    """24 paths of the table, and ours."""
    assert len(TABLE) == 24
    served = {path.removeprefix(f"{BASE}/") for each in ROUTES for path in each.paths}
    assert served == set(TABLE) | ADDED


@pytest.mark.parametrize("path", TABLE)
def test_an_endpoint_has_the_tables_fields_and_bounds(path: str) -> None:
    """Names, defaults and bounds are fixed: clients know them."""
    wanted, found = TABLE[path], route(path)
    endpoint = found.endpoint
    assert [field.name for field in endpoint.fields] == fields_of(path)
    assert endpoint.shape == wanted.get("shape", "list")
    told = [
        [name, parameter.default, parameter.minimum, parameter.maximum]
        if parameter.minimum is not None
        else [name, parameter.default]
        for name, parameter in ((each.parameter.name, each.parameter) for each in endpoint.arguments)
    ]
    assert told == wanted["parameters"]
    assert [list(each.parameter.choices) for each in endpoint.arguments if each.parameter.choices] == (
        [wanted["choices"]] if "choices" in wanted else []
    )
    if endpoint.shape == "list":
        limit = [endpoint.limit.default, endpoint.limit.minimum, endpoint.limit.maximum]
        assert limit == wanted.get("limit", [20, 1, 100])
    assert (
        WINDOW <= set(found.parameters) if wanted.get("window") else not {"until", "action_type"} & {*found.parameters}
    )
    if found.summary is not None:
        assert [field.name for field in found.summary.api.fields] == wanted["summary"].split()
    else:
        assert "summary" not in wanted


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    """The schema that a reference names."""
    return document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]


def test_the_openapi_document_has_every_path_and_parameter() -> None:
    """It is written from the same files."""
    document = openapi(ROUTES)
    for path in TABLE:
        operation = document["paths"][f"{BASE}/{path}"]["get"]
        names = {parameter["name"] for parameter in operation["parameters"]}
        assert names == {*route(path).parameters, *route(path).endpoint.places}
        answer = resolved(document, operation["responses"]["200"]["content"]["application/json"]["schema"])
        row = resolved(document, answer["properties"]["data"].get("items", answer["properties"]["data"]))
        assert row["required"] == fields_of(path)
    identities = [each["operationId"] for operations in document["paths"].values() for each in operations.values()]
    assert len(set(identities)) == len(identities)
