"""An oracle for the frozen horizon: a table that is told every change of rows that still count."""

from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from analytics_refreshd.postgres.incremental.commands import plain_query
from analytics_refreshd.postgres.schema.definitions import Definitions
from tests.support.incremental import build_reason, differences

Connection = psycopg.Connection[Any]

FROZEN_VIEWS = ("action_metrics_hourly", "trigger_performance_summary")
OTHER_VIEWS = ("recent_failures", "action_type_distribution")

# row by row, by triggers that know nothing of ours; and what to make of it, in order
_CREATE = """
create schema oracle;
create table oracle.action_results (
    like public.action_results including defaults, gone boolean not null default false,
    frozen boolean not null default false, organization_id text);
create table oracle.changes (
    number bigint generated always as identity, before jsonb, after jsonb, emptied boolean not null default false);
create function oracle.note() returns trigger language plpgsql as $$
begin
    insert into oracle.changes (before, after, emptied) values (
        case when tg_op in ('UPDATE', 'DELETE') then to_jsonb(old) end,
        case when tg_op in ('INSERT', 'UPDATE') then to_jsonb(new) end, tg_op = 'TRUNCATE');
    return null;
end $$;
create trigger oracle_rows after insert or update or delete on public.action_results
    for each row execute function oracle.note();
create trigger oracle_truncate after truncate on public.action_results
    for each statement execute function oracle.note();
alter table public.action_results enable always trigger oracle_rows, enable always trigger oracle_truncate;
insert into oracle.action_results select r.* from public.action_results r;
create function oracle.learn(horizon timestamptz, due timestamptz, applies boolean) returns void language plpgsql as $$
declare
    change record;
    was public.action_results;
    is_now public.action_results;
begin
    update oracle.action_results set gone = true where executed_at < horizon;
    for change in select * from oracle.changes order by number loop
        if change.emptied then
            delete from oracle.action_results where not gone;
        end if;
        was := jsonb_populate_record(null::public.action_results, change.before);
        is_now := jsonb_populate_record(null::public.action_results, change.after);
        if change.before is not null and (was.executed_at < horizon) is not true then
            if change.after is null and was.executed_at < due then
                update oracle.action_results set gone = true where id = was.id and not gone;
            else
                delete from oracle.action_results where id = was.id and not gone;
            end if;
        end if;
        if change.after is not null and (is_now.executed_at < horizon) is not true then
            insert into oracle.action_results select is_now.*, false;
        elsif applies and change.before is null and change.after is not null then
            insert into oracle.action_results select is_now.*, true;
        end if;
    end loop;
    delete from oracle.changes;
end $$;
"""
_HORIZON = """
select i.frozen_until::text,
    greatest(i.frozen_until, date_trunc('hour', now() - i.retained + interval '24 hours', 'UTC'))::text,
    i.late_rows = 'apply'
from analytics_refresh.incremental i
"""
# of a row that is frozen by now, the organization that its trigger belongs to: asked at once after the freeze
_FREEZE = """
update oracle.action_results o
set frozen = true, organization_id = (select t.organization_id from public.triggers t where t.id = o.trigger_id)
from analytics_refresh.incremental i where o.executed_at < i.frozen_until and not o.frozen
"""
_DAYS = """
select (o.executed_at at time zone 'UTC')::date as day, o.trigger_id, o.organization_id, o.action_type, o.status,
    count(*) as n, count(o.duration_ms) as timed, count(*) filter (where o.retry_count > 0) as retried,
    coalesce(sum(o.duration_ms), 0) as duration_total, coalesce(sum(o.retry_count), 0) as retry_total
from oracle.action_results o where o.frozen group by 1, 2, 3, 4, 5
"""
FROZEN_DAYS = """
select d.day, s.trigger_id, s.organization_id, d.action_type, d.status, d.n, d.timed, d.retried, d.duration_total,
    d.retry_total
from analytics_refresh.frozen_days d left join analytics_refresh.frozen_series s on s.series = d.series
"""
_COMPARE_DAYS = f"""
select (select count(*) from ({_DAYS} except all {FROZEN_DAYS}) missing),
       (select count(*) from ({FROZEN_DAYS} except all {_DAYS}) extra)
"""
_COMPARE = """
select (select count(*) from (select p::text from ({plain}) p except all select v::text from {view} v) missing),
       (select count(*) from (select v::text from {view} v except all select p::text from ({plain}) p) extra)
"""


def connect(dsn: str) -> Connection:
    """An autocommit connection in UTC."""
    return psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC")


def create_oracle(connection: Connection) -> None:
    """Create it with the rows that there are."""
    connection.execute(_CREATE)
    connection.execute(_FREEZE)


def keep_rows(connection: Connection, hours: float | None) -> None:
    """Set for how long rows are kept, as `[retention] rows` would; None: the horizon stays."""
    connection.execute("update analytics_refresh.incremental set retained = make_interval(secs => %s)", [
        None if hours is None else hours * 3600
    ])  # fmt: skip


def total(connection: Connection) -> int:
    """Return how many executions the hours count."""
    row = connection.execute("select sum(execution_count)::bigint from action_metrics_hourly").fetchone()
    return int(row[0]) if row else 0


def horizon(connection: Connection) -> datetime | None:
    """Return the horizon, None where nothing is frozen."""
    row = connection.execute("select nullif(frozen_until, '-infinity') from analytics_refresh.incremental").fetchone()
    return row[0] if row else None


def refresh_and_ask(connection: Connection) -> dict[str, tuple[int, int]]:
    """Refresh, and return per view that differs from the oracle the rows missing and too many."""
    with connection.transaction():
        learn(connection)
        failed = connection.execute("select * from refresh_action_analytics() where not success").fetchall()
        assert not failed
        # which would hide a wrong fold behind a right rebuild
        assert build_reason(connection) != "an hour that was frozen differed from its rows"
        return ask(connection)


def learn(connection: Connection) -> None:
    """Let the oracle learn what changed since the last fold."""
    row = connection.execute(_HORIZON).fetchall()[0]
    connection.execute("select oracle.learn(%s::timestamptz, %s::timestamptz, %s)", row)


def ask(connection: Connection) -> dict[str, tuple[int, int]]:
    """Return per view that differs from the oracle the rows missing and too many; of the frozen days, too."""
    definitions = Definitions("oracle", connection.info.server_version)
    found = {}
    connection.execute(_FREEZE)
    days = connection.execute(_COMPARE_DAYS).fetchone() or (-1, -1)
    if any(days):
        found["frozen_days"] = days
    for name in FROZEN_VIEWS:
        query = sql.SQL(_COMPARE).format(plain=plain_query(definitions, name), view=sql.Identifier("public", name))
        missing, extra = connection.execute(query).fetchone() or (-1, -1)
        if missing or extra:
            found[name] = (missing, extra)
    return found | differences(connection, views=OTHER_VIEWS)
