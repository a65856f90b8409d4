-- Capture of changes on action_results: statement-level triggers that append what a statement changed.

-- name: functions
-- definer with a pinned path: the application's role needs no rights here, and its own path decides nothing
create or replace function analytics_refresh.capture_insert() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $capture$
begin
    insert into analytics_refresh.deltas (sign, executed_at, trigger_id, action_type, status, duration_ms, retry_count)
    select 1, executed_at, trigger_id, action_type, status, duration_ms, retry_count from added;
    return null;
end
$capture$;

create or replace function analytics_refresh.capture_update() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $capture$
begin
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
begin
    insert into analytics_refresh.deltas (sign, executed_at, trigger_id, action_type, status, duration_ms, retry_count)
    select -1, executed_at, trigger_id, action_type, status, duration_ms, retry_count from removed;
    return null;
end
$capture$;

create or replace function analytics_refresh.capture_truncate() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $capture$
begin
    insert into analytics_refresh.rebuild_marks (reason) values ('truncate of ' || tg_table_name);
    return null;
end
$capture$;

-- Every table of the inheritance tree with its capture triggers. The row's xmin is part of it, since
-- DISABLE TRIGGER followed by ENABLE TRIGGER leaves no other trace.
create or replace function analytics_refresh.capture_now() returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    with recursive tree as (
        select {app_table}::regclass::oid as relation
        union
        select i.inhrelid from tree join pg_inherits i on i.inhparent = tree.relation)
    select string_agg(tree.relation || ':' || coalesce(t.found, ''), ' ' order by tree.relation)
    from tree
    cross join lateral (
        select string_agg(g.tgname::text || g.tgenabled::text || g.xmin::text, ',' order by g.tgname) as found
        from pg_trigger g where g.tgrelid = tree.relation and g.tgname like 'analytics\_refresh\_%') t;
end;

revoke execute on function analytics_refresh.capture_insert(), analytics_refresh.capture_update(),
    analytics_refresh.capture_delete(), analytics_refresh.capture_truncate() from public;
comment on function analytics_refresh.capture_insert() is 'Appends the inserted rows to deltas.';
comment on function analytics_refresh.capture_update() is 'Appends the old and the new rows of an update to deltas.';
comment on function analytics_refresh.capture_delete() is 'Appends the deleted rows to deltas.';
comment on function analytics_refresh.capture_truncate() is 'Leaves a rebuild mark.';
comment on function analytics_refresh.capture_now() is 'What is captured now: the tables and their capture triggers.';

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
    analytics_refresh.capture_delete(), analytics_refresh.capture_truncate(), analytics_refresh.capture_now();
