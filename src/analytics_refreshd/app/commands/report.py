"""Reads a month of one organization, for a report."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from analytics_refreshd.app.commands.query import refuse_unknown, with_session
from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import query_settings
from analytics_refreshd.core.report import Report, ReportColumn, ReportTable
from analytics_refreshd.postgres.catalogue.definition import ParameterError, Query
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.horizon import in_database
from analytics_refreshd.postgres.catalogue.run import Result, bind, run
from analytics_refreshd.postgres.catalogue.spans import MONTH, zone_of
from analytics_refreshd.postgres.catalogue.zones import MONTHS, later
from analytics_refreshd.postgres.connection import Connection

__all__ = ["ParameterError", "read_report"]

_COSTS = "organization-costs"


@dataclass(frozen=True, slots=True)
class _Section:
    """A question of the report: the query, its parameters, and the columns that are shown with their headings."""

    name: str
    title: str
    query: str
    columns: Mapping[str, str]
    parameters: Mapping[str, object]
    by_month: bool = False


_COUNTS = {
    "executions": "Executions",
    "successes": "Successes",
    "failures": "Failures",
    "success_rate_percent": "Success rate",
}
_COST = {
    "cost": "Cost",
    "priced_cost": "Cost of what has a price",
    "currency": "Currency",
    "unpriced_executions": "Without a price",
    "executions": "Executions",
    "total_retries": "Retries",
    "total_duration_ms": "Duration",
}
_AVERAGE = "Average (about)"
_DURATIONS = {"approx_avg_duration_ms": _AVERAGE, "approx_p95_duration_ms": "95th percentile (about)"}
_SECTIONS = (
    _Section(
        "summary",
        "Overview",
        "summary",
        {**_COUNTS, "retrying": "Retrying", "total_retries": "Retries", **_DURATIONS},
        {},
    ),
    _Section("days", "Day by day", "daily-trend", {"day": "Day", **_COUNTS}, {}),
    _Section(
        "types",
        "By action type",
        "success-rate",
        {"action_type": "Action type", **_COUNTS, "total_retries": "Retries", "approx_avg_duration_ms": _AVERAGE},
        {},
    ),
    _Section(
        "triggers",
        "Triggers that ran most",
        "most-active",
        {
            "trigger_name": "Trigger",
            "trigger_id": "Trigger id",
            **_COUNTS,
            "avg_duration_ms": "Average",
            "total_retries": "Retries",
            "last_execution_at": "Last execution",
        },
        {"limit": 1000},
    ),
    _Section(
        "errors",
        "Most frequent errors",
        "top-errors",
        {
            "error_message": "Error",
            "failures": "Failures",
            "share_percent": "Share",
            "triggers": "Triggers",
            "action_types": "Action types",
            "last_failure_at": "Last",
        },
        {"limit": 1000},
    ),
    _Section("costs", "Costs", _COSTS, _COST, {"by": "organization"}, by_month=True),
    _Section(
        "costs_by_type", "Costs by action type", _COSTS, {"action_type": "Action type", **_COST}, {"by": "action_type"},
        by_month=True,
    ),
    _Section(
        "costs_by_trigger",
        "Costs by trigger",
        _COSTS,
        {"trigger_name": "Trigger", "trigger_id": "Trigger id", **_COST},
        {"by": "trigger"},
        by_month=True,
    ),
)  # fmt: skip


def read_report(config: Config, organization: str, month: str | None, timezone: str, seconds: float) -> Report:
    """Read a month, by default the last one that is over.

    `seconds` is for all questions together. Raises ParameterError for a month, a zone or an organization that is none,
    and DatabaseFault.
    """
    catalogue = Catalogue.load()
    costs = catalogue.get(_COSTS)
    # before any connection
    _bounds(costs, organization, month, timezone, datetime.now(UTC))

    def read(connection: Connection, now: datetime, app_schema: str) -> Report:
        refuse_unknown(connection, app_schema, [organization])
        name, since, until = _bounds(costs, organization, month, timezone, now)
        tables, called = [], ""
        for section in _SECTIONS:
            given = {MONTH: name} if section.by_month else {"since": since, "until": until}
            parameters = {**section.parameters, **given, "timezone": timezone}
            query = catalogue.get(section.query)
            bound = bind(query, parameters, [organization], now, app_schema, settings=query_settings(config))
            result = run(connection, in_database(connection, bound, now))
            tables.append(_table(section, query, result))
            if section.by_month and result.rows:
                called = str(result.rows[0][[column.name for column in query.columns].index("organization_name")] or "")
        return Report(organization, called or organization, name, timezone, since, until, now, tuple(tables))

    return with_session(config, seconds, read)


def _bounds(
    costs: Query, organization: str, month: str | None, timezone: str, now: datetime
) -> tuple[str, datetime, datetime]:
    """Return the month and its bounds. Raises ParameterError."""
    given: dict[str, object] = {"timezone": timezone, **({} if month is None else {MONTH: month})}
    values = costs.bind(given, [organization], now)
    since, until = values["since"], values["until"]
    assert isinstance(since, datetime)  # noqa: S101 - the query has a window
    assert isinstance(until, datetime)  # noqa: S101
    if month is None:
        since, until = later(MONTHS, since, -1, zone_of(given)), since
    if since > now:
        raise ParameterError(f"the month {month} has not begun")
    return f"{since.astimezone(zone_of(given)):%Y-%m}", since, until


def _table(section: _Section, query: Query, result: Result) -> ReportTable:
    places = {column.name: number for number, column in enumerate(query.columns)}
    columns = tuple(
        ReportColumn(field, query.columns[places[field]].unit, heading) for field, heading in section.columns.items()
    )
    rows = [tuple(row[places[column.field]] for column in columns) for row in result.rows]
    return ReportTable(section.name, section.title, columns, rows, result.notes, result.complete)
