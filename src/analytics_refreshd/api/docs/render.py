"""Renders the description of the API as a page."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analytics_refreshd.api.openapi import OPENAPI_PATH
from analytics_refreshd.api.problems import CODES
from analytics_refreshd.api.routes import BASE

DOCS_PATH = "/api/v1/docs"
_CSS = files(__package__).joinpath("docs.css").read_text(encoding="utf-8").strip()
_HASH = base64.b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()
DOCS_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_environment = Environment(
    loader=PackageLoader("analytics_refreshd.api", "docs"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_docs(document: Mapping[str, Any]) -> bytes:
    """Render an OpenAPI document of ours, by sections."""
    sections: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = next(iter(operation.get("tags", [])), "the API itself")
            sections.setdefault(name, []).append(_endpoint(path, method, operation, document))
    template = _environment.get_template("docs.html.j2")
    page = template.render(
        document=document,
        openapi=OPENAPI_PATH,
        codes=CODES,
        sections=[{"name": name, "endpoints": endpoints} for name, endpoints in sections.items()],
        css=Markup(_CSS),  # noqa: S704 - a file of ours
    )
    return page.encode("utf-8", "replace")


def _endpoint(path: str, method: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    # the stream has no fields of one answer, and what is removed has no answer
    nothing: dict[str, Any] = {"schema": {"properties": {}}}
    done = next(response for code, response in operation["responses"].items() if code.startswith("2"))
    answer = done.get("content", {}).get("application/json", nothing)
    data = _resolved(_resolved(answer["schema"], document)["properties"].get("data", {}), document)
    body = operation.get("requestBody", {"content": {"application/json": nothing}})
    members = body["content"]["application/json"]["schema"].get("properties", {})
    short = path.removeprefix(f"{BASE}/").removeprefix("/api/v1/")
    return {
        "path": path,
        "method": method.upper(),
        "members": [{"name": name, "meaning": member["description"]} for name, member in members.items()],
        "short": short if method == "get" else f"{method.upper()} {short}",
        "identity": operation["operationId"],
        "summary": operation["summary"],
        "parameters": [_parameter(each) for each in operation["parameters"]],
        "fields": list(_fields(_resolved(data.get("items", data), document))),
    }


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a reference refers to; another schema as it is."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def _parameter(parameter: Mapping[str, Any]) -> dict[str, object]:
    schema = parameter["schema"]
    bounds = ", ".join(schema.get("enum", ()))
    if "minimum" in schema:
        bounds = f"{schema['minimum']:,} to {schema['maximum']:,}"
    return {
        "name": parameter["name"],
        "default": "required" if parameter["required"] else schema.get("default", ""),
        "bounds": bounds or schema.get("format", schema["type"]),
        "meaning": parameter["description"],
    }


def _fields(schema: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for name, field in schema.get("properties", {}).items():
        given = field.get("type", "any")
        kinds = [kind for kind in ([given] if isinstance(given, str) else given) if kind != "null"]
        yield {"name": name, "type": field.get("format", " or ".join(kinds)), "meaning": field["description"]}
