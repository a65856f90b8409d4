"""Measures what a covering index would gain the queries that read rows.

The log is only read: a copy of its newest rows in a temporary table gets the index. It is as wide as the log's rows
and holds no text of theirs but type, status and trigger. It goes with the session.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import sql

from analytics_refreshd.core.errors import DatabaseFault
from analytics_refreshd.core.model import Reason
from analytics_refreshd.postgres.catalogue.definition import Query
from analytics_refreshd.postgres.catalogue.files import Catalogue, relations
from analytics_refreshd.postgres.catalogue.run import statement
from analytics_refreshd.postgres.catalogue.settings import DEFAULTS
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.connector import Connector, Profile
from analytics_refreshd.postgres.connection.errors import translating
from analytics_refreshd.postgres.connection.names import quoted
from analytics_refreshd.postgres.connection.sqlfiles import blocks

COVERED = ("action_type", "status", "duration_ms", "trigger_id", "retry_count")
_LEAST_ROWS, _MOST_ROWS = 1_000, 100_000
_STATEMENT_SECONDS, _SECONDS = 120.0, 600.0
_ROW_BYTES = 90
"""About what a copied row takes without its filler."""
_WIDEST = 1_900
"""A wider value would be stored apart from its row, and be no obstacle to whoever reads the others."""
_COPIED = "pg_temp.action_rows"


@dataclass(frozen=True, slots=True)
class Gain:
    """One query over the newest tenth of the copy: blocks of 8 kB that it reads, and how long it takes."""

    query: str
    blocks_before: int
    blocks_with: int
    ms_before: float
    ms_with: float


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What was measured on `rows_copied` rows of about `rows`.

    `present` names an index that covers the queries already. `size_bytes` is what it would take for all rows. The
    microseconds are those of inserting a row into the copy.
    """

    commands: tuple[str, ...]
    present: str | None
    rows: int
    rows_copied: int
    gains: tuple[Gain, ...]
    size_bytes: int
    insert_us_before: float
    insert_us_with: float


def measure_index(connector: Connector) -> IndexReport:
    """Copy, measure, create the index on the copy, and measure again. Raises DatabaseFault."""
    profile = Profile(statement_timeout_seconds=_STATEMENT_SECONDS)
    try:
        with connector.connect("check", profile) as connection, translating(connection), connection.within(_SECONDS):
            return _Measuring(connection, connector.settings.app_schema).report()
    except DatabaseFault as fault:
        if fault.reason is Reason.PERMISSION:
            raise fault.reworded(
                f"{fault.message}: `-v probes=1` of deploy/sql/grants.sql lets a role read what the queries read"
            ) from None
        raise


class _Measuring:
    """One copy, over one connection in autocommit mode."""

    def __init__(self, connection: BoundedConnection, app_schema: str) -> None:
        self._connection = connection
        self._app_schema = app_schema
        self._sql = blocks("check/indexes.sql")
        self._table = sql.Identifier(app_schema, "action_results")

    def report(self) -> IndexReport:
        """Measure, unless there is such an index or too little to measure."""
        rows, width, *leaves = self._row("log", table=self._table.as_string(None))
        found = self._indexes()
        present = next((name for name, covers in found if covers), None)
        copied = 0 if present else self._copy(width)
        gains: tuple[Gain, ...] = ()
        size, before, after = 0, 0.0, 0.0
        if copied >= _LEAST_ROWS:
            if found:
                self._do("plain_index")
            self._do("vacuum")
            asked = self._measured()
            before = self._insert_us(copied)
            self._do("covering_index")
            self._do("vacuum")
            with_it = self._measured()
            after = self._insert_us(copied, covering=True)
            gains = tuple(
                Gain(name, asked[name][0], with_it[name][0], asked[name][1], with_it[name][1]) for name in asked
            )
            size = int(self._row("size")[0] / copied * max(rows, copied))
        commands = self._commands(list(zip(*leaves, strict=True)))
        return IndexReport(commands, present, max(rows, copied), copied, gains, size, before, after)

    def _commands(self, leaves: list[tuple[str, str]]) -> tuple[str, ...]:
        """Return what creates it; on the parent of partitions, once they have theirs, it only joins them."""
        covering = f"(executed_at) include ({', '.join(COVERED)});"
        log = (self._app_schema, "action_results")
        commands = [f"create index concurrently on {quoted(*leaf)} {covering}" for leaf in leaves]
        return (*commands, *([] if leaves == [log] else [f"create index on {quoted(*log)} {covering}"]))

    def _indexes(self) -> list[tuple[str, bool]]:
        given = {"table": self._table.as_string(None), "columns": list(COVERED)}
        return [(str(name), bool(covers)) for name, covers in self._connection.execute(self._sql["indexes"], given)]

    def _copy(self, width: int) -> int:
        filler = sql.Literal(max(0, min(width - _ROW_BYTES, _WIDEST)))
        self._do("copy", table=self._table, rows=sql.Literal(_MOST_ROWS), filler=filler)
        return int(self._row("window")[0])

    def _measured(self) -> dict[str, tuple[int, float]]:
        """Return blocks and milliseconds of each query over the newest tenth of the copy."""
        _, since, until = self._row("window")
        window = {"since": since, "until": until}
        queries = [query for query in Catalogue.load().queries.values() if query.reads_rows and query.window]
        return {query.name: self._explained(query, window) for query in queries}

    def _explained(self, query: Query, window: Mapping[str, object]) -> tuple[int, float]:
        copied = {
            name: relations()[name].replace("{app}.action_results", _COPIED)
            for name in query.relations
            if "{app}.action_results" in relations()[name]
        }
        body = statement(query, self._app_schema, limited=False, replaced=copied)
        explain = sql.SQL(self._sql["explain"]).format(query=body)
        values = {**DEFAULTS.values(query, None), **query.bind({}, None, datetime.now(UTC)), **window}
        # the first reads what the second finds in memory
        self._connection.execute(explain, values)
        ((((found,),),),) = (self._connection.execute(explain, values).fetchall(),)
        return _blocks(found["Plan"]), float(found["Execution Time"])

    def _insert_us(self, copied: int, *, covering: bool = False) -> float:
        self._do("cover_written" if covering else "written")
        if covering:
            self._do("empty")
        begun = time.monotonic()
        self._do("write")
        return (time.monotonic() - begun) * 1e6 / copied

    def _row(self, name: str, **given: object) -> tuple[Any, ...]:
        return self._connection.execute(self._sql[name], given or None).fetchall()[0]

    def _do(self, name: str, **names: sql.Composable) -> None:
        text = self._sql[name]
        self._connection.execute(sql.SQL(text).format(**names) if names else sql.SQL(text))


def _blocks(plan: Mapping[str, Any]) -> int:
    kinds = ("Shared Hit", "Shared Read", "Local Hit", "Local Read")
    return sum(int(plan.get(f"{kind} Blocks", 0)) for kind in kinds)
