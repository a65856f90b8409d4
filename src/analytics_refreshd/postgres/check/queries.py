"""Lists the slowest statements on the log and its views, by pg_stat_statements."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from analytics_refreshd.core.cost import FIGURES, Cost
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.core.redaction import redact_error
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.connector import Connector, Profile
from analytics_refreshd.postgres.connection.errors import translating
from analytics_refreshd.postgres.connection.names import quoted
from analytics_refreshd.postgres.connection.sqlfiles import blocks

_FILE = "check/queries.sql"
_MOST = 20
_SECONDS = 30.0
_NAMES = ("action_results", *VIEWS, "refresh_action_analytics", "analytics_refresh", "analytics_api")
_HOW_TO_GET = (
    "add pg_stat_statements to shared_preload_libraries (on a managed service in its parameter group), restart the "
    "server, then CREATE EXTENSION pg_stat_statements; in this database"
)


@dataclass(frozen=True, slots=True)
class SlowQuery:
    """One statement without values, and what its calls took and cost."""

    query: str
    calls: int
    mean_ms: float
    max_ms: float
    total_ms: float
    rows: int
    cost: Cost


@dataclass(frozen=True, slots=True)
class QueryReport:
    """The slowest statements by their mean, at most twenty.

    They are counted since `since`, None where that is unknown. `problem` says why nothing is known, or not all;
    `remedy` what to do about that.
    """

    queries: tuple[SlowQuery, ...] = ()
    since: datetime | None = None
    problem: str | None = None
    remedy: str | None = None


def slow_queries(connector: Connector) -> QueryReport:
    """Read the slowest statements on the log, a view or our schemas. Raises DatabaseFault."""
    profile = Profile(statement_timeout_seconds=_SECONDS)
    with connector.connect("check", profile) as connection, translating(connection), connection.within(2 * _SECONDS):
        return _report(connection)


def _report(connection: BoundedConnection) -> QueryReport:
    statements = blocks(_FILE)
    found = connection.execute(statements["extension"]).fetchone()
    if found is None:
        return QueryReport(problem="pg_stat_statements is not installed in this database", remedy=_HOW_TO_GET)
    schema, readable, sees_all = found
    view = quoted(schema, "pg_stat_statements")
    role = quoted(connection.info.user)
    if not readable:
        grant = f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {role}; GRANT SELECT ON {view} TO {role};"
        return QueryReport(problem=f"this role may not read {view}", remedy=grant)
    names = {"names": list(_NAMES), "limit": _MOST}
    slowest = sql.SQL(statements["slowest"]).format(statements=sql.Identifier(schema, "pg_stat_statements"))
    since = sql.SQL(statements["since"]).format(info=sql.Identifier(schema, "pg_stat_statements_info"))
    try:
        rows = connection.cursor(row_factory=dict_row).execute(slowest, names).fetchall()
        counted = connection.execute(since).fetchone()
    except psycopg.errors.ObjectNotInPrerequisiteState:
        return QueryReport(problem="the server does not load pg_stat_statements", remedy=_HOW_TO_GET)
    report = QueryReport(tuple(_query(row) for row in rows), counted[0] if counted else None)
    if sees_all:
        return report
    return replace(
        report, problem="only this role's own statements are shown", remedy=f"GRANT pg_read_all_stats TO {role};"
    )


def _query(row: dict[str, Any]) -> SlowQuery:
    figures = {name: row.pop(name) for name in FIGURES}
    # a statement that is no query keeps its values
    text = redact_error(str(row.pop("query")))
    return SlowQuery(query=text, cost=Cost(**figures), **row)
