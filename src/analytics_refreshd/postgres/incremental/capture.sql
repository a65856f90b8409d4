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
begin
    {look};
    insert into analytics_refresh.deltas (sign, executed_at, trigger_id, action_type, status, duration_ms, retry_count)
    select 1, executed_at, trigger_id, action_type, status, duration_ms, retry_count from added;
    return null;
end
$capture$;

create or replace function analytics_refresh.capture_update() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $capture$
declare
    sound boolean;
    owned boolean;
begin
    {look};
    insert into analytics_refresh.deltas (sign, executed_at, trigger_id, action_type, status, duration_ms, retry_count)
    select -1, executed_at, trigger_id, action_type, status, duration_ms, retry_count from removed
    union all
    select 1, executed_at, trigger_id, action_type, status, duration_ms, retry_count from added;
    return null;
end
$capture$;

create or replace function analytics_refresh.capture_delete() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $capture$
declare
    sound boolean;
    owned boolean;
begin
    {look};
    insert into analytics_refresh.deltas (sign, executed_at, trigger_id, action_type, status, duration_ms, retry_count)
    select -1, executed_at, trigger_id, action_type, status, duration_ms, retry_count from removed;
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
language plpgsql stable security invoker set search_path = pg_catalog, pg_temp
as $capture$
begin
    return (
        with recursive tree as (
            select to_regclass({app_table})::oid as relation, false as detaching
            union
            select i.inhrelid, i.inhdetachpending from tree join pg_inherits i on i.inhparent = tree.relation)
        select coalesce(string_agg(
            tree.relation || ':' || coalesce(t.found, '') || case when tree.detaching then ',detaching' else '' end,
            ' ' order by tree.relation), '')
        from tree
        cross join lateral (
            select string_agg(g.tgname::text || g.tgenabled::text || g.xmin::text, ',' order by g.tgname) as found
            from pg_trigger g where g.tgrelid = tree.relation and g.tgname like 'analytics\_refresh\_%') t);
end
$capture$;

-- Raises unless action_results is a table whose changes are captured; without those, what is folded would be believed
-- and be wrong. A table of this role's, since whoever owns what bears the name could otherwise have a view's functions, or
-- those of a type, run as this role.
create or replace function analytics_refresh.require_capture(triggers boolean) returns void
language plpgsql stable security invoker set search_path = pg_catalog, pg_temp
as $require$
declare
    kind "char";
    owner_now name;
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
end
$require$;

revoke execute on function analytics_refresh.capture_insert(), analytics_refresh.capture_update(),
    analytics_refresh.capture_delete(), analytics_refresh.capture_truncate(), analytics_refresh.capture_now(),
    analytics_refresh.require_capture(boolean) from public;
comment on function analytics_refresh.require_capture(boolean) is
    'Raises unless action_results is a table and, where asked, has its capture triggers.';
comment on function analytics_refresh.capture_insert() is 'Appends the inserted rows to deltas.';
comment on function analytics_refresh.capture_update() is 'Appends the old and the new rows of an update to deltas.';
comment on function analytics_refresh.capture_delete() is 'Appends the deleted rows to deltas.';
comment on function analytics_refresh.capture_truncate() is 'Leaves a rebuild mark.';
comment on function analytics_refresh.capture_now() is 'What is captured now: the tables and their capture triggers.';

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
select pg_get_userbyid(t.relowner) = current_user into owned from pg_class t where t.oid = to_regclass({app_table});
if not owned then
    -- nothing of a table that another role may give columns of its own types: the next rebuild reads what is missed
    {refuse_unsound_marks};
    insert into analytics_refresh.rebuild_marks (reason) values ('action_results belongs to another role');
    return null;
end if

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
    analytics_refresh.require_capture(boolean);
