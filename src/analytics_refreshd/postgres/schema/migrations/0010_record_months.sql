-- Months that `retain` took from action_results: kept for a while, so that they can be put back, then dropped.
create table if not exists analytics_refresh.retention_months (
    relation oid primary key,
    schema_name text not null,
    table_name text not null,
    since timestamptz,
    until timestamptz not null,
    rows_estimated bigint not null,
    run_id uuid not null,
    detached_at timestamptz not null default clock_timestamp(),
    state text not null default 'detached' check (state in ('detached', 'returned', 'dropped')),
    changed_at timestamptz not null default clock_timestamp(),
    actor text not null default session_user);
comment on table analytics_refresh.retention_months is 'Each month that `retain` detached, written by itself.';
comment on column analytics_refresh.retention_months.relation is 'Number of the table, which a dump and restore changes.';
comment on column analytics_refresh.retention_months.schema_name is 'Schema of the table.';
comment on column analytics_refresh.retention_months.table_name is 'Name of the table.';
comment on column analytics_refresh.retention_months.since is 'Its rows are of this time or later; null where it had no such bound.';
comment on column analytics_refresh.retention_months.until is 'Its rows are older than this.';
comment on column analytics_refresh.retention_months.rows_estimated is 'Its rows, as the planner estimated them.';
comment on column analytics_refresh.retention_months.run_id is 'The run that detached it.';
comment on column analytics_refresh.retention_months.detached_at is 'When that was, by the server''s clock.';
comment on column analytics_refresh.retention_months.state is 'detached: a table of its own, to be dropped; returned: a partition again; dropped.';
comment on column analytics_refresh.retention_months.changed_at is 'Since when it is so.';
comment on column analytics_refresh.retention_months.actor is 'The database role that detached it.';
comment on index analytics_refresh.retention_months_pkey is 'One row per table.';
