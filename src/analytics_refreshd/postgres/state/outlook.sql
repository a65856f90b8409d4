-- How figures that have limits moved, by day.

-- name: run_days
-- The time within which nineteen of twenty runs ended. What thinning will remove does not count: otherwise a day that was
-- thinned and a day that was not would not compare. The API's role asks for the same
select pg_catalog.date_trunc('day', r.started_at, 'UTC') + interval '12 hours' as at,
    pg_catalog.percentile_cont(0.95) within group (order by r.duration_seconds) as value
from analytics_refresh.runs r
where {among} and r.outcome in ('ok', 'partial') and r.duration_seconds is not null
    and r.run_id not in (select o.run_id from ({like_others}) o)
group by 1
order by 1;

-- name: latest_days
r.started_at >= pg_catalog.clock_timestamp() - %(days)s * interval '1 day'

-- name: hours_readable
-- a materialized view runs no code of others when it is read
select exists (
    select from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = %(schema)s and c.relname = 'action_metrics_hourly' and c.relkind = 'm' and c.relispopulated
        and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'select'));

-- name: rate_days
-- along the index on hour
select pg_catalog.date_trunc('day', h.hour, 'UTC') + interval '12 hours' as at,
    (100.0 * pg_catalog.sum(h.success_count) / pg_catalog.sum(h.execution_count))::float8 as value
from {hours} h
where h.hour >= pg_catalog.clock_timestamp() - %(days)s * interval '1 day' and h.hour < pg_catalog.clock_timestamp()
group by 1
having pg_catalog.sum(h.execution_count) >= %(least)s
order by 1;

-- name: sizes
-- a schema before migration 17 has no such column
select found.measured_at, found.database_bytes
from (
    select r.started_at as measured_at, (pg_catalog.to_jsonb(r) ->> 'database_bytes')::int8 as database_bytes
    from analytics_refresh.runs r
    where r.started_at > pg_catalog.clock_timestamp() - interval '14 days') found
where found.database_bytes is not null
order by found.measured_at;

-- name: now
select pg_catalog.clock_timestamp();
