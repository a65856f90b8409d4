"""The incremental mode under test: an installation, random changes, and the comparison with the plain definitions."""

import random
from collections.abc import Callable, Collection
from typing import Any

import psycopg
from psycopg import sql

from analytics_refreshd.core.evidence import ROLLUP_VIEWS
from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.incremental.commands import Commands, plain_query
from analytics_refreshd.postgres.incremental.state import is_installed
from analytics_refreshd.postgres.schema.definitions import Definitions

Connection = psycopg.Connection[Any]

# text, not values: 1.0 and 1.00 are equal and not the same. The session's zone decides how text reads, on both sides.
_COMPARE = """
select (select count(*) from (select p::text from ({plain}) p except all select v::text from {view} v) missing),
       (select count(*) from (select v::text from {view} v except all select p::text from ({plain}) p) extra)
"""

# where a percentile stands, and how many are below it, kept by deltas alone: against the histogram itself
_MISPLACED = """
with counted as (
    select cell, duration_ms, n, sum(n) over (partition by cell order by duration_ms) as upto,
        sum(n) over (partition by cell) as total
    from analytics_refresh.duration_counts)
select s.cell, p.share, p.at, p.below, c.duration_ms, c.upto - c.n
from analytics_refresh.duration_stats s
cross join lateral (values (0.5::float8, s.p50_at, s.p50_below), (0.95, s.p95_at, s.p95_below),
    (0.99, s.p99_at, s.p99_below)) p (share, at, below)
left join counted c on c.cell = s.cell and c.upto > floor(p.share * (c.total - 1)::float8)
    and c.upto - c.n <= floor(p.share * (c.total - 1)::float8)
where (p.at, p.below) is distinct from (c.duration_ms, c.upto - c.n)
"""


def differences(
    connection: Connection, app_schema: str = "public", views: Collection[str] = VIEWS
) -> dict[str, tuple[int, int]]:
    """Per view that differs from its plain definition: rows missing and rows too many."""
    definitions = Definitions(app_schema, connection.info.server_version)
    found = {}
    for name in views:
        query = sql.SQL(_COMPARE).format(plain=plain_query(definitions, name), view=sql.Identifier(app_schema, name))
        missing, extra = connection.execute(query).fetchone() or (-1, -1)
        if missing or extra:
            found[name] = (missing, extra)
    return found


def refresh_and_compare(connection: Connection, app_schema: str = "public") -> dict[str, tuple[int, int]]:
    """Refresh, then compare with the plain definitions, and the places of the percentiles with the counts."""
    found = differences_after_refresh(connection, app_schema)
    if is_installed(connection):
        assert not connection.execute(_MISPLACED).fetchall()
    return found


def differences_after_refresh(connection: Connection, app_schema: str = "public") -> dict[str, tuple[int, int]]:
    """Refresh, then compare with the plain definitions at the same now()."""
    with connection.transaction():
        call = sql.SQL("select view_name, error_message from {}.refresh_action_analytics() where not success")
        failed = connection.execute(call.format(sql.Identifier(app_schema))).fetchall()
        assert not failed
        return differences(connection, app_schema)


def build_reason(connection: Connection) -> str | None:
    """Why the rollups were built last."""
    row = connection.execute("select build_reason from analytics_refresh.incremental").fetchone()
    return row[0] if row else None


_STATUSES = ("success", "success", "success", "failed", "retrying")
_TYPES = ("rest", "telegram", "mcp", "fax")
_TRIGGERS = 12


class Changes:
    """Random changes of the application's tables from a fixed seed; ids are never used twice."""

    def __init__(self, connection: Connection, seed: int) -> None:
        self.connection = connection
        self.random = random.Random(seed)
        self.rows = 0
        connection.execute(
            "insert into triggers (id) select 'trigger ' || i from generate_series(1, %s::int) i"
            " on conflict do nothing",
            [_TRIGGERS],
        )

    def _trigger(self) -> str | None:
        existing = [row[0] for row in self.connection.execute("select id from triggers").fetchall()]
        return self.random.choice([*existing, None]) if existing else None

    def _age(self) -> str | None:
        """An age in seconds: mostly hours, around the edges of both windows, or far away; or no time at all."""
        choice = self.random.random()
        if choice < 0.05:
            return None
        edge = self.random.choice([0, 24 * 3600, 720 * 3600, 720 * 3600 - 3600, 2000 * 3600])
        return f"{edge + self.random.uniform(-5400, 5400):.6f} seconds"

    def _duration(self) -> int | None:
        return self.random.choice(
            [None, 0, 1, 63, 64, 65, 127, 128, self.random.randint(0, 5000), self.random.randint(0, 2**31 - 1)]
        )

    def _row(self) -> list[Any]:
        self.rows += 1
        return [
            f"row {self.rows}", f"job {self.rows}", self._trigger(), self.random.choice(_TYPES),
            self.random.choice(_STATUSES), self._age(), self._duration(),
            self.random.choice([None, "broken", ""]), self.random.choice([None, 0, 0, 1, 2, 7]),
        ]  # fmt: skip

    def insert(self) -> None:
        """Insert some rows with one statement each."""
        for _ in range(self.random.randint(1, 8)):
            self.connection.execute(
                "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms,"
                " error_message, retry_count) values (%s, %s, %s, %s, %s, now() - %s::interval, %s, %s, %s)",
                self._row(),
            )

    def copy(self) -> None:
        """Insert many rows with COPY."""
        rows = [self._row() for _ in range(self.random.randint(1, 30))]
        now = (self.connection.execute("select now()").fetchone() or [None])[0]
        columns = "id, job_id, trigger_id, action_type, status, executed_at, duration_ms, error_message, retry_count"
        with self.connection.cursor() as cursor, cursor.copy(f"copy action_results ({columns}) from stdin") as copy:
            for row in rows:
                copy.write_row([*row[:5], None if row[5] is None else now, *row[6:]])

    def insert_many(self) -> None:
        """Insert rows that are alike in everything the views read."""
        self.rows += 20
        self.connection.execute(
            "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
            " select %s || i, 'job', %s, 'rest', 'success', now() - %s::interval, %s from generate_series(1, 20) i",
            [f"alike {self.rows} ", self._trigger(), self._age(), self._duration()],
        )

    def update(self) -> None:
        """Update a random part of the rows: what the views read, what they do not, the key."""
        change = self.random.choice(
            [
                "status = case status when 'retrying' then 'success' when 'success' then 'failed' else status end",
                "duration_ms = nullif(mod(duration_ms::bigint * 3, 9973)::int, 5)",
                "executed_at = executed_at - interval '47 minutes'",
                "executed_at = null",
                "executed_at = coalesce(executed_at, now()) + interval '5 hours'",
                "retry_count = coalesce(retry_count, 0) + 1",
                "retry_count = null, action_type = 'mcp'",
                "trigger_id = null",
                "error_message = error_message || '!', response_data = '{}'",
                "id = id || '+', job_id = job_id",
            ]
        )
        self.connection.execute(f"update action_results set {change} where hashtext(id || %s) %% 5 = 0", [self._salt()])

    def upsert(self) -> None:
        """Insert or update with one statement."""
        self.connection.execute(
            "insert into action_results (id, job_id, action_type, status, duration_ms)"
            " select id, job_id, action_type, 'failed', 77 from action_results where hashtext(id || %s) %% 7 = 0"
            " on conflict (id) do update set status = excluded.status, duration_ms = excluded.duration_ms",
            [self._salt()],
        )

    def delete(self) -> None:
        """Delete a random part of the rows."""
        self.connection.execute("delete from action_results where hashtext(id || %s) %% 6 = 0", [self._salt()])

    def retain(self) -> None:
        """Delete what is older than a random age, as a retention does."""
        hours = self.random.choice([2000, 721, 720, 24, 1])
        self.connection.execute(
            "delete from action_results where executed_at < now() - %s * interval '1 hour'", [hours]
        )

    def delete_trigger(self) -> None:
        """Delete a trigger, which sets trigger_id of its rows to null, and create it anew."""
        trigger = self._trigger()
        self.connection.execute("delete from triggers where id = %s", [trigger])
        if self.random.random() < 0.7:
            self.connection.execute(
                "insert into triggers (id) values (coalesce(%s, 'new')) on conflict do nothing", [trigger]
            )

    def truncate(self) -> None:
        """Empty the table."""
        self.connection.execute("truncate action_results")

    def nothing(self) -> None:
        """Change nothing, with a statement."""
        self.connection.execute("update action_results set status = 'failed' where false")

    def _salt(self) -> str:
        return str(self.random.random())

    def any(self) -> None:
        """One random change."""
        kinds: list[tuple[Callable[[], None], int]] = [
            (self.insert, 30), (self.copy, 12), (self.insert_many, 6), (self.update, 24), (self.upsert, 6),
            (self.delete, 8), (self.retain, 4), (self.delete_trigger, 5), (self.truncate, 1), (self.nothing, 4),
        ]  # fmt: skip
        self.random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]()


def read_rollups_alone(connection: Connection, app: str = "public") -> None:
    """Make the views as before: over the rollups, without a fold, in the place of ours and with their indexes."""
    commands = Commands(Definitions(app, connection.info.server_version))
    for view in ROLLUP_VIEWS:
        named = sql.Identifier(app, view)
        query = "select indexdef from pg_indexes where schemaname = %s and tablename = %s"
        indexes = connection.execute(query, [app, view]).fetchall()
        connection.execute(sql.SQL("drop materialized view {}").format(named))
        connection.execute(sql.SQL("create materialized view {} as {}").format(named, commands.query(view)))
        for (index,) in indexes:
            connection.execute(index)
