-- The figures of the last 24 hours, up to now: rows dated in the future are not of these hours.

-- name: limit
-- local to a savepoint; row security would leave rows out without a word, and compiling costs more than the statement
select pg_catalog.set_config('statement_timeout', %(timeout)s, true), pg_catalog.set_config('row_security', 'off', true),
    pg_catalog.set_config('jit', 'off', true);

-- name: of_rows
-- along the application's index on executed_at
select pg_catalog.count(*) as executions,
    (100.0 * pg_catalog.count(*) filter (where r.status = 'success') / nullif(pg_catalog.count(*), 0))::float8
        as success_rate_percent,
    (percentile_cont(0.95) within group (order by r.duration_ms) / 1000)::float8 as latency_p95_seconds,
    pg_catalog.count(r.duration_ms) as latency_executions
from {app}.action_results r
where r.executed_at >= pg_catalog.statement_timestamp() - interval '24 hours'
    and r.executed_at <= pg_catalog.statement_timestamp();

-- name: of_rollups
-- the whole hours from the histograms, the first and the current one from their rows. Cell by cell: a join would read the
-- histograms of all history. Interpolated as percentile_cont does
with cells as materialized (
    select c.cell, c.n, c.status
    from analytics_refresh.hour_cells c
    where c.hour >= date_trunc('hour', statement_timestamp() - interval '24 hours', 'UTC') + interval '1 hour'
        and c.hour < date_trunc('hour', statement_timestamp(), 'UTC')
), edges as materialized (
    select r.status, r.duration_ms
    from {app}.action_results r
    where r.executed_at >= statement_timestamp() - interval '24 hours'
        and r.executed_at < date_trunc('hour', statement_timestamp() - interval '24 hours', 'UTC') + interval '1 hour'
    union all
    select r.status, r.duration_ms
    from {app}.action_results r
    where r.executed_at >= date_trunc('hour', statement_timestamp(), 'UTC') and r.executed_at <= statement_timestamp()
), executed as (
    select sum(e.n) as n, sum(e.n) filter (where e.status = 'success') as succeeded
    from (
        select c.n, c.status from cells c
        union all
        select 1, r.status from edges r) e
), counted as (
    select e.duration_ms, sum(e.n) as n
    from (
        select d.duration_ms, d.n
        from cells c
        cross join lateral (
            select k.duration_ms, k.n from analytics_refresh.duration_counts k where k.cell = c.cell offset 0) d
        union all
        select r.duration_ms, 1 from edges r where r.duration_ms is not null) e
    group by e.duration_ms
), placed as (
    select duration_ms, n, sum(n) over (order by duration_ms) as upto, 0.95 * (sum(n) over () - 1) as place
    from counted
), around as (
    select sum(n) as n, place - floor(place) as share, min(duration_ms) filter (where upto > floor(place)) as below_ms,
        min(duration_ms) filter (where upto > ceil(place)) as above_ms
    from placed
    group by place
)
select coalesce(x.n, 0)::bigint as executions,
    (100.0 * coalesce(x.succeeded, 0) / nullif(x.n, 0))::float8 as success_rate_percent,
    ((a.below_ms + a.share * (a.above_ms - a.below_ms)) / 1000)::float8 as latency_p95_seconds,
    coalesce(a.n, 0)::bigint as latency_executions
from executed x
left join around a on true
-- while they are built the rollups hold a part
where (select i.built from analytics_refresh.incremental i);

-- name: of_hours
-- for a role that may not read the rows: how many succeeded is known by the hour, how long they took is not
select coalesce(sum(h.execution_count), 0)::bigint as executions,
    (100.0 * sum(h.success_count) / nullif(sum(h.execution_count), 0))::float8 as success_rate_percent,
    null::float8 as latency_p95_seconds,
    0::bigint as latency_executions
from {app}.action_metrics_hourly h
where h.hour >= pg_catalog.statement_timestamp() - interval '24 hours' and h.hour <= pg_catalog.statement_timestamp();

-- name: view_refused
-- the contract grants it, and who lacks it is told so, although the rows would do
select true
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(app_schema)s and c.relname = 'action_metrics_hourly'
    and not pg_catalog.has_table_privilege(c.oid, 'select');

-- name: may_read_rows
select pg_catalog.bool_and(pg_catalog.has_column_privilege(c.oid, wanted.name, 'select'))
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_attribute a on a.attrelid = c.oid
join unnest(array['executed_at', 'duration_ms', 'status']) as wanted (name) on wanted.name = a.attname
where n.nspname = %(app_schema)s and c.relname = 'action_results';
