"""Action logs of any size for the benchmarks: same arguments, same rows, made inside the server."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.Connection[tuple[Any, ...]]

DAYS = 30
TRIGGERS = 1_000
FAILED_PERCENT = 5.0

# Every value is a hash of the row's number, so that a row does not depend on the chunk it is made in. A few
# triggers do most of the work; durations are log-normal, failures slower, cut at a time-out of 30 s; one row in
# fifty has no duration, one in a hundred no trigger, one in ten thousand no time.
_ROWS = """
insert into action_results (id, job_id, trigger_id, event_id, action_type, status, executed_at, duration_ms,
                            error_message, response_data, retry_count)
select md5('row' || i)::uuid::text,
       'job-' || i,
       case when r.trigger >= 0.01 then 'trigger-' || floor(%(triggers)s * power(r.share, 2))::int end,
       'event-' || i / 3,
       (array['rest', 'rest', 'rest', 'telegram', 'telegram', 'mcp'])[1 + floor(6 * r.type)::int],
       s.status,
       case when r.timeless >= 0.0001 then %(since)s::timestamptz + r.age * %(span)s::interval end,
       case when r.endless >= 0.02 then least(30000, floor(exp(
            5.3 + case when s.status = 'success' then 0 else 1.2 end
            + 0.9 * sqrt(-2 * ln(1 - r.normal)) * cos(2 * pi() * r.angle))))::int end,
       case when s.status = 'failed'
            then (array['HTTP 502 from upstream', 'connection reset by peer', 'read timed out after 30 s',
                        'HTTP 429: slow down', 'name or service not known'])[1 + floor(5 * r.type)::int]
                 || ' (attempt ' || i %% 4 || ')' end,
       case when s.status <> 'retrying'
            then jsonb_build_object('code', case when s.status = 'success' then 200 else 502 end,
                                    'region', 'eu-' || i %% 3, 'bytes', i %% 4096) end,
       case when s.status = 'success' and r.retry < 0.95 then 0 else floor(4 * r.angle)::int end
from generate_series(%(first)s::bigint, %(last)s::bigint) i
cross join lateral (
    select (hashint8extended(i, 1) & 2147483647) / 2147483648.0::float8 as age,
           (hashint8extended(i, 2) & 2147483647) / 2147483648.0::float8 as share,
           (hashint8extended(i, 3) & 2147483647) / 2147483648.0::float8 as type,
           (hashint8extended(i, 4) & 2147483647) / 2147483648.0::float8 as status,
           (hashint8extended(i, 5) & 2147483647) / 2147483648.0::float8 as normal,
           (hashint8extended(i, 6) & 2147483647) / 2147483648.0::float8 as angle,
           (hashint8extended(i, 7) & 2147483647) / 2147483648.0::float8 as endless,
           (hashint8extended(i, 8) & 2147483647) / 2147483648.0::float8 as timeless,
           (hashint8extended(i, 9) & 2147483647) / 2147483648.0::float8 as trigger,
           (hashint8extended(i, 10) & 2147483647) / 2147483648.0::float8 as retry) r
cross join lateral (
    select case when r.status < %(failed)s::float8 / 100 then 'failed'
                when r.status < %(failed)s::float8 / 100 + 0.02 then 'retrying' else 'success' end as status) s
"""


def add_rows(
    connection: Connection,
    first: int,
    count: int,
    *,
    since: datetime,
    span: timedelta,
    triggers: int = TRIGGERS,
    failed_percent: float = FAILED_PERCENT,
) -> None:
    """Insert the `count` rows numbered from `first`, executed in the `span` that begins at `since`."""
    connection.execute(
        _ROWS,
        {
            "first": first,
            "last": first + count - 1,
            "since": since,
            "span": span,
            "triggers": triggers,
            "failed": failed_percent,
        },
    )


def fill(
    connection: Connection,
    rows: int,
    *,
    triggers: int = TRIGGERS,
    failed_percent: float = FAILED_PERCENT,
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Fill empty `action_results` and `triggers` with 30 days that end now, hour by hour as a log is written.

    The hours of a day carry between half and one and a half times the average. Indexes and constraints are
    dropped first and built at the end. `progress` is called with the share done, 0 to 1.
    """
    connection.execute(
        "insert into triggers (id, name) select 'trigger-' || i, 'Trigger ' || i"
        " from generate_series(0, %s::int - 1) i",
        [triggers],
    )
    constraints = connection.execute(
        "select conname, pg_get_constraintdef(oid) from pg_constraint"
        " where conrelid = 'action_results'::regclass and contype in ('p', 'f') order by contype desc"
    ).fetchall()
    table = sql.Identifier("action_results")
    for name, _ in constraints:
        connection.execute(sql.SQL("alter table {} drop constraint {}").format(table, sql.Identifier(name)))
    indexes = connection.execute(
        "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index"
        " where indrelid = 'action_results'::regclass"
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"drop index {name}")
    (now,) = connection.execute("select clock_timestamp()").fetchone() or (None,)
    hours = DAYS * 24
    steps = hours * 1.7
    done = 0
    for hour in range(hours):
        until = round(rows * (hour + 1 + _wave(hour + 1)) / hours) if hour + 1 < hours else rows
        add_rows(
            connection,
            done + 1,
            until - done,
            since=now - timedelta(hours=hours - hour),
            span=timedelta(hours=1),
            triggers=triggers,
            failed_percent=failed_percent,
        )
        done = until
        progress(hour / steps)
    builds = [
        *(f"alter table action_results add constraint {name} {definition}" for name, definition in constraints),
        *(definition for _, definition in indexes),
        "vacuum (analyze) action_results",
        "vacuum (analyze) triggers",
    ]
    for number, statement in enumerate(builds, start=1):
        connection.execute(statement)
        progress((hours + number / len(builds) * (steps - hours)) / steps)


def _wave(hours: int) -> float:
    """How far, in average hours, a day's wave is ahead of an even load after this many hours."""
    return 0.5 * 24 / math.tau * math.sin(math.tau * hours / 24)
