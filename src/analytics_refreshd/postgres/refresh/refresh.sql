-- How a transaction of each kind begins; {session} and {incremental} are the blocks of that name.

-- name: search_path
select pg_catalog.set_config('search_path', %(search_path)s, true);

-- name: session
-- every setting is local to the transaction, which therefore also holds behind a pooler
pg_catalog.set_config('application_name', %(application_name)s, true),
pg_catalog.set_config('TimeZone', 'UTC', true),
pg_catalog.set_config('lock_timeout', %(lock_timeout)s, true),
pg_catalog.set_config('statement_timeout', %(statement_timeout)s, true),
-- at this transaction's end, so that the next one begins to count its changed rows from nothing
pg_catalog.pg_stat_force_next_flush() as flushed,
pg_catalog.current_setting('block_size')::pg_catalog.int4 as block_bytes,
pg_catalog.current_setting('transaction_read_only') as read_only,
pg_catalog.pg_backend_pid() as pid

-- name: incremental
-- in the catalogue, since a name that this role may not use is an error
exists (
    select from pg_catalog.pg_namespace n
    join pg_catalog.pg_class c on c.relnamespace = n.oid
    where n.nspname = 'analytics_refresh' and {trusted}
        and c.relname in ('installation', 'incremental', 'deltas', 'rebuild_marks')
        and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'select')
        and not pg_catalog.row_security_active(c.oid)
    having pg_catalog.count(*) = 4) as incremental,
-- Whether the mode has to be asked. Without the incremental mode's tables it is plain, and a lock on its row
-- does not matter; without these rights it stays unknown, and in incremental mode nothing can be verified.
exists (
    select from pg_catalog.pg_namespace n
    join pg_catalog.pg_class c on c.relnamespace = n.oid
    where n.nspname = 'analytics_refresh' and {trusted} and c.relname = 'installation'
        and pg_catalog.has_schema_privilege(n.oid, 'usage')
        and pg_catalog.has_table_privilege(c.oid, 'select')
        and exists (
            select from pg_catalog.pg_class i where i.relnamespace = n.oid and i.relname = 'incremental')) as mode_known,
-- an installation that was not renewed does not say which transaction a change belongs to
2 = (
    select pg_catalog.count(*) from pg_catalog.pg_namespace n
    join pg_catalog.pg_class c on c.relnamespace = n.oid
    join pg_catalog.pg_attribute a on a.attrelid = c.oid
    where n.nspname = 'analytics_refresh' and c.relname in ('deltas', 'rebuild_marks') and a.attname = 'xid'
        and not a.attisdropped) as changes_dated

-- name: hidden
-- Why a refresh would empty views: row security without a policy for their owner hides every row of a table that they read.
-- What the policies of others let through, nobody but those can say.
(select pg_catalog.string_agg(distinct 'row security hides all rows of ' || t.oid::pg_catalog.regclass || ' from '
        || o.rolname || ', as whom ' || v.relname || ' is refreshed', '; ')
    from pg_catalog.pg_class v
    join pg_catalog.pg_namespace n on n.oid = v.relnamespace
    join pg_catalog.pg_roles o on o.oid = v.relowner
    join pg_catalog.pg_rewrite w on w.ev_class = v.oid
    join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = w.oid
        and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    join pg_catalog.pg_class t on t.oid = d.refobjid and t.relrowsecurity
    where n.nspname = %(app_schema)s and v.relname = any (%(views)s) and v.relkind = 'm'
        and not o.rolsuper and not o.rolbypassrls
        and (t.relforcerowsecurity or not pg_catalog.pg_has_role(v.relowner, t.relowner, 'usage'))
        and not exists (
            select from pg_catalog.pg_policy y
            where y.polrelid = t.oid and y.polpermissive and y.polcmd in ('r', '*') and exists (
                select from pg_catalog.unnest(y.polroles) g (role)
                where g.role = 0 or pg_catalog.pg_has_role(v.relowner, g.role, 'usage')))) as hidden

-- name: begin_cycle
select {session},
    pg_catalog.pg_try_advisory_xact_lock(2583, 2) as unfenced,
    {hidden},
    {incremental};

-- name: begin_fold
select {session},
    pg_catalog.pg_try_advisory_xact_lock_shared(2583, 2) as unfenced,
    {incremental};

-- name: begin_view
select {session},
    {hidden},
    pg_catalog.set_config('analytics_refresh.fold', %(fold)s, true),
    pg_catalog.pg_try_advisory_xact_lock_shared(2583, 2) as unfenced,
    pg_catalog.pg_try_advisory_xact_lock(2583, %(view_key)s) as view_free,
    exists (
        select from pg_catalog.pg_proc p
        join pg_catalog.pg_namespace n on n.oid = p.pronamespace
        where n.nspname = %(function_schema)s and p.proname = %(function_name)s
            and p.pronargs = 1 and p.proargtypes[0] = 'pg_catalog.text'::pg_catalog.regtype) as function_exists,
    {incremental};

-- name: measured
-- carries a statement out as it is, and tells what it cost this session; without TIMING no clock is read for that
explain (analyze, buffers, wal, costs off, timing off, summary off, format json)

-- name: call_function
-- with the application's schema in search_path, since an older install's function names its views without a schema: no
-- operator here, and no function that is not in its schema
-- named columns, so that a function that lacks one is refused before it has refreshed anything; as text, so that no
-- value of an older install's types can fail to arrive
-- EXPLAIN returns no rows of the statement, so a setting of this transaction keeps them
{measured} select pg_catalog.set_config('analytics_refresh.answer', pg_catalog.json_agg(pg_catalog.json_build_array(
    r.view_name, r.refresh_duration_ms, r.rows_refreshed, r.success, r.error_message))::text, true)
from (
    select f.view_name::text, f.refresh_duration_ms::text, f.rows_refreshed::text, f.success::text,
        pg_catalog.left(f.error_message::text, 4096) as error_message
    from {function}() as f
    limit 1000) r;

-- name: call_view_function
{measured} select pg_catalog.set_config('analytics_refresh.answer', pg_catalog.json_agg(pg_catalog.json_build_array(
    r.view_name, r.refresh_duration_ms, r.rows_refreshed, r.success, r.error_message))::text, true)
from (
    select f.view_name::text, f.refresh_duration_ms::text, f.rows_refreshed::text, f.success::text,
        pg_catalog.left(f.error_message::text, 4096) as error_message
    from {function}(%(view)s::text) as f
    limit 1) r;

-- name: answer
-- the rows of that call, in its order
select r.value ->> 0, r.value ->> 1, r.value ->> 2, r.value ->> 3, r.value ->> 4, {changed}
from pg_catalog.json_array_elements(
    nullif(pg_catalog.current_setting('analytics_refresh.answer', true), '')::pg_catalog.json)
    with ordinality as r (value, place)
order by r.place;

-- name: changed
-- the rows of a view that this transaction deleted and inserted, which it alone can tell; null where nobody counts them
case when pg_catalog.current_setting('track_counts') = 'on' then (
    select pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) + pg_catalog.pg_stat_get_xact_tuples_updated(c.oid)
        + pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relname = {relation} and n.nspname = {schema} and c.relkind = 'm') end

-- name: refresh_view
refresh materialized view concurrently {view};

-- name: count_rows
select pg_catalog.count(*), {changed} from {view};

-- name: refreshed_here
-- a refresh keeps its view's lock until its transaction ends
select c.relname::text
from pg_catalog.pg_locks l
join pg_catalog.pg_class c on c.oid = l.relation
where l.pid = pg_catalog.pg_backend_pid() and l.granted and l.mode in ('ExclusiveLock', 'AccessExclusiveLock')
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
    and c.relname::text = any ({views});

-- name: nothing_due
select v.name from pg_catalog.unnest({views}::pg_catalog.text[]) as v (name) where analytics_refresh.view_due(v.name) is null;

-- name: mode
select i.mode from analytics_refresh.installation i;

-- name: rollups_before
select pg_catalog.pg_current_snapshot()::text, analytics_refresh.capture_now(), i.folded_at::text
from analytics_refresh.incremental i;

-- name: rollups_after
-- the changes and marks of before that wait still; the tables and triggers may have changed after the fold
select
    (select pg_catalog.count(*)::integer from (
        select from analytics_refresh.deltas d where {delta_seen} limit 100000) l),
    exists (select from analytics_refresh.rebuild_marks m where {mark_seen}),
    i.built,
    i.capture in ({capture}, analytics_refresh.capture_now()),
    i.folded_at is distinct from {folded_at}::timestamptz
from analytics_refresh.incremental i;

-- name: seen
-- rows without a transaction were there before the column was
{row}.xid is null or pg_catalog.pg_visible_in_snapshot({row}.xid, {snapshot}::pg_catalog.pg_snapshot)

-- name: fold
{measured} select f.rows_folded from analytics_refresh.fold() f;

-- name: folded
-- only what this transaction folded itself; a rebuild mark that came after the look for one made the fold rebuild
select i.fold_ms, case when i.built_at >= pg_catalog.now() then i.build_reason end, i.rows_folded
from analytics_refresh.incremental i where i.folded_at >= pg_catalog.now();

-- name: rebuild_due
-- why, and whether nothing but a horizon that is days behind asks for it
select coalesce(
    (select m.reason from analytics_refresh.rebuild_marks m order by m.mark_id limit 1),
    case when not i.built then i.build_reason
        when n.capture <> i.capture then 'the tables or capture triggers of action_results changed'
        else 'figures of more than a day are to be frozen' end),
    i.built and n.capture = i.capture and not exists (select from analytics_refresh.rebuild_marks)
from analytics_refresh.incremental i
cross join analytics_refresh.installation s
cross join lateral (
    select analytics_refresh.capture_now() as capture, (to_jsonb(i) ->> 'frozen_until')::timestamptz as frozen_until,
        now() - (to_jsonb(i) ->> 'retained')::interval as oldest) n
where s.mode = 'incremental' and (
    not i.built
    or i.capture <> n.capture
    or exists (select from analytics_refresh.rebuild_marks)
    or n.frozen_until < n.oldest - interval '1 hour');

-- name: rebuild_step
select analytics_refresh.rebuild_step();
