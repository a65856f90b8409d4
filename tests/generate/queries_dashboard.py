"""A Grafana dashboard on a PostgreSQL data source, written from the query files, for the role of deploy/sql/reader.sql.

What takes a span follows the time picker; everything follows the variables for organization, trigger and type, as far
as its figures know them. Error text comes redacted from the schema that the script makes, so that the data source never
has the right to read it as stored.
"""

import json
import re
from collections.abc import Mapping
from datetime import timedelta

from psycopg import sql

from analytics_refreshd.postgres.catalogue.definition import PRICES, Column, Query
from analytics_refreshd.postgres.catalogue.files import Catalogue, relations
from analytics_refreshd.postgres.catalogue.run import statement
from analytics_refreshd.postgres.catalogue.settings import DEFAULTS
from analytics_refreshd.postgres.catalogue.sources import LIMIT

_SOURCE = {"type": "grafana-postgresql-datasource", "uid": "${datasource}"}
_UNITS = {"ms": "ms", "percent": "percent", "bytes": "bytes", "seconds": "s", "days": "d", "count": "locale"}
_STEPS = {"hours": ("hour", 1), "days": ("day", 24), "weeks": ("week", 168)}
_SECONDS = {"hours": 3600, "days": 86_400, "weeks": 604_800}
_WIDTH = 24
_HEIGHT = 8

_ALL = "'*'"
"""What a variable stands for while everything is chosen."""


def _chosen(column: str, variable: str) -> str:
    """The condition that a column is among what was chosen; true while that is everything."""
    return f"({_ALL} in ({_values(variable)}) or {column} in ({_values(variable)}))"


def _values(variable: str) -> str:
    """What Grafana puts in place of the variable; the braces are doubled, as what is filled in by name needs them."""
    return f"${{{{{variable}:sqlstring}}}}"


def _everything(*variables: str) -> str:
    return " and ".join(f"{_ALL} in ({_values(variable)})" for variable in variables)


_TYPES = _chosen("action_type", "action_type")
_TRIGGERS = _chosen("trigger_id", "trigger")
_OF_TRIGGERS = (
    f"{_TRIGGERS} and ({_everything('organization')}"
    f" or trigger_id in (select id from {{app}}.triggers where organization_id in ({_values('organization')})))"
)


_SINCE = "%(since)s::timestamptz"
_SINCE_HORIZON = f"greatest({_SINCE}, analytics_reader.frozen_until())"
_DAYS = (
    "(select d.* from analytics_reader.frozen_days((%(since)s::timestamptz at time zone 'UTC') - interval '12 hours',"
    " (%(until)s::timestamptz at time zone 'UTC') - interval '12 hours') as d"
    f" where {_TYPES} and {_TRIGGERS} and {_chosen('organization_id', 'organization')})"
)
"""Frozen days of what was chosen, under the organizations of their time; none where nothing is frozen."""


def _with_days(name: str, rows: str) -> str:
    """The relation over rows since the horizon, and over days for what is older."""
    days = relations()[f"{name} frozen"].replace("{days}", _DAYS)
    return f"({rows.replace(_SINCE, _SINCE_HORIZON)} union all {days})"


def _limited(name: str) -> str:
    """The relation as the limit to organizations computes it from rows, over what was chosen in its place."""
    before, found, after = relations()[f"{name} limited"].partition(LIMIT)
    if not found:
        raise ValueError(f"{name} limited reads its rows in another way")
    return f"{before}from {{app}}.action_results as a where {_TYPES} and {_OF_TRIGGERS}{after}"


def _either(name: str, columns: str, *, days: bool) -> str:
    """The view, or where an organization or trigger was chosen, of which it knows nothing, the rows."""
    everything = _everything("organization", "trigger")
    view = relations()[name].removeprefix("(").removesuffix(")")
    of_view = f"select {columns} from ({view}) as v where {everything} and {_TYPES}"
    rows = _with_days(name, _limited(name)) if days else _limited(name)
    of_rows = f"select {columns} from {rows} as r where not ({everything})"
    return f"({of_view} union all {of_rows})"


_WINDOW = f"executed_at >= {_SINCE} and executed_at < %(until)s::timestamptz"
_HOURLY = (
    "hour, action_type, status, execution_count, avg_duration_ms, min_duration_ms, max_duration_ms, p50_duration_ms,"
    " p95_duration_ms, p99_duration_ms, success_count, failure_count, retrying_count, total_retries,"
    " actions_with_retries"
)
_USAGE = (
    "count(*) as executions, count(*) filter (where a.status = 'success') as successes,"
    " count(*) filter (where a.status = 'failed') as failures,"
    " count(*) filter (where a.status = 'retrying') as retrying, coalesce(sum(a.retry_count), 0) as total_retries,"
    " coalesce(sum(a.duration_ms), 0) as total_duration_ms, count(a.duration_ms) as measured,"
    " max(a.executed_at) as last_execution_at"
)


def _relations(*, days: bool) -> dict[str, str]:
    """The relations for the reader's role and the variables; with `days` they read frozen days, too."""
    owned = _chosen("organization_id", "organization")
    triggers = "id, organization_id, name, enabled, created_at"
    columns = "id, job_id, trigger_id, event_id, action_type, status, executed_at, duration_ms, retry_count"
    actions = f"(select {columns} from {{app}}.action_results where {_WINDOW} and {_TYPES} and {_OF_TRIGGERS})"
    usage = (
        f"(select a.trigger_id, t.organization_id, {_USAGE} from {{app}}.action_results as a left join"
        f" {{app}}.triggers as t on t.id = a.trigger_id where {_WINDOW} and {_TYPES} and {_OF_TRIGGERS}"
        " group by a.trigger_id, t.organization_id)"
    )
    recent = actions.replace(_SINCE, _SINCE_HORIZON)
    distribution = relations()["distribution frozen"].replace("{source}", recent).replace("{days}", _DAYS)
    return {
        "actions": actions,
        "hourly": _either("hourly", _HOURLY, days=days),
        "usage": _with_days("usage", usage) if days else usage,
        "trigger_summary": f"(select * from {{app}}.trigger_performance_summary where {_OF_TRIGGERS})",
        "failures": "(select id, job_id, trigger_id, event_id, action_type, error_message, retry_count, executed_at,"
        " duration_ms, response_data from analytics_reader.recent_failures(%(since)s, %(until)s)"
        f" where {_TYPES} and {_OF_TRIGGERS})",
        "distribution": distribution if days else relations()["distribution rows"].replace("{source}", actions),
        "triggers": f"(select {triggers} from {{app}}.triggers where {owned} and {_chosen('id', 'trigger')})",
        "organizations": "(select id, name, slug, plan from {app}.organizations"
        f" where {_chosen('id', 'organization')})",
    }


def dashboard_json(catalogue: Catalogue, app_schema: str = "public") -> str:
    """The dashboard as Grafana imports it: a row per section, a panel per query; ends in a newline."""
    panels: list[dict[str, object]] = [_row(1, "When it runs", 0), _heat_map(2, app_schema)]
    top, left, section = 1 + _HEIGHT, 0, ""
    for query in catalogue:
        if query.api.places or PRICES in query.relations:
            # of one trigger, which a panel cannot name, or of prices, which are in the configuration
            continue
        if query.section != section:
            top, left, section = top + (_HEIGHT if left else 0), 0, query.section
            panels.append(_row(len(panels) + 1, section.capitalize(), top))
            top += 1
        width = _WIDTH if len(query.columns) > 9 and not _is_series(query) else _WIDTH // 2
        if left + width > _WIDTH:
            top, left = top + _HEIGHT, 0
        panels.append(_panel(len(panels) + 1, query, app_schema, {"h": _HEIGHT, "w": width, "x": left, "y": top}))
        left += width
        if left == _WIDTH:
            top, left = top + _HEIGHT, 0
    document = {
        "uid": "analytics-queries",
        "title": "Action analytics: queries",
        "tags": ["analytics-refreshd"],
        "schemaVersion": 39,
        "editable": True,
        "timezone": "utc",
        "time": {"from": "now-7d", "to": "now"},
        "refresh": "5m",
        "templating": {"list": _variables(app_schema)},
        "annotations": {"list": []},
        "links": [_link("Refresh: are these figures fresh?", "analytics-refreshd")],
        "panels": panels,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def dashboard_sql(query: Query, app_schema: str) -> str:
    """The query over the chosen time and what the variables say, for the reader's role."""
    chosen = _relations(days=query.days)
    replaced = {name: text for name, text in chosen.items() if name in query.relations}
    text = statement(query, app_schema, limited=False, replaced=replaced).as_string(None)
    values = {item.placeholder: sql.Literal(item.default).as_string(None) for item in query.parameters}
    # of the configuration it knows nothing
    values |= {name: sql.Literal(value).as_string(None) for name, value in DEFAULTS.values(query, None).items()}
    return _filled(text, values | {"now": "now()", "timezone": "'UTC'"} | _window(query))


def _filled(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"%\((\w+)\)s|%%", lambda found: "%" if found[0] == "%%" else values[found[1]], text)


def _window(query: Query) -> dict[str, str]:
    """The bounds: those of the time picker, in whole steps that hold them; a look back is as long as by default."""
    window = query.window
    if window is None:
        return {}
    if "until" not in query.span_names:
        amount = next(item.default for item in query.parameters if item.name == window.parameter)
        hours = timedelta(**{window.parameter: float(amount)}) // timedelta(hours=1)
        return {"since": f"(now() - interval '{hours} hours')"}
    since, until = _picked(window.step, window.before)
    length = f"(extract(epoch from {until} - {since}) / {_SECONDS[window.parameter]})"
    return {"since": since, "until": until, window.parameter: length}


def _picked(step: str | None, before: int = 0) -> tuple[str, str]:
    begin, end = "$__timeFrom()::timestamptz", "$__timeTo()::timestamptz"
    if step is None:
        return f"({begin})", f"({end})"
    unit, hours = _STEPS[step]
    since = f"date_trunc('{unit}', {begin}, 'UTC')"
    until = f"date_trunc('{unit}', {end} - interval '1 microsecond', 'UTC') + interval '{hours} hours'"
    return f"({since} - interval '{hours * before} hours')" if before else f"({since})", f"({until})"


def _variables(app_schema: str) -> list[dict[str, object]]:
    app = sql.Identifier(app_schema).as_string(None)
    owned = sql.SQL(_chosen("organization_id", "organization")).format().as_string(None)
    name = "id as __value, coalesce(name, id) as __text"
    return [
        {
            "name": "datasource",
            "label": "Database",
            "type": "datasource",
            "query": "grafana-postgresql-datasource",
            "hide": 0,
        },
        _variable("organization", "Organization", f"select {name} from {app}.organizations order by 2"),
        _variable("trigger", "Trigger", f"select {name} from {app}.triggers where {owned} order by 2"),
        _variable("action_type", "Type", f"select action_type from {app}.action_type_distribution order by 1"),
    ]


def _variable(name: str, label: str, query: str) -> dict[str, object]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": _ALL,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }


def _link(title: str, uid: str) -> dict[str, object]:
    return {"type": "link", "title": title, "url": f"/d/{uid}", "keepTime": True, "targetBlank": False}


def heat_map_sql(app_schema: str) -> str:
    """Executions by day and hour of the day, a column an hour."""
    hours = ", ".join(
        "coalesce(sum(h.execution_count) filter"
        f" (where extract(hour from h.hour at time zone 'UTC') = {hour}), 0)::bigint as \"{hour:02}:00\""
        for hour in range(24)
    )
    relation = sql.SQL(_relations(days=False)["hourly"]).format(app=sql.Identifier(app_schema)).as_string(None)
    since, until = _picked("days")
    text = f"select date_trunc('day', h.hour, 'UTC') as time, {hours} from {relation} as h group by 1 order by 1"
    return _filled(text, {"since": since, "until": until})


def _heat_map(number: int, app_schema: str) -> dict[str, object]:
    return {
        "id": number,
        "type": "heatmap",
        "title": "At which hours of which days does most run?",
        "description": f"Executions of each hour, UTC: a column a day, a row an hour.{_ROWS_ALONE}",
        "datasource": _SOURCE,
        "gridPos": {"h": _HEIGHT, "w": _WIDTH, "x": 0, "y": 1},
        "targets": [_target(heat_map_sql(app_schema))],
        "fieldConfig": {"defaults": {"noValue": "no data"}, "overrides": []},
        "options": {"calculate": False, "cellGap": 1, "color": {"mode": "scheme", "scheme": "Blues", "steps": 64}},
    }


def _is_series(query: Query) -> bool:
    return query.columns[0].name in ("hour", "day", "week")


def _row(number: int, title: str, top: int) -> dict[str, object]:
    position = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": position, "panels": []}


def _target(text: str) -> dict[str, object]:
    return {
        "refId": "A",
        "datasource": _SOURCE,
        "format": "table",
        "editorMode": "code",
        "rawQuery": True,
        "rawSql": text,
    }


def title_of(query: Query) -> str:
    """The question that the panel answers: the first sentence of its purpose."""
    return re.split(r"(?<=[?.])\s", query.purpose, maxsplit=1)[0]


_ROWS_ALONE = " Of an organization or trigger it counts rows: since the horizon, if there is one."
_OF_DAYS = " Of what is older than the horizon it counts frozen days, which hold no percentiles."


def _horizon(query: Query) -> str:
    """What a panel says of what is older than the frozen horizon."""
    if query.days:
        return _OF_DAYS
    if "actions" in query.relations:
        return " It counts rows: since the horizon, if there is one."
    return _ROWS_ALONE if "hourly" in query.relations else ""


def _panel(number: int, query: Query, app_schema: str, position: dict[str, int]) -> dict[str, object]:
    approximated = "".join(f" {column.name}: {column.approximated}." for column in query.columns if column.approximated)
    fixed = "" if "until" in query.span_names else " It does not follow the time picker."
    whole = " It counts every type." if "trigger_summary" in query.relations else ""
    hidden = {column.name: True for column in query.columns if _is_series(query) and column.unit == "boolean"}
    return {
        "id": number,
        "type": "timeseries" if _is_series(query) else "table",
        "title": title_of(query),
        "description": f"{query.purpose}{approximated}{fixed}{whole}{_horizon(query)}"
        f" On the command line: query {query.name}.",
        "datasource": _SOURCE,
        "gridPos": position,
        "targets": [_target(dashboard_sql(query, app_schema))],
        "transformations": [{"id": "organize", "options": {"excludeByName": hidden}}] if hidden else [],
        "fieldConfig": {
            "defaults": {"noValue": "no data"},
            "overrides": [
                *(override for column in query.columns for override in _overrides(column)),
                *(override for column in query.columns for override in _band(query, column)),
            ],
        },
        "options": {},
    }


def _band(query: Query, column: Column) -> list[dict[str, object]]:
    """Draw what is expected dashed, and its band filled between two dotted lines."""
    names = {each.name for each in query.columns}
    lower, upper = f"{column.name}_lower", f"{column.name}_upper"
    if not _is_series(query) or not {lower, upper} <= names:
        return []
    edge = [{"id": "custom.lineWidth", "value": 1}, _dashes(2, 4)]
    filled = [{"id": "custom.fillBelowTo", "value": lower}, {"id": "custom.fillOpacity", "value": 12}]
    drawn = {column.name: [_dashes(8, 8)], lower: edge, upper: [*edge, *filled]}
    return [{"matcher": {"id": "byName", "options": name}, "properties": found} for name, found in drawn.items()]


def _dashes(line: int, gap: int) -> dict[str, object]:
    return {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [line, gap]}}


def _overrides(column: Column) -> list[dict[str, object]]:
    if column.unit not in _UNITS:
        return []
    matcher = {"id": "byName", "options": column.name}
    return [{"matcher": matcher, "properties": [{"id": "unit", "value": _UNITS[column.unit]}]}]
