-- name: try_lock
-- only where `reading` showed no holder: a session lock that is taken twice must be released twice
select pg_catalog.pg_try_advisory_lock(2583, 1);

-- name: listen
-- a notification arrives with the answer to the next statement of this session
listen analytics_refresh_requests;

-- name: mark_schema
-- which application schema the leader refreshes: the lock on leading knows the database alone, as programs before 0.3 take it
select pg_catalog.pg_try_advisory_lock_shared(2584, pg_catalog.hashtext(%(schema)s));

-- name: other_schema
-- the schema that the leader refreshes, where it says so and it is another one
select coalesce((
    select n.nspname::text from pg_catalog.pg_namespace n
    where (pg_catalog.hashtext(n.nspname::text)::bigint & 4294967295) = l.objid::bigint
    order by 1 limit 1), 'that was dropped') as other_schema
from pg_catalog.pg_locks l
where l.pid = %(holder)s and l.locktype = 'advisory' and l.classid = 2584 and l.objsubid = 2 and l.granted
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
    and (pg_catalog.hashtext(%(schema)s)::bigint & 4294967295) <> l.objid::bigint;

-- name: reading
select
    pg_catalog.pg_backend_pid() as pid,
    pg_catalog.current_setting('transaction_read_only') = 'off' as writable,
    coalesce(
        (select (1000 * extract(epoch from a.backend_start))::bigint
         from pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a), 0) as epoch,
    (select l.pid from pg_catalog.pg_locks l
     where l.locktype = 'advisory' and l.classid = 2583 and l.objid = 1 and l.objsubid = 2 and l.granted
        and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
     limit 1) as holder;

-- name: pid
select pg_catalog.pg_backend_pid() as pid;

-- name: unlock
select pg_catalog.pg_advisory_unlock_all();

-- name: other_holder
-- without pg_read_all_stats another role's backend_start is null; every role sees name, pid and role
select a.pid, a.application_name, a.usename, a.backend_start
from pg_catalog.pg_locks l
join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.classid = 2583 and l.objid = 1 and l.objsubid = 2 and l.granted
    and l.pid <> pg_catalog.pg_backend_pid()
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
limit 1;

-- name: view_oids
select c.relname, c.oid
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and c.relname = any (%(views)s) and c.relkind = 'm';

-- name: watch
-- ExclusiveLock is a concurrent refresh, AccessExclusiveLock a plain one; a row without a relation is another wait
select l.relation::bigint as oid, l.granted
from pg_catalog.pg_locks l
where l.pid = any (%(pids)s) and (
    not l.granted
    or (l.relation = any (%(oids)s::oid[]) and l.mode in ('ExclusiveLock', 'AccessExclusiveLock')));

-- name: blocker
-- pid 0 stands for a prepared transaction
select b.pid, a.usename, a.application_name, a.state, a.query_start, a.xact_start,
    case when a.wait_event is not null then a.wait_event_type || ': ' || a.wait_event end as wait_event,
    a.backend_type
from unnest(%(pids)s::integer[]) as waiting (pid)
cross join lateral unnest(pg_catalog.pg_blocking_pids(waiting.pid)) as b (pid)
left join pg_catalog.pg_stat_activity a on a.pid = b.pid
where b.pid <> all (%(pids)s)
limit 1;
