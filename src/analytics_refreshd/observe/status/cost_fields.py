"""The status document's fields on what refreshes cost, and on space."""

from analytics_refreshd.core.cost import Cost, Spent
from analytics_refreshd.core.disk import DiskForecast
from analytics_refreshd.core.model import Run
from analytics_refreshd.core.spending import Spending, ViewSpent
from analytics_refreshd.observe.status.field import BYTES, COUNT, ID, LIST, OBJECT, SECONDS, TEXT, TIME, Field

COST_FIELDS: tuple[Field[Cost | None], ...] = (
    Field("wal_bytes", BYTES, "written to the WAL", lambda cost: cost and cost.wal_bytes, nullable=True),
    Field("blocks_hit", COUNT, "found in PostgreSQL's buffers", lambda cost: cost and cost.blocks_hit, nullable=True),
    Field("blocks_read", COUNT, "read into them", lambda cost: cost and cost.blocks_read, nullable=True),
    Field(
        "temporary_bytes",
        BYTES,
        "written to temporary files and tables",
        lambda cost: cost and cost.temporary_bytes,
        nullable=True,
    ),
)
"""Null is unknown."""

_LAST_RUN: tuple[Field[Run], ...] = (
    Field("run_id", ID, "the run", lambda run: run.run_id),
    Field("started_at", TIME, "when it began", lambda run: run.started_at),
    Field("rows_folded", COUNT, "changes that its fold took", lambda run: run.rows_folded, nullable=True),
    Field("cost", OBJECT, "its last attempt's", lambda run: run.cost or Cost(), fields=COST_FIELDS),
)

_SPENT: tuple[Field[Spent], ...] = (
    Field("runs", COUNT, "how many there were", lambda spent: spent.runs),
    Field("unknown", COUNT, "and how many of them are not in `cost`", lambda spent: spent.unknown),
    Field("cost", OBJECT, "of the others together", lambda spent: spent.cost or Cost(), fields=COST_FIELDS),
)

_OF_VIEW: tuple[Field[ViewSpent], ...] = (
    Field("view", TEXT, "its name", lambda of: of.view),
    Field("spent", OBJECT, "on it alone", lambda of: of.spent, fields=_SPENT),
)

SPENDING_FIELDS: tuple[Field[Spending], ...] = (
    Field("last_run", OBJECT, "the last that ended", lambda every: every.last_run, nullable=True, fields=_LAST_RUN),
    Field("day", OBJECT, "the runs of the last 24 hours", lambda every: every.day, fields=_SPENT),
    Field("views", LIST, "the same for each view", lambda every: every.views, fields=_OF_VIEW),
)

DISK_FIELDS: tuple[Field[DiskForecast], ...] = (
    Field("database_bytes", BYTES, "what the database takes, as of the last hour", lambda disk: disk.database_bytes),
    Field("capacity_bytes", BYTES, "`[alerts] disk_bytes`", lambda disk: disk.capacity_bytes),
    Field(
        "growth_bytes_per_day",
        BYTES,
        "the median of two weeks",
        lambda disk: None if disk.growth_bytes_per_day is None else round(disk.growth_bytes_per_day),
        nullable=True,
    ),
    Field(
        "seconds_left",
        SECONDS,
        "until the rest is used up; null where nothing grows, or too little is known",
        lambda disk: disk.seconds_left,
        nullable=True,
    ),
)
