-- Capture of changes on action_results: statement-level triggers that append what a statement changed.

-- name: functions
-- Definer with a pinned path: the application's role needs no rights here, and its own path decides nothing.
-- What stands before the insert runs with every write of the application: a look-up each of two rows of pg_class.
create or replace function analytics_refresh.capture_insert() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $capture$
declare
    sound boolean;
    owned boolean;
    countable boolean;
begin
    {look};
    insert into analytics_refresh.deltas (
        sign, executed_at, trigger_id, action_type, status, duration_ms, retry_count, unheld)
    select 1, {columns} from added;
    return null;
end
$capture$;

create or replace function analytics_refresh.capture_update() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $capture$
declare
    sound boolean;
    owned boolean;
    countable boolean;
begin
    {look};
    insert into analytics_refresh.deltas (
        sign, executed_at, trigger_id, action_type, status, duration_ms, retry_count, unheld, cause)
    select -1, {columns}, 'u' from removed
    union all
    select 1, {columns}, 'u' from added;
    return null;
end
$capture$;

create or replace function analytics_refresh.capture_delete() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $capture$
declare
    sound boolean;
    owned boolean;
    countable boolean;
begin
    {look};
    insert into analytics_refresh.deltas (
        sign, executed_at, trigger_id, action_type, status, duration_ms, retry_count, unheld, cause)
    select -1, {columns}, 'd' from removed;
    return null;
end
$capture$;

create or replace function analytics_refresh.capture_truncate() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $capture$
begin
    {look_away};
    {refuse_unsound_marks};
    insert into analytics_refresh.rebuild_marks (reason) values ('truncate of ' || tg_table_name);
    return null;
end
$capture$;

-- Every table of the inheritance tree with its capture triggers. The row's xmin is part of it, since
-- DISABLE TRIGGER followed by ENABLE TRIGGER leaves no other trace.
create or replace function analytics_refresh.capture_now() returns text
language plpgsql stable security invoker set search_path = pg_catalog, pg_temp {capture_settings}
as $capture$
begin
    return (
        with recursive tree as (
            select to_regclass({app_table})::oid as relation, false as detaching
            union
            select i.inhrelid, i.inhdetachpending from tree join pg_inherits i on i.inhparent = tree.relation
            {unfrozen})
        select coalesce(string_agg(
            tree.relation || ':' || coalesce(t.found, '') || case when tree.detaching then ',detaching' else '' end,
            ' ' order by tree.relation), '')
        from tree
        cross join lateral (
            select string_agg(g.tgname::text || g.tgenabled::text || g.xmin::text, ',' order by g.tgname) as found
            from pg_trigger g where g.tgrelid = tree.relation and g.tgname like 'analytics\_refresh\_%') t);
end
$capture$;

-- Why changes of action_results cannot be captured and counted exactly, in words. `stops`: what is folded meanwhile would
-- be wrong. `misses`: rows may be missed without a trace, so a rebuild must follow.
create or replace function analytics_refresh.obstacles()
returns table (obstacle text, stops boolean, misses boolean)
language plpgsql stable security invoker set search_path = pg_catalog, pg_temp
as $obstacles$
begin
    return query {obstacles};
end
$obstacles$;

-- Leaves a rebuild mark where rows may be missed, so that they are counted once that is over. Every refresh calls it,
-- since a fold that refuses is rolled back with all that it wrote.
create or replace function analytics_refresh.note_obstacles() returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $note$
begin
    {refuse_unsound_note};
    insert into analytics_refresh.rebuild_marks (reason)
    select o.obstacle from analytics_refresh.obstacles() o
    where o.misses and not exists (select from analytics_refresh.rebuild_marks)
    order by o.obstacle limit 1;
end
$note$;

-- Raises unless action_results is a table whose changes are captured; without those, what is folded would be believed
-- and be wrong. A table of this role's, since whoever owns what bears the name could otherwise have a view's functions, or
-- those of a type, run as this role.
create or replace function analytics_refresh.require_capture(triggers boolean) returns void
language plpgsql stable security invoker set search_path = pg_catalog, pg_temp
as $require$
declare
    kind "char";
    owner_now name;
    found text;
begin
    select c.relkind, pg_get_userbyid(c.relowner) into kind, owner_now from pg_class c where c.oid = to_regclass({app_table});
    if kind is null or kind not in ('r', 'p') then
        raise exception using errcode = '42809', message = 'action_results is not a table any more';
    end if;
    if owner_now <> current_user then
        raise exception using errcode = '42501', message = 'action_results belongs to ' || owner_now || ', and the fold acts as '
            || current_user || ': run analytics-refreshd migrate --incremental as a superuser';
    end if;
    if triggers and 4 <> (
        select count(*) from pg_trigger t
        where t.tgrelid = to_regclass({app_table}) and t.tgenabled in ('A', 'O') and t.tgfoid in (
            'analytics_refresh.capture_insert'::regproc, 'analytics_refresh.capture_update'::regproc,
            'analytics_refresh.capture_delete'::regproc, 'analytics_refresh.capture_truncate'::regproc))
    then
        raise exception using errcode = '55000',
            message = 'changes of action_results are not captured: run analytics-refreshd migrate --incremental';
    end if;
    select string_agg(o.obstacle, '; ' order by o.obstacle) into found from analytics_refresh.obstacles() o where o.stops;
    if found is not null then
        raise exception using errcode = '55000', message = found;
    end if;
end
$require$;

revoke execute on function analytics_refresh.capture_insert(), analytics_refresh.capture_update(),
    analytics_refresh.capture_delete(), analytics_refresh.capture_truncate(), analytics_refresh.capture_now(),
    analytics_refresh.obstacles(), analytics_refresh.note_obstacles(), analytics_refresh.require_capture(boolean)
    from public;
comment on function analytics_refresh.require_capture(boolean) is
    'Raises unless action_results is a table and, where asked, has its capture triggers.';
comment on function analytics_refresh.obstacles() is
    'Why changes cannot be captured and counted exactly; no row where they can.';
comment on function analytics_refresh.note_obstacles() is 'Leaves a rebuild mark where rows may be missed.';
comment on function analytics_refresh.capture_insert() is 'Appends the inserted rows to deltas.';
comment on function analytics_refresh.capture_update() is 'Appends the old and the new rows of an update to deltas.';
comment on function analytics_refresh.capture_delete() is 'Appends the deleted rows to deltas.';
comment on function analytics_refresh.capture_truncate() is 'Leaves a rebuild mark.';
comment on function analytics_refresh.capture_now() is 'What is captured now: the tables and their capture triggers.';

-- name: obstacles
-- by the catalogs alone, which every role reads; %I of names that a person can find
with recursive tree as (
    select to_regclass({app_table})::oid as relation
    union
    select i.inhrelid from tree join pg_inherits i on i.inhparent = tree.relation),
tables as (
    select c.oid, format('%I.%I', n.nspname, c.relname) as name, c.relkind, c.relpersistence, c.relowner,
        c.relrowsecurity, c.relforcerowsecurity
    from tree join pg_class c on c.oid = tree.relation join pg_namespace n on n.oid = c.relnamespace),
source as (select t.* from tables t where t.oid = to_regclass({app_table}) and t.relkind in ('r', 'p')),
columns as (
    select s.name || '.' || w.name as name, w.name as column_name, w.types, a.attname is null as missing,
        {countable} as countable, format_type(a.atttypid, null) as type, a.attnotnull, l.collisdeterministic
    from source s
    cross join (values
        ('executed_at', 'timestamp with time zone'), ('duration_ms', 'bigint or integer'),
        ('retry_count', 'bigint or integer'), ('trigger_id', 'text'), ('action_type', 'text'), ('status', 'text')
    ) w (name, types)
    left join pg_attribute a on a.attrelid = s.oid and a.attname = w.name and not a.attisdropped
    left join pg_collation l on l.oid = a.attcollation)
{lost_partition}
select c.name || case when c.missing then ' is missing' else ' is ' || c.type end
    || ', and the rollups count only ' || c.types || ' exactly', true, false
from columns c where c.missing or not c.countable
union all
select c.name || ' may be null, and the rollups have no place for that: set it not null', false, false
from columns c where c.column_name in ('action_type', 'status') and not c.attnotnull
union all
select c.name || ' has a collation that is not deterministic, and the rollups compare bytes', false, false
from columns c where not c.collisdeterministic
union all
select 'action_results is not a table: changes of what lies behind it cannot be captured', true, true
where not exists (select from source)
union all
select t.name || ' is not a local table: rows written behind it would be missed', true, true
from tables t where t.relkind not in ('r', 'p') and t.oid <> to_regclass({app_table})
union all
select t.name || ' is not logged: it is emptied after a crash, unseen by any trigger', true, true
from tables t where t.relpersistence <> 'p'
union all
select t.name || ' receives rows by logical replication, which fires no statement triggers: rows are missed', true, true
from tables t where exists (select from pg_subscription_rel s where s.srrelid = t.oid)
union all
select 'row security hides rows of ' || s.name || ' from ' || o.rolname
    || ', as whom the rollups are built: alter table ' || s.name || ' no force row level security', true, false
from source s join pg_roles o on o.oid = s.relowner
where s.relrowsecurity and s.relforcerowsecurity and not o.rolsuper and not o.rolbypassrls
union all
select format('%I.%I', n.nspname, c.relname) || case when c.relpersistence <> 'p' then
    ' is not logged: it is emptied after a crash' else ' hides rows from its owner by row security' end,
    true, false
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_roles o on o.oid = c.relowner
where n.nspname = 'analytics_refresh' and c.relname in ({ours}) and (
    c.relpersistence <> 'p'
    or c.relrowsecurity and c.relforcerowsecurity and not o.rolsuper and not o.rolbypassrls
        and not exists (select from pg_policy y where y.polrelid = c.oid and y.polpermissive))

-- name: look_away
-- Rows of another table do not count. A partition that was detached keeps its triggers, and so does a table that was
-- action_results once; the name is looked up each time, since another table may bear it now.
if tg_relid is distinct from to_regclass({app_table}) then
    if not exists (
        with recursive above as (
            select i.inhparent from pg_inherits i where i.inhrelid = tg_relid and not i.inhdetachpending
            union
            select i.inhparent from above join pg_inherits i on i.inhrelid = above.inhparent
            where not i.inhdetachpending)
        select from above where above.inhparent = to_regclass({app_table}))
    then
        return null;
    end if;
end if

-- name: look
{look_away};
select c.relkind = 'r' and pg_get_userbyid(c.relowner) = current_user and not c.relhastriggers into sound
from pg_class c where c.oid = to_regclass('analytics_refresh.deltas');
if sound is not true then
    -- not passed over: what is missed would leave no trace
    {refuse_unsound_deltas};
end if;
-- A column that is gone, or whose type the application changed, must not fail its writes: no statement that names it is
-- planned then. By t.oid and not by tg_relid: a parameter would have this planned anew with every write, 30 times the cost.
select pg_get_userbyid(t.relowner) = current_user, 6 = (
    select count(*) from pg_attribute a
    where a.attrelid = t.oid and not a.attisdropped and {countable})
into owned, countable
from pg_class t where t.oid = to_regclass({app_table});
if not owned or not countable then
    -- nothing of a table that another role may give columns of its own types: the next rebuild reads what is missed
    {refuse_unsound_marks};
    insert into analytics_refresh.rebuild_marks (reason)
    select case when owned then 'a column of action_results cannot be counted'
        else 'action_results belongs to another role' end
    -- while it is so, nobody folds, and a mark that is there stays
    where not exists (select from analytics_refresh.rebuild_marks);
    return null;
end if

-- name: countable
-- the columns a of action_results that the views are made of, with types that can be counted
(a.attname = 'executed_at' and a.atttypid = 'timestamptz'::regtype
    or a.attname in ('duration_ms', 'retry_count')
        and a.atttypid in ('bigint'::regtype, 'integer'::regtype, 'smallint'::regtype)
    or a.attname in ('trigger_id', 'action_type', 'status') and a.atttypid in ('text'::regtype, 'varchar'::regtype))

-- name: columns
-- The columns of a row {row} as the views can hold them, and what they cannot hold: 1 duration_ms, 2 retry_count, 4 a row
-- without action_type or status. A bigint that is no integer is left out of the durations, and counted apart.
{row}executed_at, {row}trigger_id, {row}action_type, {row}status,
    case when {row}duration_ms between -2147483648 and 2147483647 then {row}duration_ms::integer end as duration_ms,
    case when {row}retry_count between -2147483648 and 2147483647 then {row}retry_count::integer end as retry_count,
    case when {row}duration_ms not between -2147483648 and 2147483647 then 1 else 0 end
        + case when {row}retry_count not between -2147483648 and 2147483647 then 2 else 0 end
        + case when {row}action_type is null or {row}status is null then 4 else 0 end as unheld

-- name: triggers
-- always: a session in session_replication_role = replica changes rows too
create trigger analytics_refresh_insert after insert on {table} referencing new table as added
    for each statement execute function analytics_refresh.capture_insert();
create trigger analytics_refresh_update after update on {table} referencing old table as removed new table as added
    for each statement execute function analytics_refresh.capture_update();
create trigger analytics_refresh_delete after delete on {table} referencing old table as removed
    for each statement execute function analytics_refresh.capture_delete();
create trigger analytics_refresh_truncate after truncate on {table}
    for each statement execute function analytics_refresh.capture_truncate();
alter table {table} enable always trigger analytics_refresh_insert,
    enable always trigger analytics_refresh_update,
    enable always trigger analytics_refresh_delete,
    enable always trigger analytics_refresh_truncate;

-- name: drop_triggers
drop trigger if exists analytics_refresh_insert on {table};
drop trigger if exists analytics_refresh_update on {table};
drop trigger if exists analytics_refresh_delete on {table};
drop trigger if exists analytics_refresh_truncate on {table};

-- name: drop
drop function if exists analytics_refresh.capture_insert(), analytics_refresh.capture_update(),
    analytics_refresh.capture_delete(), analytics_refresh.capture_truncate(), analytics_refresh.capture_now(),
    analytics_refresh.note_obstacles(), analytics_refresh.obstacles(), analytics_refresh.require_capture(boolean);
