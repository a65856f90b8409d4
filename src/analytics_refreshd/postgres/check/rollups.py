"""Whether the incremental mode captures and folds every change, and this role may see that."""

from collections.abc import Iterator

from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.check.findings import Finding, error, ok, warning
from analytics_refreshd.postgres.check.rights import grant, missing_rights, uncallable
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.names import quoted
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.incremental import horizon
from analytics_refreshd.postgres.incremental.commands import Commands
from analytics_refreshd.postgres.incremental.state import state
from analytics_refreshd.postgres.schema.definitions import Definitions

_RIGHTS = {"incremental": ("SELECT",), "deltas": ("SELECT",), "rebuild_marks": ("SELECT",)}
_STATE_CALLS = "analytics_refresh.capture_now( analytics_refresh.obstacles("
_DAEMON_CALLS = " ".join(
    f"analytics_refresh.{name}(" for name in ("fold", "note_obstacles", "rebuild_step", "view_due")
)
_MIGRATE = "run `analytics-refreshd migrate`, which puts its functions in place"


def incremental_findings(connection: BoundedConnection, app_schema: str, max_age_seconds: float) -> Iterator[Finding]:
    """Findings on the incremental mode; none in plain mode. Changes may wait for `max_age_seconds`."""
    role = quoted(connection.info.user)
    mode = connection.execute(blocks("state/status.sql")["mode"]).fetchone()
    if mode != ("incremental",):
        return
    lacking, _ = missing_rights(connection, _RIGHTS)
    for table, privileges in lacking.items():
        yield warning("incremental", *grant(table, privileges, role))
    denied = list(uncallable(connection, "incremental", _STATE_CALLS, "the backlog stays unknown", role))
    denied += uncallable(connection, "incremental", _DAEMON_CALLS, "the views over rollups fail", role)
    yield from denied
    if lacking or denied:
        return
    yield from _foreign(connection, app_schema)
    yield from _bare(connection, app_schema)
    found = state(connection)
    for text in found.obstacles:
        yield error("incremental", printable(text), "undo that, or go back with `analytics-refreshd migrate --plain`")
    for text in found.unheld:
        yield error("incremental", text, "correct these rows, and keep such values out by a constraint")
    for table in found.uncaptured:
        yield error(
            "incremental",
            f"not all changes of {printable(table)} are captured",
            "run `analytics-refreshd migrate --incremental` again",
        )
    if found.verified_ok is False:
        yield error(
            "incremental",
            f"the last verification found {found.verified_differences} differing rows",
            "keep what `migrate --verify` prints, then `analytics-refreshd migrate --verify --rebuild`",
        )
    overdue = connection.execute(blocks("check/check.sql")["verification_overdue"]).fetchone()
    if overdue is not None and overdue[1]:
        lately = "not" if overdue[0] is None else f"not since {overdue[0]:%Y-%m-%d %H:%M} UTC"
        yield warning(
            "incremental",
            f"the rollups were {lately} compared with the plain definitions",
            "run `analytics-refreshd migrate --verify`, daily by its timer or CronJob (deploy/guides/incremental.md)",
        )
    if found.rebuild_reason:
        yield warning("incremental", f"the next refresh rebuilds the rollups: {printable(found.rebuild_reason)}")
    if found.late_rows:
        yield warning(
            "incremental",
            f"{found.late_rows:,} rows came before {found.frozen_until:%Y-%m-%d %H:%M} UTC, or were changed there, "
            "where figures are frozen",
            "find out what writes or changes rows that old (deploy/guides/incremental.md)",
        )
    yield from _unowned(connection, app_schema)
    idle = list(_idle(connection, found.delta_rows, max_age_seconds))
    yield from idle
    wrong = (*found.obstacles, *found.unheld, *found.uncaptured, *idle)
    if not wrong and found.verified_ok is not False:
        frozen = f", frozen until {found.frozen_until:%Y-%m-%d %H:%M} UTC" if found.frozen_until else ""
        yield ok("incremental", f"{found.delta_rows} changed rows wait for the next refresh{frozen}")


def _unowned(connection: BoundedConnection, app_schema: str) -> Iterator[Finding]:
    if horizon.is_used(connection) and not horizon.knows_organizations(connection, app_schema):
        yield warning(
            "incremental",
            f"days are frozen without organizations: {printable(app_schema)}.triggers is no table of the owner of "
            "action_results with the texts id and organization_id, or row security hides rows of it from that owner",
            "change that before more is frozen: what is frozen stays without them",
        )


def _foreign(connection: BoundedConnection, app_schema: str) -> Iterator[Finding]:
    commands = Commands(Definitions(app_schema, connection.info.server_version))
    for (name,) in connection.execute(commands.foreign_functions()).fetchall():
        yield error(
            "incremental",
            f"{printable(name)} is not the function that was installed: a refresh by it may leave changes out",
            _MIGRATE,
        )


def _bare(connection: BoundedConnection, app_schema: str) -> Iterator[Finding]:
    commands = Commands(Definitions(app_schema, connection.info.server_version))
    row = connection.execute(commands.views_without_fold()).fetchone()
    if row and row[0]:
        yield warning(
            "incremental",
            f"a bare REFRESH MATERIALIZED VIEW leaves old figures in {', '.join(row[0])}: they are an older program's",
            "run `analytics-refreshd migrate`, or with --replace where it says that it kept them; until then "
            "refresh by `select refresh_action_analytics()`",
        )


def _idle(connection: BoundedConnection, pending: int | None, limit_seconds: float) -> Iterator[Finding]:
    """An error where changes wait, and nothing was folded for longer than a view may be old."""
    idle = connection.execute(blocks("check/check.sql")["fold_idle"], {"seconds": limit_seconds}).fetchone()
    if pending and idle is not None:
        yield error(
            "incremental",
            f"{pending:,} changed rows wait, and none was folded since {idle[0]:%Y-%m-%d %H:%M} UTC",
            "`analytics-refreshd history --limit 5` says whether refreshes run, and why they fail",
        )
