-- name: present
-- to_regclass would raise an error for a schema that this role may not use
select c.relname
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'analytics_refresh' and {trusted}
    and c.relname in (
        'last_refresh', 'runs', 'view_results', 'pauses', 'installation', 'hour_cells', 'duration_counts',
        'retention_runs')
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
select pg_catalog.clock_timestamp(), pg_catalog.current_setting('transaction_read_only') = 'off';

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
-- What last_refresh does not have: of the newest runs alone, since a view that never succeeded would be looked for in all
-- of them. A success of before is in last_refresh: the functions write it there, and the daemon what they did not write.
-- A record without the view's own end has it at the earliest: a refresh begins no earlier than its run. As JSON, since a
-- schema before migration 7 lacks the column
select v.view_name, coalesce(
    (pg_catalog.to_jsonb(v) ->> 'finished_at')::timestamptz,
    least(r.finished_at, r.started_at + coalesce(v.duration_seconds, 0) * interval '1 second')) as at
from (
    select distinct on (s.view_name) s.view_name, n.run_id, n.started_at, n.finished_at
    from ({newest}) n
    join analytics_refresh.view_results s on s.run_id = n.run_id
    where s.view_name = any (%(views)s::text[]) and s.success
    order by s.view_name, n.started_at desc) r
join analytics_refresh.view_results v on v.run_id = r.run_id and v.view_name = r.view_name;

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
    -- a term, in milliseconds since 1970, begins before its runs: all others would be read where it has none
    and r.started_at > pg_catalog.to_timestamp(%(epoch)s::float8 / 1000) - interval '1 hour'
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
