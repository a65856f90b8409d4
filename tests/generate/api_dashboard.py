"""A Grafana dashboard over the REST API, by the Infinity data source, written from the endpoints' declarations.

A data source holds the address of the API and a key, so that each sees what its key sees: a tenant's its own figures.
"""

import json

from analytics_refreshd.api.routes import Route, routes_of
from analytics_refreshd.postgres.catalogue.definition import Column
from analytics_refreshd.postgres.catalogue.files import Catalogue
from tests.generate.queries_dashboard import title_of

PLUGIN = "yesoreyeram-infinity-datasource"
PICKED = {"since": "${__from:date:iso}", "until": "${__to:date:iso}"}
"""What Grafana puts in place of the ends of the time picker."""
_SOURCE = {"type": PLUGIN, "uid": "${datasource}"}
_TYPES = {"timestamp": "timestamp", "text": "string", "message": "string", "list": "string", "boolean": "boolean"}
_UNITS = {"ms": "ms", "percent": "percent", "bytes": "bytes", "seconds": "s", "days": "d", "count": "locale"}
_SERIES = ("hour", "day", "week")
_WIDTH = 24
_HEIGHT = 8


def api_dashboard(catalogue: Catalogue) -> str:
    """The dashboard as Grafana imports it: a row per section, a panel per endpoint; ends in a newline."""
    panels: list[dict[str, object]] = []
    top, left, section = 0, 0, ""
    for route in routes_of(catalogue):
        if route.endpoint.places:
            # of one trigger, which a panel cannot name
            continue
        if route.query.section != section:
            top, left, section = top + (_HEIGHT if left else 0), 0, route.query.section
            position = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
            row = {"type": "row", "title": section.capitalize(), "collapsed": False, "gridPos": position, "panels": []}
            panels.append({"id": len(panels) + 1, **row})
            top += 1
        wide = len(route.endpoint.fields) > 8 and _kind(route) != "timeseries"
        width = _WIDTH if wide else _WIDTH // 2
        if left + width > _WIDTH:
            top, left = top + _HEIGHT, 0
        panels.append(_panel(len(panels) + 1, route, {"h": _HEIGHT, "w": width, "x": left, "y": top}))
        left += width
        if left == _WIDTH:
            top, left = top + _HEIGHT, 0
    link = {
        "type": "link",
        "title": "Refresh: are these figures fresh?",
        "url": "/d/analytics-refreshd",
        "keepTime": True,
    }
    source = {"name": "datasource", "label": "API", "type": "datasource", "query": PLUGIN, "hide": 0}
    document = {
        "uid": "analytics-api",
        "title": "Action analytics: the API",
        "tags": ["analytics-refreshd"],
        "schemaVersion": 39,
        "editable": True,
        "timezone": "utc",
        "time": {"from": "now-24h", "to": "now"},
        # each load counts in the limits of its key
        "refresh": "",
        "templating": {"list": [source]},
        "annotations": {"list": []},
        "links": [{**link, "targetBlank": False}],
        "panels": panels,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _kind(route: Route) -> str:
    if route.endpoint.shape == "object":
        return "stat"
    return "timeseries" if route.endpoint.fields[0].name in _SERIES else "table"


def _follows(route: Route) -> bool:
    """Whether a panel follows the time picker: days and weeks are shown for as long as the endpoint has by default."""
    window = route.query.window
    return window is not None and "until" in route.query.span_names and window.step not in ("days", "weeks")


def _panel(number: int, route: Route, position: dict[str, int]) -> dict[str, object]:
    query, fields = route.query, route.endpoint.fields
    told = [
        query.purpose,
        *(f"{each.name}: {each.column.approximated}." for each in fields if each.column.approximated),
    ]
    window = [
        argument.parameter
        for argument in route.endpoint.arguments
        if query.window and argument.of == query.window.parameter
    ]
    if not _follows(route):
        told.append("It does not follow the time picker.")
    told += [f"At most {most.maximum:g} {most.name}, in whole steps." for most in window if most.maximum]
    told.append(f"It counts for {route.endpoint.cost} in the limits: {route.paths[0]}")
    days = {"days": 1, "weeks": 7}.get(window[0].name, 0) * int(window[0].default) if window else 0
    shown = {"timeFrom": f"{days}d"} if _kind(route) == "timeseries" and not _follows(route) else {}
    return {
        "id": number,
        **shown,
        "type": _kind(route),
        "title": title_of(query),
        "description": " ".join(told),
        "datasource": _SOURCE,
        "gridPos": position,
        "targets": [_target(route)],
        "fieldConfig": {
            "defaults": {"noValue": "no data"},
            "overrides": [override for each in fields for override in _overrides(each.name, each.column)],
        },
        "options": {},
    }


def _target(route: Route) -> dict[str, object]:
    given = dict(PICKED) if _follows(route) else {}
    if route.endpoint.shape == "list":
        most = route.endpoint.limit.maximum
        given["limit"] = f"{most:g}"
    if _kind(route) == "timeseries":
        given["sort"] = route.endpoint.fields[0].name
    return {
        "refId": "A",
        "datasource": _SOURCE,
        "type": "json",
        "source": "url",
        "parser": "backend",
        "format": "timeseries" if _kind(route) == "timeseries" else "table",
        "url": route.paths[0],
        "url_options": {
            "method": "GET",
            "data": "",
            "params": [{"key": key, "value": each} for key, each in given.items()],
        },
        "root_selector": "data",
        "columns": [
            {"selector": each.name, "text": each.name, "type": _TYPES.get(each.column.unit, "number")}
            for each in route.endpoint.fields
        ],
        "filters": [],
        "global_query_id": "",
    }


def _overrides(name: str, column: Column) -> list[dict[str, object]]:
    if column.unit not in _UNITS:
        return []
    matcher = {"id": "byName", "options": name}
    return [{"matcher": matcher, "properties": [{"id": "unit", "value": _UNITS[column.unit]}]}]
