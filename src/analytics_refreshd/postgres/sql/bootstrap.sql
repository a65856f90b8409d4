-- name: schema
create schema if not exists analytics_refresh;
comment on schema analytics_refresh is 'State, history, alerts and pauses of analytics-refreshd.';
create table if not exists analytics_refresh.schema_version (
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

-- name: begin
set local search_path = pg_catalog, pg_temp;
set local client_min_messages = warning;
set local statement_timeout = 0;
set local lock_timeout = 0;
select pg_advisory_xact_lock(2583, 3);

-- name: applied
select coalesce(max(version), 0) from analytics_refresh.schema_version;

-- name: installed
select to_regclass('analytics_refresh.schema_version') is not null;
