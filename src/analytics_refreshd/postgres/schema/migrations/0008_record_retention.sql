-- What `retain` deleted, and until when: the daemon judges by this whether retention is overdue.
create table if not exists analytics_refresh.retention_runs (
    run_id uuid primary key,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    bound timestamptz not null,
    keep_figures boolean not null,
    outcome text check (outcome in ('ok', 'stopped', 'failed', 'abandoned')),
    reason text,
    rows_deleted bigint not null default 0,
    rows_left bigint,
    portions integer not null default 0,
    actor text not null default session_user);
comment on table analytics_refresh.retention_runs is 'Each run of `retain`, written by itself.';
comment on column analytics_refresh.retention_runs.run_id is 'The run, as its output names it.';
comment on column analytics_refresh.retention_runs.started_at is 'When it began, by the server''s clock.';
comment on column analytics_refresh.retention_runs.finished_at is 'When it ended; null while it goes on, or after it was killed.';
comment on column analytics_refresh.retention_runs.bound is 'Rows older than this may go.';
comment on column analytics_refresh.retention_runs.keep_figures is 'Whether the figures of deleted rows stay.';
comment on column analytics_refresh.retention_runs.outcome is 'ok: all that may go is gone; stopped: on request, or its time was over; failed; abandoned: it was killed.';
comment on column analytics_refresh.retention_runs.reason is 'Why it stopped or failed.';
comment on column analytics_refresh.retention_runs.rows_deleted is 'Rows deleted, counted in the transaction that deleted them.';
comment on column analytics_refresh.retention_runs.rows_left is 'Rows older than the bound that were there at its end; null while unknown.';
comment on column analytics_refresh.retention_runs.portions is 'Transactions that deleted rows.';
comment on column analytics_refresh.retention_runs.actor is 'The database role that ran it.';
comment on index analytics_refresh.retention_runs_pkey is 'One row per run.';
