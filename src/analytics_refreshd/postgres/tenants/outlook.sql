-- How figures that have limits moved, by day, as the role of the API reads them.

-- name: functions
create or replace function analytics_api.run_days(since timestamptz)
returns table (at timestamptz, refresh_seconds double precision)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    {run_days}
end;
comment on function analytics_api.run_days(timestamptz) is
    'Within how many seconds nineteen of twenty refreshes of each day ended, for who sees all.';
revoke execute on function analytics_api.run_days(timestamptz) from public;

create or replace function analytics_api.database_sizes()
returns table (measured_at timestamptz, database_bytes bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select r.started_at, r.database_bytes
    from analytics_refresh.runs r
    where r.started_at > clock_timestamp() - interval '14 days' and r.database_bytes is not null
        and (select analytics_api.sees_all())
    order by r.started_at;
end;
comment on function analytics_api.database_sizes() is
    'How large the database was in the last 14 days, once an hour, for who sees all.';
revoke execute on function analytics_api.database_sizes() from public;

-- name: admitted_days
r.started_at >= run_days.since and (select analytics_api.sees_all())

-- name: readable
-- an older `migrate --tenants` made no such functions
select pg_catalog.clock_timestamp(), 2 = (
    select pg_catalog.count(*) from pg_catalog.pg_proc p
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'analytics_api' and p.proname in ('run_days', 'database_sizes')
        and pg_catalog.has_function_privilege(p.oid, 'execute'));

-- name: run_days
select d.at, d.refresh_seconds as value
from analytics_api.run_days(pg_catalog.clock_timestamp() - %(days)s * interval '1 day') d;

-- name: rate_days
select pg_catalog.date_trunc('day', h.hour, 'UTC') + interval '12 hours' as at,
    (100.0 * pg_catalog.sum(h.success_count) / pg_catalog.sum(h.execution_count))::float8 as value
from analytics_api.action_metrics_hourly h
where h.hour >= pg_catalog.clock_timestamp() - %(days)s * interval '1 day' and h.hour < pg_catalog.clock_timestamp()
group by 1
having pg_catalog.sum(h.execution_count) >= %(least)s
order by 1;

-- name: sizes
select s.measured_at, s.database_bytes from analytics_api.database_sizes() s;
