"""The OpenAPI 3.1 document, written from the catalogue."""

from collections.abc import Mapping, Sequence

from analytics_refreshd import __version__
from analytics_refreshd.api.actions.description import SECTION, action_paths, action_schemas
from analytics_refreshd.api.questions.description import SECTION as QUESTIONS
from analytics_refreshd.api.questions.description import question_paths, question_schemas
from analytics_refreshd.api.routes import BASE, DATABASE, FLEET, FRESHNESS, OFFSET, ORGANIZATION, STREAM_PATHS, Route
from analytics_refreshd.api.schemas import Schema, error, meta, pagination, problem
from analytics_refreshd.api.status import summary_schema
from analytics_refreshd.api.stream.description import stream_operation
from analytics_refreshd.postgres.catalogue.endpoint import Field
from analytics_refreshd.postgres.catalogue.parameters import TEXT_LIMIT, Column, Parameter
from analytics_refreshd.postgres.catalogue.spans import MONTH

OPENAPI_PATH = "/api/v1/openapi.json"
QUERIES_PATH = f"{BASE}/meta/queries"

_UNITS: Mapping[str, Schema] = {
    "text": {"type": "string"},
    "message": {"type": "string"},
    "count": {"type": "integer"},
    "bytes": {"type": "integer"},
    "number": {"type": "number"},
    "money": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"},
    "percent": {"type": "number"},
    "ms": {"type": "number"},
    "seconds": {"type": "number"},
    "days": {"type": "number"},
    "timestamp": {"type": "string", "format": "date-time"},
    "boolean": {"type": "boolean"},
    "list": {"type": "array", "items": {"type": "string"}},
    "json": {},
}
_TEXT: Schema = {"type": "string", "maxLength": TEXT_LIMIT, "pattern": r"^[^\u0000]*$"}
_MOMENT: Schema = {"type": "string", "format": "date-time"}
_GIVEN: Mapping[str, tuple[str, Schema]] = {
    "since": ("Beginning of the window, instead of its length", _MOMENT),
    "until": ("End of the window; now where it is left out", _MOMENT),
    MONTH: (
        "One month, instead of the window's length",
        {"type": "string", "pattern": "^[1-9][0-9]{3}-(0[1-9]|1[0-2])$"},
    ),
    "timezone": ("IANA name of the time zone of days, weeks and hours of the day", {**_TEXT, "minLength": 1}),
    "action_type": ("Only actions of this type", _TEXT),
    "trigger_id": ("Only actions of this trigger", _TEXT),
}
_ERRORS = {
    "400": "A parameter cannot be used.",
    "401": "The key or token is missing, unknown or expired.",
    "403": "This key may not see that.",
    "404": "There is nothing of that name.",
    "429": "Too many requests in the hour.",
    "500": "An internal error.",
    "503": "The database, or the warehouse, cannot answer now.",
}


def openapi(routes: Sequence[Route]) -> Schema:
    """Return the document for all routes."""
    paths: Schema = {}
    for route in routes:
        for number, path in enumerate(route.paths):
            paths[path] = {"get": _operation(route, number)}
    paths[QUERIES_PATH] = {"get": _queries_operation()}
    every = {code: {"$ref": f"#/components/responses/{code}"} for code in _ERRORS}
    errors = {code: response for code, response in every.items() if code != "404"}
    for number, path in enumerate(STREAM_PATHS):
        paths[path] = {"get": stream_operation(_organization(), errors, number)}
    paths |= question_paths(every, _organization(), _parameter(OFFSET))
    paths |= action_paths(every)
    sections = dict.fromkeys([*(route.query.section for route in routes), QUESTIONS, SECTION])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Action analytics",
            "version": __version__,
            "description": "Executions of actions: success, latency, failures, triggers, capacity and organizations.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"ApiKey": []}],
        "tags": [{"name": name} for name in sections],
        "paths": paths,
        "components": {
            "securitySchemes": {"ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
            "schemas": _schemas(routes),
            "responses": {code: error(text) for code, text in _ERRORS.items()},
        },
    }


def queries_document(routes: Sequence[Route]) -> list[Schema]:
    """Return what `meta/queries` says of each endpoint."""
    return [
        {
            "query": route.query.name,
            "section": route.query.section,
            "paths": list(route.paths),
            "purpose": route.query.purpose,
            "shape": route.endpoint.shape,
            "cost": route.endpoint.cost,
            "parameters": list(route.parameters),
            "fields": [
                {
                    "name": field.name,
                    "unit": field.column.unit,
                    "meaning": field.column.meaning,
                    "approximated": field.column.approximated or None,
                }
                for field in route.endpoint.fields
            ],
        }
        for route in routes
    ]


def _operation(route: Route, number: int) -> Schema:
    query = route.query
    name = query.name.replace("-", "_") + (f"_{number + 1}" if number else "")
    return {
        "operationId": name,
        "tags": [query.section],
        "summary": query.purpose,
        "parameters": _parameters(route),
        "responses": {
            "200": {
                "description": f"The answer. {query.note}" if query.note else "The answer.",
                "headers": {
                    "ETag": {"schema": {"type": "string"}, "description": "Where only views were read."},
                    "Link": {"schema": {"type": "string"}, "description": "Pages with rel next and prev."},
                },
                "content": {
                    "application/json": {"schema": _reference(_class_name(query.name, "Answer"))},
                    "text/csv": {"schema": {"type": "string"}},
                },
            },
            "304": {"description": "Not modified: the views were not refreshed since."},
            **{code: {"$ref": f"#/components/responses/{code}"} for code in _ERRORS},
        },
    }


def _queries_operation() -> Schema:
    schema = {"type": "object", "required": ["data"], "properties": {"data": {"type": "array", "items": {}}}}
    return {
        "operationId": "queries",
        "summary": "Which endpoints are there, and what do their fields mean?",
        "parameters": [_organization()],
        "responses": {
            "200": {"description": "The catalogue.", "content": {"application/json": {"schema": schema}}},
            **{code: {"$ref": f"#/components/responses/{code}"} for code in _ERRORS if code != "404"},
        },
    }


def _parameters(route: Route) -> list[Schema]:
    endpoint, window = route.endpoint, route.query.window
    configured = route.query.configured
    found = [
        _parameter(each.parameter, "path" if name in endpoint.places else "query", configured=each.of in configured)
        for name, each in route.arguments.items()
    ]
    names = (*route.query.span_names, *(["timezone"] if window is not None else []), *route.filters)
    for name in names:
        description, schema = _GIVEN[name]
        found.append({"name": name, "in": "query", "required": False, "description": description, "schema": schema})
    if endpoint.shape == "list":
        found += [_parameter(endpoint.limit), _parameter(OFFSET)]
        sorts = [sign + name for name in endpoint.sorts for sign in ("", "-")]
        schema = {"type": "string", "enum": sorts, **({"default": endpoint.order} if endpoint.order else {})}
        description = "Order of the rows; after a minus sign descending"
        found.append({"name": "sort", "in": "query", "required": False, "description": description, "schema": schema})
    found += [_parameter(FLEET)] if route.fleet else []
    schema = {"type": "string", "enum": ["json", "csv"], "default": "json"}
    description = "As the header Accept; csv has all rows unless a limit is given"
    found.append({"name": "format", "in": "query", "required": False, "description": description, "schema": schema})
    return [*found, _organization()]


def _parameter(parameter: Parameter, place: str = "query", *, configured: bool = False) -> Schema:
    schema: Schema = dict(_TEXT) if parameter.type == "text" else {"type": parameter.type}
    if parameter.minimum is not None and parameter.maximum is not None:
        whole = parameter.type == "integer"
        schema["minimum"] = int(parameter.minimum) if whole else parameter.minimum
        schema["maximum"] = int(parameter.maximum) if whole else parameter.maximum
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    if place == "query" and not configured:
        schema["default"] = parameter.default
    return {
        "name": parameter.name,
        "in": place,
        "required": place == "path",
        "description": parameter.meaning,
        "schema": schema,
    }


def _organization() -> Schema:
    description = "The organization, of those that the key may see; also as the header X-Organization-ID"
    return {
        "name": ORGANIZATION,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {**_TEXT, "minLength": 1},
    }


def _schemas(routes: Sequence[Route]) -> Schema:
    """Return the schemas by the names that generated clients give their classes."""
    found = {"Problem": problem(), "Meta": meta(), "Pagination": pagination()}
    found |= question_schemas() | action_schemas()
    for route in routes:
        row = _row(route.endpoint.fields)
        if route.by_database:
            row["properties"][DATABASE.name] = {
                **_field(DATABASE),
                "description": f"{DATABASE.meaning}; of a fleet alone",
            }
        found[_class_name(route.query.name, "Row")] = row
        found[_class_name(route.query.name, "Answer")] = _answer(route)
    return found


def _class_name(query: str, suffix: str) -> str:
    # a-1 and a1 are two names
    parts = (f"_{part}" if part[:1].isdigit() else part.capitalize() for part in query.split("-"))
    return "".join([*parts, suffix])


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(route: Route) -> Schema:
    row = _reference(_class_name(route.query.name, "Row"))
    listed = route.endpoint.shape == "list"
    properties: Schema = {"data": {"type": "array", "items": row} if listed else row}
    if route.summary is not None:
        properties["summary"] = _row(route.summary.api.fields)
    if route.query.name == FRESHNESS:
        properties["summary"] = summary_schema()
    if listed:
        properties["pagination"] = _reference("Pagination")
    properties["meta"] = _reference("Meta")
    return {"type": "object", "required": list(properties), "properties": properties}


def _row(fields: Sequence[Field]) -> Schema:
    return {
        "type": "object",
        "required": [field.name for field in fields],
        "properties": {field.name: _field(field.column) for field in fields},
    }


def _field(column: Column) -> Schema:
    schema = dict(_UNITS[column.unit])
    if "type" in schema:
        schema["type"] = [schema["type"], "null"]
    text = f"{column.meaning}. Approximated: {column.approximated}" if column.approximated else column.meaning
    return {**schema, "description": text}
