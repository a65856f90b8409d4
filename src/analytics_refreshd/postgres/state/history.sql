-- name: present
-- the schema alone: a missing table is an error, and the record waits until it is back
select
    -- after --uninstall there may be receipts of erasures in it, and nothing else
    exists (
        select from pg_catalog.pg_namespace n join pg_catalog.pg_class c on c.relnamespace = n.oid
        where n.nspname = 'analytics_refresh' and {trusted} and pg_catalog.left(c.relname::text, 8) <> 'erasures'),
    -- a schema before migration 7 lacks it, and a new program writes there too while a rolling upgrade lasts
    exists (
        select from pg_catalog.pg_attribute a
        join pg_catalog.pg_class c on c.oid = a.attrelid
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'analytics_refresh' and c.relname = 'view_results' and a.attname = 'finished_at'
            and not a.attisdropped),
    -- one before migration 16 has no column for a cost
    2 = (
        select pg_catalog.count(*) from pg_catalog.pg_attribute a
        join pg_catalog.pg_class c on c.oid = a.attrelid
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'analytics_refresh' and not a.attisdropped
            and (c.relname, a.attname) in (('runs', 'rows_folded'), ('view_results', 'rows_changed'))),
    -- nor one before migration 17 for a size
    exists (
        select from pg_catalog.pg_attribute a
        join pg_catalog.pg_class c on c.oid = a.attrelid
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'analytics_refresh' and c.relname = 'runs' and a.attname = 'database_bytes'
            and not a.attisdropped),
    exists (
        select from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'analytics_refresh' and c.relname = 'last_refresh'
            and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'select')
            and pg_catalog.has_table_privilege(c.oid, 'insert') and pg_catalog.has_table_privilege(c.oid, 'update'));

-- name: begin_run
insert into analytics_refresh.runs (
    run_id, database_name, replica, origin, scheduled_at, started_at, lateness_seconds, attempts, leader_epoch,
    owner_pid, owner_started_at, clock, isolation)
select %(run_id)s, %(database_name)s, %(replica)s, %(origin)s, %(scheduled_at)s::timestamptz,
    case when %(clock)s = 'daemon' then %(started_at)s::timestamptz else pg_catalog.clock_timestamp() end,
    %(lateness_seconds)s::float8, %(attempts)s::integer, %(leader_epoch)s::bigint,
    pg_catalog.pg_backend_pid(),
    (select a.backend_start from pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a),
    %(clock)s, %(isolation)s
on conflict (run_id) do nothing;

-- name: finish_run
-- a run marked as abandoned meanwhile gets its true end; any other end keeps its time
insert into analytics_refresh.runs as r (
    run_id, database_name, replica, origin, scheduled_at, started_at, finished_at, outcome, reason, sqlstate, error,
    duration_seconds, lateness_seconds, attempts, leader_epoch, clock, isolation{cost_columns})
select %(run_id)s, %(database_name)s, %(replica)s, %(origin)s, %(scheduled_at)s::timestamptz,
    case when %(clock)s = 'daemon' then %(started_at)s::timestamptz
        else pg_catalog.clock_timestamp() - coalesce(%(duration_seconds)s::float8, 0) * interval '1 second' end,
    case when %(clock)s = 'daemon' then coalesce(%(finished_at)s::timestamptz, %(started_at)s::timestamptz)
        else pg_catalog.clock_timestamp() end,
    %(outcome)s, %(reason)s, %(sqlstate)s, %(error)s, %(duration_seconds)s::float8, %(lateness_seconds)s::float8,
    %(attempts)s::integer, %(leader_epoch)s::bigint, %(clock)s, %(isolation)s{cost_values}
on conflict (run_id) do update set
    finished_at = case
        when r.finished_at is null or r.reason = 'abandoned' then greatest(excluded.finished_at, r.started_at)
        else r.finished_at end,
    outcome = excluded.outcome,
    reason = excluded.reason,
    sqlstate = excluded.sqlstate,
    error = excluded.error,
    duration_seconds = excluded.duration_seconds,
    lateness_seconds = excluded.lateness_seconds,
    attempts = excluded.attempts,
    leader_epoch = excluded.leader_epoch,
    clock = case when r.finished_at is null then excluded.clock else r.clock end,
    isolation = excluded.isolation{cost_updates};

-- name: run_cost_columns
, rows_folded, wal_bytes, blocks_hit, blocks_read, temporary_bytes

-- name: run_cost_values
, %(rows_folded)s::bigint, %(wal_bytes)s::bigint, %(blocks_hit)s::bigint, %(blocks_read)s::bigint,
    %(temporary_bytes)s::bigint

-- name: run_cost_updates
, rows_folded = excluded.rows_folded, wal_bytes = excluded.wal_bytes, blocks_hit = excluded.blocks_hit,
    blocks_read = excluded.blocks_read, temporary_bytes = excluded.temporary_bytes

-- name: finish_view
insert into analytics_refresh.view_results (
    run_id, view_name, success, reason, sqlstate, error, row_count, duration_seconds, reported_seconds,
    observed_seconds{cost_columns})
select %(run_id)s, v.*
from unnest(%(view_names)s::text[], %(successes)s::boolean[], %(reasons)s::text[], %(sqlstates)s::text[],
    %(errors)s::text[], %(row_counts)s::bigint[], %(durations)s::float8[], %(reported)s::float8[],
    %(observed)s::float8[]{cost_values}) as v
on conflict (run_id, view_name) do update set
    success = excluded.success,
    reason = excluded.reason,
    sqlstate = excluded.sqlstate,
    error = excluded.error,
    row_count = excluded.row_count,
    duration_seconds = excluded.duration_seconds,
    reported_seconds = excluded.reported_seconds,
    observed_seconds = excluded.observed_seconds{cost_updates};

-- name: view_cost_columns
, rows_changed, wal_bytes, blocks_hit, blocks_read, temporary_bytes

-- name: view_cost_values
, %(rows_changed)s::bigint[], %(wal_bytes)s::bigint[], %(blocks_hit)s::bigint[], %(blocks_read)s::bigint[],
    %(temporary_bytes)s::bigint[]

-- name: view_cost_updates
, rows_changed = excluded.rows_changed, wal_bytes = excluded.wal_bytes, blocks_hit = excluded.blocks_hit,
    blocks_read = excluded.blocks_read, temporary_bytes = excluded.temporary_bytes

-- name: date_views
-- each view's own end, as long before the run's as the daemon saw it
update analytics_refresh.view_results v set finished_at = r.finished_at - ended.before
from analytics_refresh.runs r, unnest(%(view_names)s::text[], %(before_run_ended)s::interval[]) as ended (view_name, before)
where v.run_id = %(run_id)s and r.run_id = v.run_id and v.view_name = ended.view_name and ended.before is not null;

-- name: record_successes
-- what the functions did not write: those of an older install write nothing, and a view of the user's own has none
insert into analytics_refresh.last_refresh as l (view_name, last_success_at, last_checked_at, duration_ms, rows_refreshed)
select v.view_name, v.at, v.at, v.duration_ms, v.row_count
from (
    select s.view_name, greatest(s.row_count, 0) as row_count,
        least(greatest(coalesce(s.duration_seconds, 0) * 1000, 0), 2147483647)::integer as duration_ms,
        coalesce(
            (pg_catalog.to_jsonb(s) ->> 'finished_at')::timestamptz,
            least(r.finished_at, r.started_at + coalesce(s.duration_seconds, 0) * interval '1 second')) as at, r.started_at
    from analytics_refresh.runs r
    join analytics_refresh.view_results s on s.run_id = r.run_id
    where r.run_id = %(run_id)s and r.finished_at is not null and s.success) v
where not exists (
    select from analytics_refresh.last_refresh k
    where k.view_name = v.view_name and greatest(k.last_success_at, k.last_checked_at) >= v.started_at)
on conflict (view_name) do update set
    last_success_at = greatest(excluded.last_success_at, l.last_success_at),
    last_checked_at = greatest(excluded.last_checked_at, l.last_checked_at),
    duration_ms = excluded.duration_ms,
    rows_refreshed = excluded.rows_refreshed;

-- name: newest
-- the last thirty that did anything, of the last thousand: a pause writes a row for each slot
select n.run_id, n.started_at, n.finished_at
from (
    select r.run_id, r.started_at, r.finished_at, r.outcome
    from analytics_refresh.runs r
    order by r.started_at desc
    limit 1000) n
where n.finished_at is not null and n.outcome <> 'skipped'
order by n.started_at desc
limit 30

-- name: recent_runs
select r.run_id, r.origin, r.started_at, r.scheduled_at, r.finished_at, r.outcome, r.reason, r.sqlstate,
    pg_catalog.left(r.error, 4096) as error, r.duration_seconds, r.lateness_seconds, r.attempts,
    pg_catalog.left(r.replica, 4096) as replica, r.leader_epoch, coalesce(r.isolation, 'cycle') as isolation, r.clock{cost_columns}
from analytics_refresh.runs r
where (%(since)s::timestamptz is null or r.started_at >= %(since)s::timestamptz)
    and (pg_catalog.cardinality(%(outcomes)s::text[]) = 0 or r.outcome = any (%(outcomes)s::text[]))
    {of_view}
order by r.started_at desc, r.run_id
limit %(limit)s;

-- name: of_view
-- a condition of its own: with "or" the planner would read all runs where the view has few results, or none
and exists (select from analytics_refresh.view_results v where v.run_id = r.run_id and v.view_name = %(view)s::text)

-- name: recent_views
select v.run_id, v.view_name as view, v.success, v.reason, v.sqlstate,
    pg_catalog.left(v.error, 4096) as error, v.row_count as rows, v.duration_seconds, v.reported_seconds,
    v.observed_seconds{cost_columns}
from analytics_refresh.view_results v
where v.run_id = any (%(run_ids)s) and (%(view)s::text is null or v.view_name = %(view)s::text)
order by v.view_name;

-- name: measure_size
-- with the newest run, as one of its time: reading all files of a database takes a moment, so once an hour
update analytics_refresh.runs r
set database_bytes = pg_catalog.pg_database_size(pg_catalog.current_database())
where r.run_id = (
        select n.run_id from analytics_refresh.runs n
        where n.started_at > pg_catalog.clock_timestamp() - interval '1 hour'
        order by n.started_at desc
        limit 1)
    and not exists (
        select from analytics_refresh.runs o
        where o.started_at > pg_catalog.clock_timestamp() - interval '55 minutes' and o.database_bytes is not null);

-- name: sizes
select r.started_at as measured_at, r.database_bytes
from analytics_refresh.runs r
where r.started_at > pg_catalog.clock_timestamp() - interval '14 days' and r.database_bytes is not null
order by r.started_at;

-- name: close_abandoned
-- a run is abandoned once the session that wrote its row is gone, unless its transaction still holds the fence: the
-- server may still commit that, even without its daemon
update analytics_refresh.runs r set
    outcome = 'unknown', reason = 'abandoned', finished_at = greatest(pg_catalog.clock_timestamp(), r.started_at)
where r.outcome is null
    and not exists (
        select from pg_catalog.pg_stat_get_activity(null) a
        where a.pid = r.owner_pid and (a.backend_start = r.owner_started_at or a.backend_start is null))
    and not exists (
        select from pg_catalog.pg_locks l
        join pg_catalog.pg_stat_get_activity(null) a on a.pid = l.pid
        where l.locktype = 'advisory' and l.classid = 2583 and l.objid = 2 and l.objsubid = 2 and l.granted
            and l.database
                = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
            and pg_catalog.right(a.application_name, 36) = r.run_id::text);

-- name: prune
delete from analytics_refresh.runs r
where r.run_id in (
    select old.run_id from analytics_refresh.runs old
    where old.started_at < pg_catalog.clock_timestamp() - %(retention)s::interval
    order by old.started_at
    limit %(batch)s);

-- name: like_others
-- What history can do without. Of successes those stay that were the first of a view in five minutes, as many as at the
-- default interval; so does what follows a failure in these, a person's run, one that was repeated, and one with the
-- database's size, which a schema before migration 17 does not have. None of these depends on a run that may go
with looked_at as materialized (
    select r.run_id, r.started_at, r.outcome,
        r.outcome = 'ok' and r.origin = 'schedule' and r.attempts = 1
            and pg_catalog.to_jsonb(r) ->> 'database_bytes' is null as plain,
        pg_catalog.date_bin('5 minutes', r.started_at, 'epoch'::timestamptz) as five
    from analytics_refresh.runs r
    where {among}),
numbered as (
    select l.run_id, pg_catalog.row_number() over (partition by l.five, v.view_name order by l.started_at) as number
    from looked_at l
    left join analytics_refresh.view_results v on v.run_id = l.run_id
    where l.outcome = 'ok'),
beside as (
    select l.run_id, l.started_at, l.plain,
        pg_catalog.min(l.started_at) filter (where l.outcome is distinct from 'ok' and l.outcome is distinct from 'skipped')
            over (partition by l.five) as failed_at
    from looked_at l)
select b.run_id, b.started_at
from beside b
where b.plain and (b.failed_at is null or b.failed_at > b.started_at)
    -- a hash, whatever the planner knows of these rows
    and b.run_id not in (select n.run_id from numbered n where n.number = 1)

-- name: thin
-- asked every hour, it looks at two days only, each row once
delete from analytics_refresh.runs r
where r.run_id in (
    select o.run_id
    from ({like_others}) o
    order by o.started_at
    limit %(batch)s
);

-- name: thinned_days
r.started_at < pg_catalog.clock_timestamp() - interval '2 days'
    and r.started_at >= pg_catalog.clock_timestamp() - interval '4 days'

-- name: days_not_thinned
-- all of them, or some of it
r.started_at >= pg_catalog.clock_timestamp() - interval '4 days'
