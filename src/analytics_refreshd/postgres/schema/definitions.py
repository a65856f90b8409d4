"""What our views, indexes and functions are to look like in a given database."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from psycopg import sql

from analytics_refreshd.core import names
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.core.names import REFRESH_FUNCTION, STATUS_FUNCTION
from analytics_refreshd.postgres.connection import sqlfiles

# columns of action_results that the views read
SOURCE_COLUMNS = (
    "id", "job_id", "trigger_id", "event_id", "action_type", "status", "executed_at", "duration_ms",
    "error_message", "response_data", "retry_count",
)  # fmt: skip
# name to argument types
FUNCTIONS: Mapping[str, str] = MappingProxyType(
    {
        "refresh_action_analytics_view": "text",
        "refresh_action_analytics": "",
        "get_analytics_refresh_status": "",
    }
)
CONTRACT_FUNCTIONS = (REFRESH_FUNCTION, STATUS_FUNCTION)
_MIGRATIONS = "schema/migrations/"
OUR_SCHEMA = "analytics_refresh"
OUR_TABLES = (
    "schema_version", "installation", "last_refresh", "runs", "view_results", "alerts", "deliveries", "pauses",
    "retention_runs", "retention_months", "erasures", "operator_requests", "operator_request_steps",
)  # fmt: skip
INCREMENTAL_TABLES = (
    "incremental", "deltas", "rebuild_marks", "hour_cells", "trigger_cells", "type_cells", "duration_counts",
    "retry_counts", "duration_stats", "window_edge", "type_window", "view_changes", "view_refreshes",
)  # fmt: skip
TENANT_SCHEMA = names.TENANT_SCHEMA
TENANT_TABLES = ("api_keys", "api_secrets", "api_questions")
FROZEN_TABLES = (
    "frozen_hours", "frozen_triggers", "frozen_types", "frozen_durations", "frozen_retries", "frozen_series",
    "frozen_days",
)  # fmt: skip
OUTBOX_TABLES = ("outbox", "outbox_batches", "outbox_rows", "outbox_sender", "outbox_ranges")


def compose(text: str, **names: sql.Composable) -> sql.Composed:
    """`text`, SQL from the package or from the server's catalogs, with its `{placeholders}` filled."""
    return sql.SQL(text).format(**names)


def verbatim(text: str) -> sql.Composed:
    """`text`, a command that the server itself wrote out, with nothing filled in."""
    return sql.Composed([sql.SQL(text)])


def set_role(role: str) -> sql.Composed:
    """Return the command that acts as `role` until the transaction's end or the next such command."""
    return compose("set local role {role}", role=sql.Identifier(role))


def create_schema(owner: str) -> sql.Composed:
    """Return the command that creates our schema for `owner`.

    It fails where another has taken the name meanwhile.
    """
    return compose("create schema analytics_refresh authorization {owner}", owner=sql.Identifier(owner))


@cache
def migrations() -> tuple[str, ...]:
    """Resources of the migrations in order; the number of each is its place, counted from 1."""
    names = sqlfiles.names(_MIGRATIONS)
    if [int(name[:4]) for name in names] != list(range(1, len(names) + 1)):
        raise ValueError(f"migrations are not numbered 1, 2, 3 …: {names}")
    return tuple(_MIGRATIONS + name for name in names)


def _creates_objects(resource: str) -> bool:
    return sqlfiles.text(resource).startswith("-- name: ")


@cache
def _objects() -> Mapping[str, str]:
    """Each object's newest definition: a later migration that has a block of the same name replaces it."""
    merged: dict[str, str] = {}
    for resource in filter(_creates_objects, migrations()):
        merged.update(sqlfiles.blocks(resource))
    return MappingProxyType(merged)


def index_names(view: str) -> tuple[str, ...]:
    """Names of the indexes that the contract wants on `view`, the unique one first."""
    return tuple(name for name in _objects() if name.startswith(f"idx_{view}_"))


def latest_version() -> int:
    """The version of the schema that this code brings."""
    return len(migrations())


def migration_name(number: int) -> str:
    """File name of migration `number`, counted from 1, without its suffix."""
    return migrations()[number - 1].removeprefix(_MIGRATIONS).removesuffix(".sql")


@dataclass(frozen=True, slots=True)
class Definitions:
    """The definitions for one application schema on one version of the server."""

    app_schema: str
    server_version: int
    # without our schema the functions name nothing of it: whoever created one of that name would be trusted
    standalone: bool = False
    # recent_failures stores error messages redacted, and no answers
    redacted: bool = False

    def failure_texts(self) -> dict[str, sql.Composable]:
        """Return the expressions of the texts of recent_failures, by column."""
        form = "redacted" if self.redacted else "stored"
        return {
            column: verbatim(sqlfiles.blocks("schema/redaction.sql")[f"{form}_{column}"])
            for column in ("error_message", "response_data")
        }

    def is_definer(self, function: str) -> bool:
        """Whether `function`, one of FUNCTIONS, acts as its owner."""
        if function == STATUS_FUNCTION:
            return not self.standalone
        # before 17 there is no MAINTAIN: only the views' owner can refresh, so the functions act as that owner
        return self.server_version < 170000

    def _fill(self, text: str, target: str) -> sql.Composed:
        def security(function: str) -> sql.SQL:
            return sql.SQL("security definer" if self.is_definer(function) else "security invoker")

        app_name = sql.Literal(self.app_schema)
        return compose(
            text,
            app=sql.Identifier(self.app_schema),
            app_name=app_name,
            target=sql.Identifier(target),
            security=security("refresh_action_analytics"),
            status_security=security(STATUS_FUNCTION),
            record=sql.SQL("null;") if self.standalone else verbatim(_objects()["record"]),
            recorded_status=sql.SQL("")
            if self.standalone
            else compose(_objects()["recorded_status"], app_name=app_name),
            **self.failure_texts(),
        )

    def migration(self, number: int) -> sql.Composed | None:
        """The script of migration `number`; None where it only brings definitions of objects."""
        resource = migrations()[number - 1]
        return None if _creates_objects(resource) else self._fill(sqlfiles.text(resource), self.app_schema)

    def create(self, name: str, target: str | None = None) -> sql.Composed:
        """The command that creates the view, index or function `name` in `target` (default: the app schema)."""
        return self._fill(_objects()[name], target or self.app_schema)

    def comments(self, name: str, target: str | None = None) -> sql.Composed:
        """The COMMENT commands of a view with its columns and indexes, or of a function."""
        return self.create(f"{name}_comments", target)

    def view(self, name: str, target: str | None = None) -> list[sql.Composed]:
        """The commands that create a view, unpopulated, with its indexes and comments."""
        return [
            self.create(name, target),
            *(self.create(index, target) for index in index_names(name)),
            self.comments(name, target),
        ]

    def everything(self, target: str) -> list[sql.Composed]:
        """All views and functions, in `target`: what the server makes of them is what to compare with."""
        commands = [command for view in VIEWS for command in self.view(view, target)]
        return commands + [self.create(function, target) for function in FUNCTIONS]
