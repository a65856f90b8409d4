-- What the refresh functions and the daemon write. The schema and schema_version exist already.
create table analytics_refresh.installation (
    singleton boolean primary key default true check (singleton),
    app_schema text not null,
    mode text not null default 'plain' check (mode in ('plain', 'incremental')),
    installed_at timestamptz not null default clock_timestamp());
comment on table analytics_refresh.installation is 'The one row that says what is installed for which application schema.';
comment on column analytics_refresh.installation.singleton is 'Always true: there is one row.';
comment on column analytics_refresh.installation.app_schema is 'Schema of action_results, of the four views and of their functions.';
comment on column analytics_refresh.installation.mode is 'plain: the views read action_results; incremental: they read rollups.';
comment on column analytics_refresh.installation.installed_at is 'When the first migration ran, by the server''s clock.';
comment on index analytics_refresh.installation_pkey is 'Keeps the row alone.';
insert into analytics_refresh.installation (app_schema) values ({app_name});

create table analytics_refresh.last_refresh (
    view_name text primary key,
    last_success_at timestamptz not null,
    last_checked_at timestamptz not null,
    duration_ms integer not null check (duration_ms >= 0),
    rows_refreshed bigint check (rows_refreshed >= 0));
comment on table analytics_refresh.last_refresh is 'Per view, its last successful refresh, written by the refresh functions whoever calls them.';
comment on column analytics_refresh.last_refresh.view_name is 'The view, without its schema.';
comment on column analytics_refresh.last_refresh.last_success_at is 'When its last successful refresh ended, by the server''s clock.';
comment on column analytics_refresh.last_refresh.last_checked_at is 'When it was last known to hold everything; later than last_success_at where a refresh found nothing new.';
comment on column analytics_refresh.last_refresh.duration_ms is 'Milliseconds that the last successful refresh took.';
comment on column analytics_refresh.last_refresh.rows_refreshed is 'Rows in the view after it; null where the caller may not count them.';
comment on index analytics_refresh.last_refresh_pkey is 'One row per view.';

create table analytics_refresh.runs (
    run_id uuid primary key,
    database_name text not null,
    replica text not null,
    origin text not null check (origin in ('schedule', 'command')),
    scheduled_at timestamptz,
    started_at timestamptz not null,
    finished_at timestamptz,
    outcome text check (outcome in ('ok', 'partial', 'failed', 'timeout', 'cancelled', 'unknown', 'skipped')),
    reason text,
    sqlstate text,
    error text,
    duration_seconds double precision check (duration_seconds >= 0),
    lateness_seconds double precision,
    attempts integer not null default 1 check (attempts >= 0),
    leader_epoch bigint,
    owner_pid integer,
    owner_started_at timestamptz,
    clock text not null default 'server' check (clock in ('server', 'daemon')),
    isolation text check (isolation in ('cycle', 'view')));
create index runs_started_at on analytics_refresh.runs (started_at desc);
create index runs_running on analytics_refresh.runs (started_at) where outcome is null;
comment on table analytics_refresh.runs is 'One row per run of the refresh, skipped slots included.';
comment on column analytics_refresh.runs.run_id is 'UUID4 of the run, the same in logs, alerts and application_name.';
comment on column analytics_refresh.runs.database_name is 'The [service] name of the daemon.';
comment on column analytics_refresh.runs.replica is 'The daemon that ran it.';
comment on column analytics_refresh.runs.origin is 'schedule: a slot of the daemon; command: a person or cron.';
comment on column analytics_refresh.runs.scheduled_at is 'The planned time; null for a command.';
comment on column analytics_refresh.runs.started_at is 'When it began.';
comment on column analytics_refresh.runs.finished_at is 'When it ended; null while it runs.';
comment on column analytics_refresh.runs.outcome is 'How it ended; null while it runs.';
comment on column analytics_refresh.runs.reason is 'Why it ended so, from a closed list; null when ok.';
comment on column analytics_refresh.runs.sqlstate is 'SQLSTATE of the error that ended it.';
comment on column analytics_refresh.runs.error is 'Primary message of that error, redacted and cut.';
comment on column analytics_refresh.runs.duration_seconds is 'Seconds from start to end as the daemon measured them.';
comment on column analytics_refresh.runs.lateness_seconds is 'started_at - scheduled_at in seconds; null for a command.';
comment on column analytics_refresh.runs.attempts is 'Calls of the refresh function; 0 where it was skipped.';
comment on column analytics_refresh.runs.leader_epoch is 'Term of the leader that ran it.';
comment on column analytics_refresh.runs.owner_pid is 'Server pid of the session that wrote the row; with owner_started_at it tells an abandoned run.';
comment on column analytics_refresh.runs.owner_started_at is 'backend_start of that session.';
comment on column analytics_refresh.runs.clock is 'Whose clock the times are: a record written late from memory has the daemon''s.';
comment on column analytics_refresh.runs.isolation is 'cycle: one transaction for all views; view: one for each.';
comment on index analytics_refresh.runs_pkey is 'One row per run.';
comment on index analytics_refresh.runs_started_at is 'History newest first, and pruning.';
comment on index analytics_refresh.runs_running is 'The runs that have not ended.';

create table analytics_refresh.view_results (
    run_id uuid not null references analytics_refresh.runs (run_id) on delete cascade,
    view_name text not null,
    success boolean not null,
    reason text,
    sqlstate text,
    error text,
    row_count bigint,
    duration_seconds double precision,
    reported_seconds double precision,
    observed_seconds double precision,
    primary key (run_id, view_name));
create index view_results_view_name on analytics_refresh.view_results (view_name, run_id);
comment on table analytics_refresh.view_results is 'One row per run and view.';
comment on column analytics_refresh.view_results.run_id is 'The run.';
comment on column analytics_refresh.view_results.view_name is 'The view, without its schema.';
comment on column analytics_refresh.view_results.success is 'Whether the view was refreshed and committed.';
comment on column analytics_refresh.view_results.reason is 'Why not, from a closed list; null when success.';
comment on column analytics_refresh.view_results.sqlstate is 'SQLSTATE of its error.';
comment on column analytics_refresh.view_results.error is 'Primary message of its error, redacted and cut.';
comment on column analytics_refresh.view_results.row_count is 'Rows in the view; null on failure.';
comment on column analytics_refresh.view_results.duration_seconds is 'Seconds it took: reported or observed, whichever can be right.';
comment on column analytics_refresh.view_results.reported_seconds is 'Seconds as the function reported them.';
comment on column analytics_refresh.view_results.observed_seconds is 'Seconds as seen from outside, in the locks the refresh took.';
comment on index analytics_refresh.view_results_pkey is 'One row per run and view.';
comment on index analytics_refresh.view_results_view_name is 'History of one view.';
comment on constraint view_results_run_id_fkey on analytics_refresh.view_results is 'A pruned run takes its views along.';

create table analytics_refresh.alerts (
    alert text not null,
    view_name text not null default '',
    state text not null check (state in ('pending', 'firing', 'resolved')),
    severity text not null,
    active_at timestamptz not null,
    fired_at timestamptz,
    resolved_at timestamptz,
    summary text,
    description text,
    run_id uuid,
    updated_at timestamptz not null default clock_timestamp(),
    primary key (alert, view_name));
comment on table analytics_refresh.alerts is 'State of the alerts, so that a restart neither pages twice nor resolves falsely.';
comment on column analytics_refresh.alerts.alert is 'Name of the alert.';
comment on column analytics_refresh.alerts.view_name is 'The view; empty for the whole database.';
comment on column analytics_refresh.alerts.state is 'pending, firing or resolved.';
comment on column analytics_refresh.alerts.severity is 'Severity at the last transition.';
comment on column analytics_refresh.alerts.active_at is 'When its condition became true.';
comment on column analytics_refresh.alerts.fired_at is 'When it fired; null while pending.';
comment on column analytics_refresh.alerts.resolved_at is 'When it resolved; null before.';
comment on column analytics_refresh.alerts.summary is 'One line for a person.';
comment on column analytics_refresh.alerts.description is 'What is known, and the next command to type.';
comment on column analytics_refresh.alerts.run_id is 'The run it speaks of; may have been pruned.';
comment on column analytics_refresh.alerts.updated_at is 'When the row last changed.';
comment on index analytics_refresh.alerts_pkey is 'One row per alert and view.';

create table analytics_refresh.deliveries (
    receiver text not null,
    alert_key text not null,
    status text not null,
    sent_at timestamptz not null default clock_timestamp(),
    primary key (receiver, alert_key, status));
comment on table analytics_refresh.deliveries is 'What each receiver has been sent, so that a new leader does not send it again.';
comment on column analytics_refresh.deliveries.receiver is 'Name of the receiver.';
comment on column analytics_refresh.deliveries.alert_key is 'Stable key of one episode of an alert.';
comment on column analytics_refresh.deliveries.status is 'What was sent: firing or resolved.';
comment on column analytics_refresh.deliveries.sent_at is 'When it was accepted.';
comment on index analytics_refresh.deliveries_pkey is 'One row per receiver, episode and status.';
