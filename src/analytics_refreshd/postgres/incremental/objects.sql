-- Tables of the incremental mode. Counts are kept as sums of deltas, so that a late change costs what any other does.

-- name: tables
create table if not exists analytics_refresh.incremental (
    singleton boolean primary key default true check (singleton),
    built boolean not null default false,
    build_from timestamptz not null default '-infinity',
    build_reason text not null default 'installation',
    rows_built bigint not null default 0,
    built_at timestamptz,
    capture text not null default '',
    folded_at timestamptz,
    fold_ms integer,
    rows_folded bigint,
    verified_at timestamptz,
    verified_ok boolean,
    verified_differences bigint,
    functions jsonb,
    unheld_durations bigint not null default 0,
    unheld_retries bigint not null default 0,
    unheld_keys bigint not null default 0,
    frozen_until timestamptz not null default '-infinity',
    retained interval,
    late_rows text not null default 'ignore',
    late_rows_total bigint not null default 0,
    late_rows_at timestamptz,
    frozen_checksum numeric not null default 0,
    days_since timestamptz) with (fillfactor = 50);
insert into analytics_refresh.incremental default values on conflict do nothing;

-- append only: a row per changed row that is shared by nobody, so that no writer waits for another
create table if not exists analytics_refresh.deltas (
    executed_at timestamptz,
    duration_ms integer,
    retry_count integer,
    sign smallint not null,
    trigger_id text,
    action_type text,
    status text,
    xid xid8 default pg_current_xact_id(),
    unheld smallint not null default 0,
    cause "char" not null default 'i')
    with (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_threshold = 1000000000);

create table if not exists analytics_refresh.rebuild_marks (
    mark_id bigint generated always as identity primary key,
    reason text not null,
    marked_at timestamptz not null default clock_timestamp(),
    xid xid8 default pg_current_xact_id(),
    asked boolean not null default false);

create sequence if not exists analytics_refresh.cells as integer;

create table if not exists analytics_refresh.hour_cells (
    cell integer not null default nextval('analytics_refresh.cells'),
    n bigint not null,
    timed bigint not null,
    duration_total bigint not null,
    retry_total bigint not null,
    retried bigint not null,
    hour timestamptz,
    action_type text,
    status text,
    constraint hour_cells_key unique nulls not distinct (hour, action_type, status)) with (fillfactor = 80);

create table if not exists analytics_refresh.trigger_cells (
    cell integer not null default nextval('analytics_refresh.cells'),
    n bigint not null,
    succeeded bigint not null,
    failed bigint not null,
    retrying bigint not null,
    timed bigint not null,
    duration_total bigint not null,
    tried bigint not null,
    retry_total bigint not null,
    first_at timestamptz,
    last_at timestamptz,
    trigger_id text not null constraint trigger_cells_key primary key) with (fillfactor = 70);

create table if not exists analytics_refresh.type_cells (
    action_type text constraint type_cells_key primary key,
    n bigint not null,
    last_at timestamptz) with (fillfactor = 50);

create table if not exists analytics_refresh.duration_counts (
    cell integer not null,
    duration_ms integer not null,
    n integer not null,
    constraint duration_counts_key primary key (cell, duration_ms)) with (fillfactor = 90);

create table if not exists analytics_refresh.retry_counts (
    cell integer not null,
    retry_count integer not null,
    n integer not null,
    constraint retry_counts_key primary key (cell, retry_count)) with (fillfactor = 80);

create table if not exists analytics_refresh.duration_stats (
    cell integer constraint duration_stats_key primary key,
    min_duration_ms integer,
    max_duration_ms integer,
    p50_duration_ms numeric(12, 2),
    p95_duration_ms numeric(12, 2),
    p99_duration_ms numeric(12, 2),
    p50_at integer,
    p95_at integer,
    p99_at integer,
    p50_below bigint,
    p95_below bigint,
    p99_below bigint) with (fillfactor = 70);

-- what installations before the percentiles were kept by their places lack, and what they have too much
alter table analytics_refresh.duration_stats add column if not exists p50_at integer,
    add column if not exists p95_at integer, add column if not exists p99_at integer,
    add column if not exists p50_below bigint, add column if not exists p95_below bigint,
    add column if not exists p99_below bigint;
drop function if exists analytics_refresh.is_part(oid), analytics_refresh.recount(integer[]),
    analytics_refresh.drop_empty(
        boolean, boolean, boolean, integer[], integer[], integer[], integer[], integer[], integer[]),
    analytics_refresh.drop_empty(boolean, boolean, boolean, integer[], integer[], integer[], integer[]);
drop table if exists analytics_refresh.duration_buckets;

create table if not exists analytics_refresh.window_edge (
    action_type text,
    n bigint not null,
    succeeded bigint not null,
    failed bigint not null,
    timed bigint not null,
    duration_total bigint not null,
    retry_total bigint not null);

create table if not exists analytics_refresh.type_window (
    action_type text,
    n bigint not null,
    succeeded bigint not null,
    failed bigint not null,
    timed bigint not null,
    duration_total bigint not null,
    retry_total bigint not null,
    last_at timestamptz);

create table if not exists analytics_refresh.view_changes (
    view_name text primary key,
    version bigint not null default 1) with (fillfactor = 50);
create table if not exists analytics_refresh.view_refreshes (
    view_name text primary key,
    version bigint not null default 0) with (fillfactor = 50);
insert into analytics_refresh.view_changes (view_name)
select unnest(array['action_metrics_hourly', 'trigger_performance_summary', 'recent_failures', 'action_type_distribution'])
on conflict do nothing;
insert into analytics_refresh.view_refreshes (view_name)
select unnest(array['action_metrics_hourly', 'trigger_performance_summary', 'recent_failures', 'action_type_distribution'])
on conflict do nothing;

-- name: lacks_columns
-- whether these tables are older ones
select exists (
    select from (values ('deltas', 'xid'), ('rebuild_marks', 'xid'), ('incremental', 'functions'),
        ('deltas', 'unheld'), ('incremental', 'unheld_keys'), ('deltas', 'cause'), ('incremental', 'frozen_checksum'),
        ('rebuild_marks', 'asked'), ('incremental', 'days_since')) t (name, column_name)
    where to_regclass('analytics_refresh.' || t.name) is not null and not exists (
        select from pg_attribute a
        where a.attrelid = to_regclass('analytics_refresh.' || t.name) and a.attname = t.column_name
            and not a.attisdropped));

-- name: add_columns
-- in two steps each: a default that is not constant would make ADD COLUMN write the table again, and keep writers waiting
alter table analytics_refresh.deltas add column if not exists xid xid8;
alter table analytics_refresh.deltas alter column xid set default pg_current_xact_id();
alter table analytics_refresh.rebuild_marks add column if not exists xid xid8;
alter table analytics_refresh.rebuild_marks alter column xid set default pg_current_xact_id();
alter table analytics_refresh.rebuild_marks add column if not exists asked boolean not null default false;
alter table analytics_refresh.deltas add column if not exists unheld smallint not null default 0,
    add column if not exists cause "char" not null default 'i';
alter table analytics_refresh.incremental add column if not exists functions jsonb,
    add column if not exists unheld_durations bigint not null default 0,
    add column if not exists unheld_retries bigint not null default 0,
    add column if not exists unheld_keys bigint not null default 0,
    add column if not exists frozen_until timestamptz not null default '-infinity',
    add column if not exists retained interval,
    add column if not exists late_rows text not null default 'ignore',
    add column if not exists late_rows_total bigint not null default 0,
    add column if not exists late_rows_at timestamptz,
    add column if not exists frozen_checksum numeric not null default 0,
    add column if not exists days_since timestamptz;

-- name: tables_comments
comment on table analytics_refresh.incremental is 'The one row that says how far the rollups are built, folded and verified; its lock lets one fold run at a time.';
comment on column analytics_refresh.incremental.singleton is 'Always true: there is one row.';
comment on column analytics_refresh.incremental.built is 'Whether the rollups hold every row; false while they are built.';
comment on column analytics_refresh.incremental.build_from is 'Executions before this time are built already.';
comment on column analytics_refresh.incremental.build_reason is 'Why the rollups were built last.';
comment on column analytics_refresh.incremental.rows_built is 'Rows of action_results read by the last build.';
comment on column analytics_refresh.incremental.built_at is 'When the last build ended.';
comment on column analytics_refresh.incremental.capture is 'The tables and capture triggers as the last build found them; another value means rows may have been missed.';
comment on column analytics_refresh.incremental.folded_at is 'When deltas were last folded.';
comment on column analytics_refresh.incremental.fold_ms is 'Milliseconds that fold took.';
comment on column analytics_refresh.incremental.rows_folded is 'Deltas that fold took.';
comment on column analytics_refresh.incremental.verified_at is 'When the rollups were last compared with the plain definitions.';
comment on column analytics_refresh.incremental.verified_ok is 'Whether they agreed.';
comment on column analytics_refresh.incremental.verified_differences is 'Rows that differed then, both directions together.';
comment on column analytics_refresh.incremental.functions is 'The functions as they were installed, each with a hash of its body.';
comment on column analytics_refresh.incremental.unheld_durations is 'Rows whose duration_ms is no integer: they are counted without one.';
comment on column analytics_refresh.incremental.unheld_retries is 'Rows whose retry_count is no integer: they are counted without one.';
comment on column analytics_refresh.incremental.unheld_keys is 'Rows without action_type or status: they are not counted.';
comment on column analytics_refresh.incremental.frozen_until is 'The horizon: what is older is frozen. A whole hour; -infinity: nothing is.';
comment on column analytics_refresh.incremental.retained is 'How long rows are kept; the horizon advances with it. Null: it stays where it is.';
comment on column analytics_refresh.incremental.late_rows is 'What becomes of rows that are inserted before the horizon: ignore or apply.';
comment on column analytics_refresh.incremental.late_rows_total is 'How many rows were inserted or changed before the horizon.';
comment on column analytics_refresh.incremental.late_rows_at is 'When the last of them was found.';
comment on column analytics_refresh.incremental.frozen_checksum is 'A sum over all that is frozen, kept by what freezes it.';
comment on column analytics_refresh.incremental.days_since is 'Since when frozen_days holds what is frozen; null: there are none.';
comment on table analytics_refresh.deltas is 'Changes of action_results not folded yet, one row per old or new row, in no order.';
comment on column analytics_refresh.deltas.executed_at is 'executed_at of the row.';
comment on column analytics_refresh.deltas.duration_ms is 'duration_ms of the row.';
comment on column analytics_refresh.deltas.retry_count is 'retry_count of the row.';
comment on column analytics_refresh.deltas.sign is '1: the row came; -1: it went.';
comment on column analytics_refresh.deltas.trigger_id is 'trigger_id of the row.';
comment on column analytics_refresh.deltas.action_type is 'action_type of the row.';
comment on column analytics_refresh.deltas.status is 'status of the row.';
comment on column analytics_refresh.deltas.xid is 'The transaction that changed the row; null before this column was added.';
comment on column analytics_refresh.deltas.unheld is 'What of the row the views cannot hold: 1 duration_ms, 2 retry_count, 4 a missing key.';
comment on column analytics_refresh.deltas.cause is 'The statement: i, u or d, for insert, update, delete.';
comment on table analytics_refresh.rebuild_marks is 'Events that deltas cannot express; any row makes the next refresh rebuild the rollups.';
comment on column analytics_refresh.rebuild_marks.mark_id is 'Its number.';
comment on column analytics_refresh.rebuild_marks.reason is 'What happened.';
comment on column analytics_refresh.rebuild_marks.marked_at is 'When.';
comment on column analytics_refresh.rebuild_marks.xid is 'The transaction that left it; null before this column was added.';
comment on column analytics_refresh.rebuild_marks.asked is 'Whether somebody asked for it, and so accepts what it leaves out.';
comment on sequence analytics_refresh.cells is 'Numbers the hours and triggers whose durations are counted.';
comment on table analytics_refresh.hour_cells is 'Rollup per hour (UTC), action type and status.';
comment on table analytics_refresh.trigger_cells is 'Rollup per trigger.';
comment on table analytics_refresh.type_cells is 'Rollup per action type.';
comment on table analytics_refresh.duration_counts is 'Exact histogram: how many executions of a cell took so many milliseconds.';
comment on table analytics_refresh.retry_counts is 'How many executions of a trigger had so many retries.';
comment on table analytics_refresh.duration_stats is 'Minimum, maximum and percentiles of a cell, from its histogram.';
comment on column analytics_refresh.duration_stats.p50_at is 'The duration at or below the median: the next look for it begins here.';
comment on column analytics_refresh.duration_stats.p95_at is 'The same for the 95th percentile.';
comment on column analytics_refresh.duration_stats.p99_at is 'The same for the 99th percentile.';
comment on column analytics_refresh.duration_stats.p50_below is 'How many executions of the cell were shorter than p50_at.';
comment on column analytics_refresh.duration_stats.p95_below is 'How many were shorter than p95_at.';
comment on column analytics_refresh.duration_stats.p99_below is 'How many were shorter than p99_at.';
comment on table analytics_refresh.window_edge is 'The part of an hour in which the 30 days of action_type_distribution begin, as the last fold found it.';
comment on table analytics_refresh.type_window is 'action_type_distribution as the last fold found it.';
comment on table analytics_refresh.view_changes is 'Per view, a number that moves when its rows may have changed; written by the fold.';
comment on table analytics_refresh.view_refreshes is 'Per view, that number as of its last refresh.';

-- name: drop
drop table if exists analytics_refresh.incremental, analytics_refresh.deltas, analytics_refresh.rebuild_marks,
    analytics_refresh.hour_cells, analytics_refresh.trigger_cells, analytics_refresh.type_cells,
    analytics_refresh.duration_counts, analytics_refresh.retry_counts,
    analytics_refresh.duration_stats, analytics_refresh.window_edge, analytics_refresh.type_window,
    analytics_refresh.view_changes, analytics_refresh.view_refreshes;
drop sequence if exists analytics_refresh.cells;
