-- name: present
-- to_regclass would raise an error for a schema that this role may not use
select c.relname
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'analytics_refresh' and {trusted}
    and c.relname in (
        'last_refresh', 'runs', 'view_results', 'pauses', 'installation', 'hour_cells', 'duration_counts')
    and pg_catalog.has_schema_privilege(n.oid, 'usage')
    and pg_catalog.has_table_privilege(c.oid, 'select');

-- name: search_path
select pg_catalog.set_config('search_path', %(search_path)s, true);

-- name: call_status
-- Python cannot hold times such as infinity; named columns make the error name the one that is missing
select f.view_name::text, f.row_count::bigint, f.size_bytes::bigint,
    case when f.last_refresh::timestamptz between '1900-01-01 00:00+00' and '9000-01-01 00:00+00'
        then f.last_refresh::timestamptz end as last_refresh
from {function}() as f
limit 1000;

-- name: brief_lock
-- for what may be missing from a reading: a lock on it must not keep the rest from being read
select pg_catalog.set_config('lock_timeout', '500', true);

-- name: status_blocker
-- who holds, or waits for, a lock that keeps readers out of a view, of our tables, or of what else lies there; pid 0
-- stands for a prepared transaction
select c.relname, coalesce(l.pid, 0) as pid, a.usename, a.application_name, a.state, a.query_start, a.xact_start,
    case when a.wait_event is not null then a.wait_event_type || ': ' || a.wait_event end as wait_event,
    a.backend_type
from pg_catalog.pg_locks l
join pg_catalog.pg_class c on c.oid = l.relation
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.mode = 'AccessExclusiveLock' and l.pid is distinct from pg_catalog.pg_backend_pid()
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
    and n.nspname in (%(schema)s, 'analytics_refresh')
order by l.granted desc, (c.relname = any (%(views)s)) desc, a.xact_start nulls last
limit 1;

-- name: server_now
select pg_catalog.clock_timestamp();

-- name: catalogued
-- what the catalogue tells of each view, in columns named as core.model.ViewStatus names it
select s.relname as view,
    pg_catalog.array_remove(
        array[s.last_vacuum, s.last_autovacuum, s.last_analyze, s.last_autoanalyze], null) as vacuumed_at
from pg_catalog.pg_stat_all_tables s
where s.schemaname = %(schema)s and s.relname = any (%(views)s);

-- name: last_refresh
select r.view_name, greatest(r.last_success_at, r.last_checked_at) as at
from analytics_refresh.last_refresh r
where r.view_name = any (%(views)s);

-- name: last_success
-- one look-up a view, newest first along the index: the cost does not grow with the history
select wanted.view_name, found.finished_at as at
from unnest(%(views)s::text[]) as wanted (view_name)
cross join lateral (
    select r.finished_at
    from analytics_refresh.runs r
    where r.finished_at is not null and exists (
        select from analytics_refresh.view_results v
        where v.run_id = r.run_id and v.view_name = wanted.view_name and v.success)
    order by r.started_at desc
    limit 1) as found;

-- name: rates
select
    coalesce(sum(h.execution_count), 0)::bigint as executions,
    (100.0 * sum(h.success_count) / nullif(sum(h.execution_count), 0))::float8 as success_rate_percent,
    (sum(h.p95_duration_ms * h.execution_count)
        / nullif(sum(h.execution_count) filter (where h.p95_duration_ms is not null), 0) / 1000)::float8
        as latency_p95_seconds,
    coalesce(sum(h.execution_count) filter (where h.p95_duration_ms is not null), 0)::bigint as latency_executions
from {app}.action_metrics_hourly h
where h.hour >= pg_catalog.clock_timestamp() - interval '24 hours';

-- name: without_jit
-- compiling would cost more than the next statement
set local jit = off;

-- name: exact_p95
-- the incremental mode's histograms of the same hours, interpolated as percentile_cont does. Cell by cell: a join would
-- read the histograms of all history
with counted as (
    select d.duration_ms, sum(d.n) as n
    from analytics_refresh.hour_cells c
    cross join lateral (
        select k.duration_ms, k.n from analytics_refresh.duration_counts k where k.cell = c.cell offset 0) d
    where c.hour >= pg_catalog.statement_timestamp() - interval '24 hours'
    group by d.duration_ms
), placed as (
    select duration_ms, sum(n) over (order by duration_ms) as upto, 0.95 * (sum(n) over () - 1) as place
    from counted
), around as (
    select place - floor(place) as share, min(duration_ms) filter (where upto > floor(place)) as below_ms,
        min(duration_ms) filter (where upto > ceil(place)) as above_ms
    from placed
    group by place
)
select ((below_ms + share * (above_ms - below_ms)) / 1000)::float8
from around;

-- name: pause
select p.starts_at, max(p.ends_at) over () as ends_at, pg_catalog.left(p.reason, 4096) as reason, p.created_by
from analytics_refresh.pauses p
where p.ended_at is null and p.starts_at <= pg_catalog.clock_timestamp() and p.ends_at > pg_catalog.clock_timestamp()
order by p.ends_at desc
limit 1;

-- name: leader
select a.pid, a.application_name, a.usename, a.backend_start, (1000 * extract(epoch from a.backend_start))::bigint as epoch
from pg_catalog.pg_locks l
join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.classid = 2583 and l.objid = 1 and l.objsubid = 2 and l.granted
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
limit 1;

-- name: leader_replica
select r.replica
from analytics_refresh.runs r
where r.leader_epoch = %(epoch)s
order by r.started_at desc
limit 1;

-- name: refreshing
-- the sessions that hold the fence, the oldest first; with a transaction for each view there are several
select a.pid, a.application_name, a.xact_start, pg_catalog.clock_timestamp() as now
from pg_catalog.pg_locks l
join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.classid = 2583 and l.objid = 2 and l.objsubid = 2 and l.granted
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
order by a.xact_start nulls last, a.pid;

-- name: run_started
select r.started_at from analytics_refresh.runs r where r.run_id = %(run_id)s;

-- name: refresh_locks
select l.pid, l.granted, c.relname, l.waitstart
from pg_catalog.pg_locks l
left join (pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname = %(schema)s)
    on c.oid = l.relation and c.relname = any (%(views)s)
where l.pid = any (%(pids)s) and (
    not l.granted
    or (c.oid is not null and l.mode in ('ExclusiveLock', 'AccessExclusiveLock')));

-- name: mode
select i.mode from analytics_refresh.installation i;
