-- What switching to the incremental mode asks and changes, apart from its own objects.

-- name: lock
select pg_try_advisory_lock(2583, 3);

-- name: unlock
select pg_advisory_unlock(2583, 3);

-- name: source
select has_table_privilege(c.oid, 'SELECT'), row_security_active(c.oid)
from pg_class c where c.oid = to_regclass({app_table});

-- name: tree
with recursive tree as (
    select {app_table}::regclass::oid as relation
    union
    select i.inhrelid from tree join pg_inherits i on i.inhparent = tree.relation)
select n.nspname::text, c.relname::text, c.relkind::text, pg_has_role(c.relowner, 'USAGE'),
    (select count(*) from pg_trigger t
        where t.tgrelid = c.oid and t.tgname like 'analytics\_refresh\_%' and t.tgenabled = 'A')
from tree
join pg_class c on c.oid = tree.relation
join pg_namespace n on n.oid = c.relnamespace
order by c.oid;

-- name: strays
-- tables that once belonged to action_results, and still have our triggers
with recursive tree as (
    select {app_table}::regclass::oid as relation
    union
    select i.inhrelid from tree join pg_inherits i on i.inhparent = tree.relation)
select n.nspname::text, c.relname::text, c.relkind::text, pg_has_role(c.relowner, 'USAGE'), count(*)
from pg_trigger t
join pg_class c on c.oid = t.tgrelid
join pg_namespace n on n.oid = c.relnamespace
join pg_proc p on p.oid = t.tgfoid and p.pronamespace = to_regnamespace('analytics_refresh')
where not t.tgisinternal and left(p.proname::text, 8) = 'capture_'
    and not exists (select from tree where tree.relation = c.oid)
group by n.nspname, c.oid;

-- name: failure_index_name
select 'analytics_refresh_failures_' || %(table)s::regclass::oid;

-- name: failure_indexes
-- one that a failed attempt left behind is not valid; a restore keeps the name, and gives the table another number
select c.relname, i.indisvalid
from pg_index i join pg_class c on c.oid = i.indexrelid
where i.indrelid = %(table)s::regclass and c.relname ~ '^analytics_refresh_failures_[0-9]+$'
order by i.indisvalid desc, c.relname;

-- name: create_failure_index
create index concurrently {index} on {table} (executed_at) where status = 'failed';

-- name: drop_failure_index
drop index concurrently if exists {index};

-- name: grant_owner
grant usage on schema analytics_refresh to {owner};
grant select on analytics_refresh.hour_cells, analytics_refresh.trigger_cells, analytics_refresh.duration_stats,
    analytics_refresh.retry_counts, analytics_refresh.type_window to {owner};
grant execute on function analytics_refresh.action_metrics_hourly_rows(),
    analytics_refresh.trigger_performance_summary_rows(), analytics_refresh.action_type_distribution_rows() to {owner};

-- name: has_rows_functions
select to_regprocedure('analytics_refresh.action_metrics_hourly_rows()') is not null
    and to_regprocedure('analytics_refresh.trigger_performance_summary_rows()') is not null
    and to_regprocedure('analytics_refresh.action_type_distribution_rows()') is not null;

-- name: views_without_fold
-- the views of {views} that a bare REFRESH leaves without a fold: they read the rollups themselves, as they did before
select array(
    select v.relname::text from pg_class v
    where v.relnamespace = (select s.oid from pg_namespace s where s.nspname = {app_name}) and v.relkind = 'm'
        and v.relname in ({views})
        and not exists (
            select from pg_rewrite w
            join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_proc'::regclass
            join pg_proc p on p.oid = d.refobjid and p.proname = v.relname || '_rows'
            join pg_namespace n on n.oid = p.pronamespace and n.nspname = 'analytics_refresh'
            where w.ev_class = v.oid)
    order by 1);

-- name: set_mode
update analytics_refresh.installation set mode = {mode};

-- name: vacuum
vacuum (analyze) analytics_refresh.hour_cells, analytics_refresh.trigger_cells, analytics_refresh.duration_counts,
    analytics_refresh.retry_counts, analytics_refresh.duration_stats;

-- name: state
select i.built, i.folded_at,
    -- columns that an installation lacks until it is renewed
    coalesce((to_jsonb(i) ->> 'unheld_durations')::bigint, 0) as unheld_durations,
    coalesce((to_jsonb(i) ->> 'unheld_retries')::bigint, 0) as unheld_retries,
    coalesce((to_jsonb(i) ->> 'unheld_keys')::bigint, 0) as unheld_keys,
    nullif((to_jsonb(i) ->> 'frozen_until')::timestamptz, '-infinity') as frozen_until,
    case when (to_jsonb(i) ->> 'frozen_until')::timestamptz > '-infinity'
        then (to_jsonb(i) ->> 'late_rows_total')::bigint end as late_rows,
    (i.fold_ms / 1000.0)::float8 as fold_seconds, i.verified_at, i.verified_ok, i.verified_differences,
    coalesce((select m.reason from analytics_refresh.rebuild_marks m order by m.mark_id limit 1),
        case when not i.built then i.build_reason
            when i.capture <> analytics_refresh.capture_now()
            then 'the tables or capture triggers of action_results changed' end) as rebuild_reason,
    to_json(array(
        select format('%I.%I', n.nspname, c.relname)
        from (
            select split_part(t.entry, ':', 1) as entry, split_part(t.entry, ':', 2) as triggers
            from unnest(string_to_array(analytics_refresh.capture_now(), ' ')) t (entry)) e
        join pg_class c on c.oid = e.entry::oid
        join pg_namespace n on n.oid = c.relnamespace
        -- enabled always: a session in session_replication_role = replica skips other triggers
        where e.triggers !~ 'deleteA.*insertA.*truncateA.*updateA')) as uncaptured
from analytics_refresh.incremental i;

-- name: knows_obstacles
-- an installation that was not renewed does not, and a role that may not ask learns of them from the fold
select coalesce(has_function_privilege(to_regprocedure('analytics_refresh.obstacles()'), 'execute'), false);

-- name: obstacles
-- by the function, which finds names by its own search_path
select o.obstacle, o.stops from analytics_refresh.obstacles() o;

-- name: pending
-- counted up to a limit: beyond it the exact size of a backlog tells no more
select count(*) from (select from analytics_refresh.deltas limit {limit}) d;

-- name: changes_dated
-- an installation that was not renewed does not say which transaction a change belongs to
select count(*) = 2 from pg_attribute a
where a.attrelid in (to_regclass('analytics_refresh.deltas'), to_regclass('analytics_refresh.rebuild_marks'))
    and a.attname = 'xid' and not a.attisdropped;

-- name: waiting
-- what waits now, and whether something waits that was seen before
select pg_current_snapshot()::text, clock_timestamp(),
    exists (select from analytics_refresh.deltas d) or exists (select from analytics_refresh.rebuild_marks m),
    exists (select from analytics_refresh.deltas d where {delta_seen})
        or exists (select from analytics_refresh.rebuild_marks m where {mark_seen});

-- name: seen
{row}.xid is null or pg_visible_in_snapshot({row}.xid, {snapshot}::pg_snapshot)

-- name: mode
select i.mode from analytics_refresh.installation i;

-- name: exists
select to_regclass('analytics_refresh.installation') is not null, to_regclass('analytics_refresh.incremental') is not null;

-- name: statement_timeout
select current_setting('statement_timeout');

-- name: set_statement_timeout
-- a build runs for minutes, and a limit meant for queries must not end it
select set_config('statement_timeout', %s, false);

-- name: brief_lock
set local lock_timeout = '1s';

-- name: rebuild_step
select analytics_refresh.rebuild_step(), s.needed
from (
    select not i.built or i.capture <> analytics_refresh.capture_now()
        or exists (select from analytics_refresh.rebuild_marks) as needed
    from analytics_refresh.incremental i offset 0) s;

-- name: fold
select rows_folded, seconds from analytics_refresh.fold();

-- name: folded
-- what fills the new views need not fold again
select set_config('analytics_refresh.fold', 'off', true);

-- name: mark
insert into analytics_refresh.rebuild_marks (reason, asked) values ({reason}, true);

-- name: all_current
update analytics_refresh.view_refreshes r set version = c.version
from analytics_refresh.view_changes c where c.view_name = r.view_name;
