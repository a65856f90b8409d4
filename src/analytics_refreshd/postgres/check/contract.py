"""Whether the views and functions are as the contract says, and whether this role may use them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analytics_refreshd.postgres.check.findings import Finding, error, ok, warning
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.names import quoted, split_name
from analytics_refreshd.postgres.connection.sqlfiles import blocks

Row = Mapping[str, Any]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "action_metrics_hourly": (
        "hour", "action_type", "status", "execution_count", "avg_duration_ms", "min_duration_ms", "max_duration_ms",
        "p50_duration_ms", "p95_duration_ms", "p99_duration_ms", "success_count", "failure_count", "retrying_count",
        "total_retries", "actions_with_retries"),
    "trigger_performance_summary": (
        "trigger_id", "total_executions", "success_count", "failure_count", "retrying_count", "success_rate",
        "avg_duration_ms", "min_duration_ms", "max_duration_ms", "p50_duration_ms", "p95_duration_ms",
        "p99_duration_ms", "total_retries", "avg_retries", "max_retries", "last_execution_at", "first_execution_at",
        "hours_active"),
    "recent_failures": (
        "id", "job_id", "trigger_id", "event_id", "action_type", "error_message", "retry_count", "executed_at",
        "duration_ms", "response_data"),
    "action_type_distribution": (
        "action_type", "total_executions", "success_count", "failure_count", "percentage", "avg_duration_ms",
        "total_retries", "last_execution_at"),
}  # fmt: skip
"""The contract's columns, in their order."""
_KEYS = {
    "action_metrics_hourly": ("hour", "action_type", "status"),
    "trigger_performance_summary": ("trigger_id",),
    "recent_failures": ("id",),
    "action_type_distribution": ("action_type",),
}
_REPORT = ("view_name", "refresh_duration_ms", "rows_refreshed", "success", "error_message")
_STATUS = ("view_name", "row_count", "size_bytes", "last_refresh", "age_minutes")
_SECONDS_PART = re.compile(r"(extract|date_part)\s*\(\s*'?milliseconds?\b", re.I)
# as a column of pg_stat_user_tables, and as pg_stat_get_last_vacuum_time(oid)
_VACUUM_TIME = re.compile(r"last_(auto)?(vacuum|analyze)(?![a-z0-9])", re.I)
_DEAD_ROWS = 10_000
_MIGRATE = "run `analytics-refreshd migrate`"
_MAINTAIN_SINCE = 170_000


@dataclass(frozen=True, slots=True)
class Contract:
    """What the daemon would use."""

    app_schema: str
    function: str
    status_function: str
    view_function: str
    views: tuple[str, ...]
    isolation: str


def contract_findings(connection: BoundedConnection, contract: Contract) -> Iterator[Finding]:
    """Findings on the views, the functions, and the rights on both."""
    role = _scalar(connection, "role_name", {"role": _scalar(connection, "role_oid")})
    views = {row["name"]: row for row in _rows(connection, "views", _views_of(contract))}
    functions = {(row["schema"], row["name"]): row for row in _rows(connection, "functions", _functions_of(contract))}
    refresh = functions.get(split_name(contract.function, contract.app_schema))
    single = functions.get(split_name(contract.view_function, contract.app_schema))
    status = functions.get(split_name(contract.status_function, contract.app_schema))
    for view in contract.views:
        yield from view_findings(view, views.get(view), contract.app_schema, role)
    if contract.isolation == "view":
        if single is None:
            yield warning(
                "functions",
                f"there is no {contract.view_function}(text): each view is refreshed by a plain statement",
                _MIGRATE,
            )
        else:
            yield from function_findings(contract.view_function, single, "(text)", _REPORT, role)
    else:
        yield from function_findings(contract.function, refresh, "()", _REPORT, role)
        if (
            refresh is not None
            and single is not None
            and not refresh["definer"]
            and single["name"] in refresh["source"]
        ):
            # called with this role's rights
            yield from function_findings(contract.view_function, single, "(text)", _REPORT, role)
    yield from function_findings(contract.status_function, status, "()", _STATUS, role)
    sources = [row["source"] for row in functions.values() if not row["definer"]]
    for row in _rows(connection, "uncallable", {"sources": sources}):
        grant = f"GRANT EXECUTE ON FUNCTION {row['signature']} TO {quoted(role)};"
        yield error("functions", f"no EXECUTE on {row['signature']}, which the refresh functions call", grant)
    caller = single if contract.isolation == "view" else _definer(refresh, single)
    yield from _refresh_rights(connection, contract, views, caller, role)


def view_findings(view: str, row: Row | None, schema: str, role: str) -> Iterator[Finding]:
    """Findings on one view; `row` is that of the catalogs, None where nothing has its name."""
    name = quoted(schema, view)
    if row is None:
        yield error("views", f"there is no view {schema}.{view}", _MIGRATE)
        return
    if row["kind"] != "m":
        yield error("views", f"{schema}.{view} is no materialized view", "rename it, and " + _MIGRATE)
        return
    before = True
    missing = [column for column in COLUMNS.get(view, ()) if column not in row["columns"]]
    if missing:
        before = False
        yield error(
            "views",
            f"{schema}.{view} lacks the columns {', '.join(missing)}",
            "run `analytics-refreshd migrate --replace`",
        )
    if row["narrow_columns"]:
        before = False
        yield warning(
            "views",
            f"{schema}.{view} has columns too narrow for every duration, {', '.join(row['narrow_columns'])}: a refresh "
            "fails with SQLSTATE 22003 once a value does not fit",
            "run `analytics-refreshd migrate --replace`",
        )
    if not row["usable_index"]:
        before = False
        yield _no_usable_index(view, row, schema)
    elif row["invalid_indexes"]:
        yield warning(
            "views",
            f"{schema}.{view} has an invalid index: {', '.join(row['invalid_indexes'])}",
            "; ".join(f"REINDEX INDEX {quoted(schema, index)}" for index in row["invalid_indexes"]) + ";",
        )
    if not row["populated"]:
        before = False
        yield error("views", f"{schema}.{view} was never filled", f"REFRESH MATERIALIZED VIEW {name};")
    if not row["may_select"]:
        before = False
        # its rows are counted; error texts and answers are not the daemon's to read
        right = "SELECT (id)" if view == "recent_failures" else "SELECT"
        yield error("views", f"no SELECT on {schema}.{view}", f"GRANT {right} ON {name} TO {quoted(role)};")
    if row["dead_rows"] > max(_DEAD_ROWS, row["live_rows"]):
        yield warning(
            "views",
            f"{schema}.{view} holds {row['dead_rows']} dead rows beside {row['live_rows']} live ones: autovacuum lags",
            f"VACUUM (ANALYZE) {name};",
        )
    if before:
        yield ok("views", f"{schema}.{view} is as the contract says")


def _no_usable_index(view: str, row: Row, schema: str) -> Finding:
    if row["partial_indexes"]:
        text = f"the unique index {', '.join(row['partial_indexes'])} of {schema}.{view} has a WHERE clause"
    elif row["invalid_indexes"]:
        text = f"the index {', '.join(row['invalid_indexes'])} of {schema}.{view} is invalid"
    else:
        text = f"{schema}.{view} has no unique index"
    key = ", ".join(_KEYS.get(view, ("…",)))
    # CONCURRENTLY works on a materialized view, too, but fails on duplicates only after a long wait
    remedy = f"CREATE UNIQUE INDEX ON {quoted(schema, view)} ({key});"
    return error("views", text + ": it cannot be refreshed concurrently", remedy)


def function_findings(
    name: str, row: Row | None, arguments: str, columns: Sequence[str], role: str
) -> Iterator[Finding]:
    """Findings on one function; `row` is that of the catalogs, None where there is none of this name and arguments."""
    if row is None:
        yield error("functions", f"there is no function {name}{arguments}", _MIGRATE)
        return
    called = f"{quoted(row['schema'], row['name'])}{arguments}"
    good = True
    if row["kind"] != "f":
        good = False
        yield error("functions", f"{name} is no function", _MIGRATE)
    missing = [column for column in columns if column not in row["columns"]]
    if missing and row["kind"] == "f":
        good = False
        yield error("functions", f"{name} does not return {', '.join(missing)}", _MIGRATE)
    if not row["may_execute"]:
        good = False
        grant = f"GRANT EXECUTE ON FUNCTION {called} TO {quoted(role)};"
        yield error("functions", f"no EXECUTE on {name}{arguments}", grant)
    if row["definer"] and not row["path_fixed"]:
        good = False
        yield warning(
            "functions",
            f"{name} runs with its owner's rights and its caller's search_path: who may create objects can abuse it",
            f"ALTER FUNCTION {called} SET search_path = pg_catalog, {quoted(row['schema'])}, pg_temp;",
        )
    source = row["source"]
    if _SECONDS_PART.search(source):
        good = False
        yield warning(
            "functions",
            f"{name} reports the seconds of a duration without its minutes: the daemon measures by itself",
            f"{_MIGRATE}, which upgrades it in place",
        )
    if _VACUUM_TIME.search(source):
        good = False
        yield warning(
            "functions",
            f"{name} passes off the time of a VACUUM as that of a refresh: the daemon goes by its own record",
            f"{_MIGRATE}, which upgrades it in place",
        )
    if good:
        yield ok("functions", f"{name}{arguments} is as the contract says")


def _definer(refresh: Row | None, single: Row | None) -> Row | None:
    """The function whose rights count for the REFRESH itself."""
    if refresh is not None and not refresh["definer"] and single is not None and single["definer"]:
        return single if single["name"] in refresh["source"] else refresh
    return refresh


def _refresh_rights(
    connection: BoundedConnection, contract: Contract, views: Mapping[str, Row], caller: Row | None, role: str
) -> Iterator[Finding]:
    """Whether the views can be refreshed with the rights that the function runs with; nothing where no view is."""
    if not any(view in views for view in contract.views):
        return
    as_owner = caller is not None and caller["definer"]
    oid = caller["owner_oid"] if caller is not None and as_owner else _scalar(connection, "role_oid")
    who = _scalar(connection, "role_name", {"role": oid})
    lacking = [view for view in contract.views if view in views and not _may_refresh(connection, oid, views[view])]
    if not lacking:
        yield ok("rights", f"{who} may refresh the views")
        return
    tables = ", ".join(quoted(contract.app_schema, view) for view in lacking)
    text = f"{who} may not refresh {', '.join(lacking)}"
    if connection.info.server_version >= _MAINTAIN_SINCE:
        yield error("rights", text, f"GRANT MAINTAIN ON {tables} TO {quoted(who)};")
    else:
        yield error(
            "rights",
            f"{text}: before PostgreSQL 17 only their owner may",
            f"{_MIGRATE} as their owner: the functions then act with the owner's rights",
        )


def _may_refresh(connection: BoundedConnection, role_oid: int, view: Row) -> bool:
    if _scalar(connection, "role_is_superuser", {"role": role_oid}):
        return True
    if _scalar(connection, "owns", {"role": role_oid, "owner": view["owner_oid"]}):
        return True
    if connection.info.server_version < _MAINTAIN_SINCE:
        return False
    return bool(_scalar(connection, "maintains", {"role": role_oid, "view": view["oid"]}))


def _views_of(contract: Contract) -> dict[str, Any]:
    return {"schema": contract.app_schema, "views": list(contract.views)}


def _functions_of(contract: Contract) -> dict[str, Any]:
    wanted = [
        (*split_name(contract.function, contract.app_schema), 0),
        (*split_name(contract.status_function, contract.app_schema), 0),
        (*split_name(contract.view_function, contract.app_schema), 1),
    ]
    return {
        "schemas": [schema for schema, _, _ in wanted],
        "names": [name for _, name, _ in wanted],
        "counts": [count for _, _, count in wanted],
    }


def _rows(connection: BoundedConnection, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    cursor = connection.execute(blocks("check/check.sql")[name], parameters)
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _scalar(connection: BoundedConnection, name: str, parameters: dict[str, Any] | None = None) -> Any:
    row = connection.execute(blocks("check/check.sql")[name], parameters).fetchone()
    return row[0] if row else None
