"""A Grafana dashboard on a PostgreSQL data source, written from the query files, for the role of deploy/sql/reader.sql.

Windows are those of the defaults, up to the server's now(); error text comes redacted from the schema that the
script makes, so that the data source never has the right to read it as stored.
"""

import json
import re
from datetime import timedelta

from psycopg import sql

from analytics_refreshd.postgres.catalogue.definition import Column, Query
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.run import statement

_SOURCE = {"type": "grafana-postgresql-datasource", "uid": "${datasource}"}
_UNITS = {"ms": "ms", "percent": "percent", "bytes": "bytes", "seconds": "s", "days": "d", "count": "locale"}
_STEPS = {"hours": ("hour", 1), "days": ("day", 24), "weeks": ("week", 168)}
_READER_RELATIONS = {
    "failures": "(select id, job_id, trigger_id, event_id, action_type, error_message, retry_count, executed_at,"
    " duration_ms, response_data from analytics_reader.recent_failures(%(since)s, %(until)s))"
}
_WIDTH = 24


def dashboard_json(catalogue: Catalogue, app_schema: str = "public") -> str:
    """The dashboard as Grafana imports it: a row per section, a panel per query; ends in a newline."""
    panels: list[dict[str, object]] = []
    top, left, section = 0, 0, ""
    for query in catalogue:
        if query.section != section:
            top, left, section = top + (8 if left else 0), 0, query.section
            panels.append(_row(len(panels) + 1, section, top))
            top += 1
        width = _WIDTH if len(query.columns) > 9 and not _is_series(query) else _WIDTH // 2
        if left + width > _WIDTH:
            top, left = top + 8, 0
        panels.append(_panel(len(panels) + 1, query, app_schema, {"h": 8, "w": width, "x": left, "y": top}))
        left += width
        if left == _WIDTH:
            top, left = top + 8, 0
    document = {
        "uid": "analytics-queries",
        "title": "Action analytics: queries",
        "tags": ["analytics-refreshd"],
        "schemaVersion": 39,
        "editable": True,
        "timezone": "utc",
        "time": {"from": "now-60d", "to": "now"},
        "refresh": "5m",
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Database",
                    "type": "datasource",
                    "query": "grafana-postgresql-datasource",
                    "hide": 0,
                }
            ]
        },
        "annotations": {"list": []},
        "panels": panels,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def dashboard_sql(query: Query, app_schema: str) -> str:
    """The query with its defaults and a window that ends at now(), for the reader's role."""
    replaced = {name: text for name, text in _READER_RELATIONS.items() if name in query.relations}
    text = statement(query, app_schema, limited=False, replaced=replaced).as_string(None)
    values = {item.placeholder: sql.Literal(item.default).as_string(None) for item in query.parameters}
    values |= {"now": "now()", "timezone": "'UTC'"} | _window(query)
    return re.sub(r"%\((\w+)\)s|%%", lambda found: "%" if found[0] == "%%" else values[found[1]], text)


def _window(query: Query) -> dict[str, str]:
    if query.window is None:
        return {}
    amount = next(item.default for item in query.parameters if item.name == query.window.parameter)
    hours = timedelta(**{query.window.parameter: float(amount)}) // timedelta(hours=1)
    if query.window.step is None:
        return {"since": f"(now() - interval '{hours} hours')", "until": "now()"}
    unit, step_hours = _STEPS[query.window.step]
    start = f"date_trunc('{unit}', now(), 'UTC')"
    back = hours + step_hours * (query.window.before - 1)
    return {
        "since": f"({start} - interval '{back} hours')",
        "until": f"({start} + interval '{step_hours} hours')",
    }


def _is_series(query: Query) -> bool:
    return query.columns[0].name in ("hour", "day", "week")


def _row(number: int, title: str, top: int) -> dict[str, object]:
    position = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
    return {
        "id": number,
        "type": "row",
        "title": title.capitalize(),
        "collapsed": False,
        "gridPos": position,
        "panels": [],
    }


def _panel(number: int, query: Query, app_schema: str, position: dict[str, int]) -> dict[str, object]:
    approximated = "".join(f" {column.name}: {column.approximated}." for column in query.approximated)
    hidden = {column.name: True for column in query.columns if _is_series(query) and column.unit == "boolean"}
    return {
        "id": number,
        "type": "timeseries" if _is_series(query) else "table",
        "title": query.name,
        "description": query.purpose + approximated,
        "datasource": _SOURCE,
        "gridPos": position,
        "targets": [
            {
                "refId": "A",
                "datasource": _SOURCE,
                "format": "table",
                "editorMode": "code",
                "rawQuery": True,
                "rawSql": dashboard_sql(query, app_schema),
            }
        ],
        "transformations": [{"id": "organize", "options": {"excludeByName": hidden}}] if hidden else [],
        "fieldConfig": {
            "defaults": {"noValue": "no data"},
            "overrides": [override for column in query.columns for override in _overrides(column)],
        },
        "options": {},
    }


def _overrides(column: Column) -> list[dict[str, object]]:
    if column.unit not in _UNITS:
        return []
    matcher = {"id": "byName", "options": column.name}
    return [{"matcher": matcher, "properties": [{"id": "unit", "value": _UNITS[column.unit]}]}]
