"""Within v1 of the API fields and parameters are only added: the document against the last release's."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analytics_refreshd import __version__
from analytics_refreshd.api.openapi import openapi
from analytics_refreshd.api.routes import BASE, routes_of
from analytics_refreshd.postgres.catalogue.files import Catalogue
from tests.support.api_changes import breaks, main

TESTS = Path(__file__).parents[1]
RELEASED = TESTS / "support" / "openapi_released.json"
"""The document of the last release: `.ci/release` makes it, and whoever released commits it here."""
FIRST = (0, 3, 0)
"""The first version with an API."""
CHANGES = (TESTS.parent / "deploy/guides/changes.md").read_text("utf-8")
DOCUMENT = openapi(routes_of(Catalogue.load()))
RATE, RECENT, PAUSE = f"{BASE}/actions/success-rate", f"{BASE}/failures/recent", "/api/v1/pause"
ANSWER = f"GET {RATE}: 200 application/json"
Document = dict[str, Any]


def released(changes: str, version: str) -> tuple[int, ...] | None:
    """The version released before this one, None if that had no API."""
    versions = [tuple(map(int, found.split("."))) for found in re.findall(r"^## (\d+\.\d+\.\d+)$", changes, re.M)]
    earlier = [each for each in versions if each < tuple(map(int, version.split(".")))]
    return earlier[0] if earlier and earlier[0] >= FIRST else None


def test_the_document_only_grew_since_the_last_release() -> None:
    """What a client of that release asks is understood, and what it reads is there."""
    last = released(CHANGES, __version__)
    assert RELEASED.exists() == (last is not None), f"keep the document of {last}: copy it from that release"
    if last is not None:
        kept = json.loads(RELEASED.read_text("utf-8"))
        assert tuple(map(int, kept["info"]["version"].split("."))) == last
        assert breaks(kept, DOCUMENT) == []


def test_the_last_release_is_that_of_the_changes() -> None:
    """Until one with an API is released there is nothing to keep; after that it is the newest below this version."""
    assert released("## 0.3.0\n\n## 0.2.0\n", "0.3.0") is None
    assert released("## 0.4.0\n\n## 0.3.0\n\n## 0.2.0\n", "0.4.0") == (0, 3, 0)
    assert released("## 0.10.0\n## 0.9.1\n", "0.10.0") == (0, 9, 1)


def get(document: Document, path: str) -> Any:
    """The operation that answers questions at this path."""
    return document["paths"][path]["get"]


def parameter(document: Document, path: str, name: str) -> Any:
    """The schema of a parameter."""
    return next(one for one in get(document, path)["parameters"] if one["name"] == name)["schema"]


def row(document: Document) -> Any:
    """The schema of a row of the answers to RATE."""
    return document["components"]["schemas"]["SuccessRateRow"]


def body(document: Document) -> Any:
    """The schema of what is sent for a pause."""
    return document["paths"][PAUSE]["post"]["requestBody"]["content"]["application/json"]["schema"]


def without(document: Document, path: str, name: str) -> None:
    """Remove a parameter."""
    operation = get(document, path)
    operation["parameters"] = [one for one in operation["parameters"] if one["name"] != name]


def required(document: Document) -> None:
    """Add a parameter that must be given."""
    new = {"name": "colour", "in": "query", "required": True, "schema": {"type": "string"}}
    get(document, RATE)["parameters"].append(new)


def loosened(document: Document) -> None:
    """Say that a field may be left out."""
    row(document)["required"].remove("failures")


Change = Callable[[Document], object]
BREAKS: dict[str, tuple[Change, str]] = {
    "a path": (lambda d: d["paths"].pop(RATE), f"GET {RATE} is gone"),
    "a method": (lambda d: d["paths"][PAUSE].pop("post"), f"POST {PAUSE} is gone"),
    "the name of an operation": (
        lambda d: get(d, RATE).update(operationId="rates"),
        f"GET {RATE}: operationId success_rate is rates now",
    ),
    "who may ask": (lambda d: d.update(security=[{"Token": []}]), f"GET {RATE}: ApiKey admits no more"),
    "a field": (lambda d: row(d)["properties"].pop("failures"), f"{ANSWER}.data[].failures is gone"),
    "a field's promise": (loosened, f"{ANSWER}.data[].failures may be left out"),
    "a field's type": (
        lambda d: row(d)["properties"]["failures"].update(type=["integer", "string", "null"]),
        f"{ANSWER}.data[].failures may be what it never was: string",
    ),
    "a field of a shared schema": (
        lambda d: d["components"]["schemas"]["Pagination"]["properties"].pop("has_more"),
        f"{ANSWER}.pagination.has_more is gone",
    ),
    "a word of a closed list": (
        lambda d: d["components"]["schemas"]["Problem"]["properties"]["error"]["enum"].append("teapot"),
        f"GET {RATE}: 400 application/problem+json.error may be what it never was: teapot",
    ),
    "a bound of an answer": (
        lambda d: d["components"]["schemas"]["Pagination"]["properties"]["total"].pop("minimum"),
        f"{ANSWER}.pagination.total may be what it never was: minimum unbounded, but 0",
    ),
    "alternatives": (
        lambda d: d["components"]["schemas"]["Meta"]["properties"]["window"]["anyOf"].pop(),
        f"{ANSWER}.meta.window: other alternatives",
    ),
    "a media type": (
        lambda d: get(d, RATE)["responses"]["200"]["content"].pop("text/csv"),
        f"GET {RATE}: 200 text/csv is gone",
    ),
    "a header": (lambda d: get(d, RATE)["responses"]["200"]["headers"].pop("ETag"), "without the header ETag"),
    "an answer": (lambda d: get(d, RATE)["responses"].pop("304"), f"GET {RATE}: no answer 304 any more"),
    "a parameter": (lambda d: without(d, RATE, "days"), f"GET {RATE}: query parameter days is gone"),
    "a new parameter that is required": (required, f"GET {RATE}: query parameter colour is new, and required"),
    "a parameter that becomes required": (
        lambda d: next(one for one in get(d, RATE)["parameters"] if one["name"] == "days").update(required=True),
        f"GET {RATE}: query parameter days is required now",
    ),
    "a default": (lambda d: parameter(d, RATE, "days").update(default=30), "days: the default 7 is 30 now"),
    "an upper bound": (
        lambda d: parameter(d, RATE, "days").update(maximum=30),
        "days does not allow maximum 90, but 30",
    ),
    "a lower bound": (lambda d: parameter(d, RATE, "days").update(minimum=2), "days does not allow minimum 1, but 2"),
    "a length": (
        lambda d: parameter(d, RECENT, "action_type").update(maxLength=3),
        "action_type does not allow maxLength",
    ),
    "a pattern": (lambda d: parameter(d, RATE, "timezone").update(pattern="^UTC$"), "timezone does not allow pattern"),
    "a parameter's type": (
        lambda d: parameter(d, RATE, "days").update(type="boolean"),
        "days does not allow integer",
    ),
    "a choice": (lambda d: parameter(d, RECENT, "sort")["enum"].pop(), "sort does not allow -"),
    "the members of a body": (lambda d: body(d)["properties"].pop("reason"), f"POST {PAUSE}: body.reason is gone"),
    "a member of a body that becomes required": (
        lambda d: body(d)["required"].append("colour"),
        f"POST {PAUSE}: body.colour is required now",
    ),
    "a body's media type": (
        lambda d: d["paths"][PAUSE]["post"]["requestBody"]["content"].clear(),
        f"POST {PAUSE}: no body of application/json is taken any more",
    ),
    "a body": (lambda d: d["paths"][PAUSE]["post"].pop("requestBody"), f"POST {PAUSE}: the body is gone"),
    "a body that becomes required": (
        lambda d: d["paths"]["/api/v1/refresh"]["post"]["requestBody"].update(required=True),
        "POST /api/v1/refresh: the body is required now",
    ),
    "what nobody can compare": (
        lambda d: parameter(d, RATE, "days").update(oneOf=[{"const": 7}]),
        "days: oneOf is another",
    ),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_break_is_found(what: str) -> None:
    """Whatever is taken away, narrowed or demanded is named with its place."""
    change, sentence = BREAKS[what]
    later = copy.deepcopy(DOCUMENT)
    change(later)
    assert any(sentence in found for found in breaks(DOCUMENT, later)), breaks(DOCUMENT, later)


def test_what_is_added_breaks_nothing() -> None:
    """A path, an operation, a field, a parameter, a choice, wider bounds, another text."""
    later = copy.deepcopy(DOCUMENT)
    later["paths"][f"{BASE}/custom/own"] = {"get": copy.deepcopy(get(DOCUMENT, RATE))}
    later["paths"][RATE]["post"] = copy.deepcopy(later["paths"][PAUSE]["post"])
    row(later)["properties"]["colour"] = {"type": "string"}
    row(later)["required"].append("colour")
    row(later)["properties"]["failures"]["type"] = "integer"
    get(later, RATE)["parameters"].append({"name": "colour", "in": "query", "schema": {"type": "string"}})
    get(later, RATE)["summary"] = "What works?"
    get(later, RATE)["responses"]["418"] = {"description": "A teapot."}
    parameter(later, RATE, "days").update(maximum=3650, minimum=0, type="number", description="Days")
    parameter(later, RECENT, "sort")["enum"].append("colour")
    body(later)["properties"]["colour"] = {"type": "string"}
    later["security"] = [{"Token": []}, *later["security"]]
    assert breaks(DOCUMENT, later) == []


def test_two_files_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints each break, and ends with 1 where there is one."""
    later = copy.deepcopy(DOCUMENT)
    del later["paths"][RATE]
    for name, document in (("before", DOCUMENT), ("after", later)):
        (tmp_path / name).write_text(json.dumps(document))
    assert main([str(tmp_path / "before"), str(tmp_path / "after")]) == 1
    assert capsys.readouterr().out == f"GET {RATE} is gone\n"
    assert main([str(tmp_path / "after"), str(tmp_path / "before")]) == 0
