-- name: begin
set transaction isolation level read committed, read write;
set local search_path = pg_catalog, pg_temp;
set local client_min_messages = warning;
set local statement_timeout = 0;
set local lock_timeout = 0;
set local idle_in_transaction_session_timeout = 0;
-- what the server prints of a definition, and how it reads ours, must not depend on the settings of the role that migrates
set local datestyle = 'ISO, MDY';
set local intervalstyle = 'postgres';
set local timezone = 'UTC';
set local extra_float_digits = 1;
set local quote_all_identifiers = off;
set local array_nulls = on;
set local row_security = on;
set local standard_conforming_strings = on;
set local transform_null_equals = off;
set local plpgsql.extra_errors = 'none';
do $begin$
begin
    -- PostgreSQL 17 and newer
    if current_setting('transaction_timeout', true) is not null then
        perform set_config('transaction_timeout', '0', true);
    end if;
end
$begin$;

-- name: lock
select pg_advisory_xact_lock(2583, 3);

-- name: try_lock
select pg_try_advisory_xact_lock(2583, 3) as locked;

-- name: hold_refreshes
-- the daemon's cycle holds this key while it refreshes, and skips a slot that finds it taken
select pg_advisory_xact_lock(2583, 2);

-- name: unbound_waiting
set local lock_timeout = 0;

-- name: lend_create
-- for this transaction alone: nobody else sees it
grant create on schema {schema} to {role};

-- name: end_lending
revoke create on schema {schema} from {role};

-- name: allow_calling
grant execute on function {app}.{function} to {role};

-- name: bound_waiting
-- a queued lock that excludes readers makes every later reader wait with it
set local lock_timeout = '5s';

-- name: schema
comment on schema analytics_refresh is 'State, history, alerts and pauses of analytics-refreshd.';
create table analytics_refresh.schema_version (
    version integer primary key,
    name text not null,
    applied_at timestamptz not null default clock_timestamp(),
    applied_by text not null default session_user);
comment on table analytics_refresh.schema_version is 'The migrations that were applied.';
comment on column analytics_refresh.schema_version.version is 'Number of the migration, from 1.';
comment on column analytics_refresh.schema_version.name is 'Name of its file.';
comment on column analytics_refresh.schema_version.applied_at is 'When, by the server''s clock.';
comment on column analytics_refresh.schema_version.applied_by is 'The role that ran it.';
comment on index analytics_refresh.schema_version_pkey is 'Two migrations at once show here.';

-- name: version
insert into analytics_refresh.schema_version (version, name) values ({version}, {name});

-- name: populate
do $populate$
declare
    started constant timestamptz := clock_timestamp();
    refreshed_at timestamptz;
begin
    refresh materialized view {target}.{view};
    refreshed_at := clock_timestamp();
    insert into analytics_refresh.last_refresh (view_name, last_success_at, last_checked_at, duration_ms, rows_refreshed)
    select {view_name}, refreshed_at, refreshed_at,
        greatest(round(extract(epoch from refreshed_at - started) * 1000), 0)::integer, count(*)
    from {target}.{view}
    on conflict (view_name) do update set
        last_success_at = excluded.last_success_at,
        last_checked_at = excluded.last_checked_at,
        duration_ms = excluded.duration_ms,
        rows_refreshed = excluded.rows_refreshed;
end
$populate$;

-- name: swap
drop materialized view {app}.{view};
alter materialized view analytics_refresh.{view} set schema {app};

-- name: own_view
alter materialized view {app}.{view} owner to {owner};

-- name: own_function
alter function {app}.{function} owner to {owner};

-- name: drop_function
drop function {app}.{function};

-- name: drop_index
drop index {app}.{index};

-- name: close_function
revoke execute on function {app}.{function} from public;

-- name: allow_recording
grant usage on schema analytics_refresh to {role};
grant select, insert, update on analytics_refresh.last_refresh to {role};

-- name: note_redaction
update analytics_refresh.installation set failures_redacted = {redacted};

-- name: uninstall
drop schema analytics_refresh cascade;

-- name: has_receipts
-- an installation before migration 9 has no such table
select to_regclass('analytics_refresh.erasures') is not null;

-- name: receipts
select exists (select from analytics_refresh.erasures);

-- name: uninstall_but_receipts
do $uninstall$
declare
    each record;
begin
    for each in
        select c.relname from pg_class c
        where c.relnamespace = 'analytics_refresh'::regnamespace and c.relkind in ('r', 'p') and c.relname <> 'erasures'
    loop
        execute format('drop table analytics_refresh.%I cascade', each.relname);
    end loop;
    for each in
        select p.oid::regprocedure as name from pg_proc p
        where p.pronamespace = 'analytics_refresh'::regnamespace and p.proname <> 'refuse_change'
    loop
        execute format('drop routine %s cascade', each.name);
    end loop;
    comment on schema analytics_refresh is 'Receipts of analytics-refreshd erase.';
end
$uninstall$;
