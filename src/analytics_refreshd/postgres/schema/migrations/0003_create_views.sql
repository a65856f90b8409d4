-- name: action_metrics_hourly
create materialized view {target}.action_metrics_hourly as
select
    date_trunc('hour', r.executed_at, 'UTC')::timestamptz as hour,
    r.action_type::text as action_type,
    r.status::text as status,
    count(*)::bigint as execution_count,
    avg(r.duration_ms)::numeric(12, 2) as avg_duration_ms,
    min(r.duration_ms)::integer as min_duration_ms,
    max(r.duration_ms)::integer as max_duration_ms,
    (percentile_cont(0.50) within group (order by r.duration_ms))::numeric(12, 2) as p50_duration_ms,
    (percentile_cont(0.95) within group (order by r.duration_ms))::numeric(12, 2) as p95_duration_ms,
    (percentile_cont(0.99) within group (order by r.duration_ms))::numeric(12, 2) as p99_duration_ms,
    (count(*) filter (where r.status = 'success'))::bigint as success_count,
    (count(*) filter (where r.status = 'failed'))::bigint as failure_count,
    (count(*) filter (where r.status = 'retrying'))::bigint as retrying_count,
    coalesce(sum(r.retry_count), 0)::bigint as total_retries,
    (count(*) filter (where r.retry_count > 0))::bigint as actions_with_retries
from {app}.action_results r
group by 1, 2, 3
with no data;

-- name: idx_action_metrics_hourly_unique
create unique index idx_action_metrics_hourly_unique
    on {target}.action_metrics_hourly (hour, action_type, status) nulls not distinct;

-- name: idx_action_metrics_hourly_hour
create index idx_action_metrics_hourly_hour on {target}.action_metrics_hourly (hour desc);

-- name: idx_action_metrics_hourly_action_type
create index idx_action_metrics_hourly_action_type on {target}.action_metrics_hourly (action_type);

-- name: idx_action_metrics_hourly_status
create index idx_action_metrics_hourly_status on {target}.action_metrics_hourly (status);

-- name: action_metrics_hourly_comments
comment on materialized view {target}.action_metrics_hourly is 'Executions per hour (UTC), action type and status, over all history.';
comment on column {target}.action_metrics_hourly.hour is 'Start of the hour in UTC; null for executions without a time.';
comment on column {target}.action_metrics_hourly.action_type is 'Kind of action.';
comment on column {target}.action_metrics_hourly.status is 'success, failed or retrying.';
comment on column {target}.action_metrics_hourly.execution_count is 'Executions.';
comment on column {target}.action_metrics_hourly.avg_duration_ms is 'Mean duration in milliseconds, executions without one left out.';
comment on column {target}.action_metrics_hourly.min_duration_ms is 'Shortest duration in milliseconds.';
comment on column {target}.action_metrics_hourly.max_duration_ms is 'Longest duration in milliseconds.';
comment on column {target}.action_metrics_hourly.p50_duration_ms is 'Median duration in milliseconds, interpolated.';
comment on column {target}.action_metrics_hourly.p95_duration_ms is '95th percentile of the duration in milliseconds, interpolated.';
comment on column {target}.action_metrics_hourly.p99_duration_ms is '99th percentile of the duration in milliseconds, interpolated.';
comment on column {target}.action_metrics_hourly.success_count is 'Executions with status success.';
comment on column {target}.action_metrics_hourly.failure_count is 'Executions with status failed.';
comment on column {target}.action_metrics_hourly.retrying_count is 'Executions with status retrying.';
comment on column {target}.action_metrics_hourly.total_retries is 'Retries of all executions together.';
comment on column {target}.action_metrics_hourly.actions_with_retries is 'Executions retried at least once.';
comment on index {target}.idx_action_metrics_hourly_unique is 'Lets the view be refreshed concurrently; the hour may be null once per type and status.';
comment on index {target}.idx_action_metrics_hourly_hour is 'Newest hours first.';
comment on index {target}.idx_action_metrics_hourly_action_type is 'One action type.';
comment on index {target}.idx_action_metrics_hourly_status is 'One status.';

-- name: trigger_performance_summary
create materialized view {target}.trigger_performance_summary as
select
    r.trigger_id::text as trigger_id,
    count(*)::bigint as total_executions,
    (count(*) filter (where r.status = 'success'))::bigint as success_count,
    (count(*) filter (where r.status = 'failed'))::bigint as failure_count,
    (count(*) filter (where r.status = 'retrying'))::bigint as retrying_count,
    round(100.0 * count(*) filter (where r.status = 'success') / nullif(count(*), 0), 2)::numeric as success_rate,
    avg(r.duration_ms)::numeric(12, 2) as avg_duration_ms,
    min(r.duration_ms)::integer as min_duration_ms,
    max(r.duration_ms)::integer as max_duration_ms,
    (percentile_cont(0.50) within group (order by r.duration_ms))::numeric(12, 2) as p50_duration_ms,
    (percentile_cont(0.95) within group (order by r.duration_ms))::numeric(12, 2) as p95_duration_ms,
    (percentile_cont(0.99) within group (order by r.duration_ms))::numeric(12, 2) as p99_duration_ms,
    coalesce(sum(r.retry_count), 0)::bigint as total_retries,
    avg(r.retry_count)::numeric(12, 2) as avg_retries,
    max(r.retry_count)::integer as max_retries,
    max(r.executed_at)::timestamptz as last_execution_at,
    min(r.executed_at)::timestamptz as first_execution_at,
    (extract(epoch from max(r.executed_at) - min(r.executed_at)) / 3600)::numeric as hours_active
from {app}.action_results r
where r.trigger_id is not null
group by 1
with no data;

-- name: idx_trigger_performance_summary_unique
create unique index idx_trigger_performance_summary_unique
    on {target}.trigger_performance_summary (trigger_id);

-- name: idx_trigger_performance_summary_executions
create index idx_trigger_performance_summary_executions
    on {target}.trigger_performance_summary (total_executions desc);

-- name: idx_trigger_performance_summary_success_rate
create index idx_trigger_performance_summary_success_rate
    on {target}.trigger_performance_summary (success_rate asc nulls first);

-- name: idx_trigger_performance_summary_avg_duration
create index idx_trigger_performance_summary_avg_duration
    on {target}.trigger_performance_summary (avg_duration_ms desc nulls last);

-- name: idx_trigger_performance_summary_retries
create index idx_trigger_performance_summary_retries
    on {target}.trigger_performance_summary (total_retries desc);

-- name: trigger_performance_summary_comments
comment on materialized view {target}.trigger_performance_summary is 'Executions per trigger over all history; those without a trigger are left out.';
comment on column {target}.trigger_performance_summary.trigger_id is 'The trigger.';
comment on column {target}.trigger_performance_summary.total_executions is 'Executions.';
comment on column {target}.trigger_performance_summary.success_count is 'Executions with status success.';
comment on column {target}.trigger_performance_summary.failure_count is 'Executions with status failed.';
comment on column {target}.trigger_performance_summary.retrying_count is 'Executions with status retrying.';
comment on column {target}.trigger_performance_summary.success_rate is 'Percent of all executions, retrying ones included, that succeeded; 2 decimals.';
comment on column {target}.trigger_performance_summary.avg_duration_ms is 'Mean duration in milliseconds, executions without one left out.';
comment on column {target}.trigger_performance_summary.min_duration_ms is 'Shortest duration in milliseconds.';
comment on column {target}.trigger_performance_summary.max_duration_ms is 'Longest duration in milliseconds.';
comment on column {target}.trigger_performance_summary.p50_duration_ms is 'Median duration in milliseconds, interpolated.';
comment on column {target}.trigger_performance_summary.p95_duration_ms is '95th percentile of the duration in milliseconds, interpolated.';
comment on column {target}.trigger_performance_summary.p99_duration_ms is '99th percentile of the duration in milliseconds, interpolated.';
comment on column {target}.trigger_performance_summary.total_retries is 'Retries of all executions together.';
comment on column {target}.trigger_performance_summary.avg_retries is 'Mean retries of an execution.';
comment on column {target}.trigger_performance_summary.max_retries is 'Most retries of one execution.';
comment on column {target}.trigger_performance_summary.last_execution_at is 'Latest execution.';
comment on column {target}.trigger_performance_summary.first_execution_at is 'Earliest execution.';
comment on column {target}.trigger_performance_summary.hours_active is 'Hours from the first to the last execution.';
comment on index {target}.idx_trigger_performance_summary_unique is 'Lets the view be refreshed concurrently.';
comment on index {target}.idx_trigger_performance_summary_executions is 'Most active triggers first.';
comment on index {target}.idx_trigger_performance_summary_success_rate is 'Least successful triggers first.';
comment on index {target}.idx_trigger_performance_summary_avg_duration is 'Slowest triggers first.';
comment on index {target}.idx_trigger_performance_summary_retries is 'Most retried triggers first.';

-- name: recent_failures
create materialized view {target}.recent_failures as
select
    r.id::text as id,
    r.job_id::text as job_id,
    r.trigger_id::text as trigger_id,
    r.event_id::text as event_id,
    r.action_type::text as action_type,
    r.error_message::text as error_message,
    r.retry_count::integer as retry_count,
    r.executed_at::timestamptz as executed_at,
    r.duration_ms::integer as duration_ms,
    r.response_data::jsonb as response_data
from {app}.action_results r
where r.status = 'failed' and r.executed_at >= now() - interval '24 hours'
with no data;

-- name: idx_recent_failures_unique
create unique index idx_recent_failures_unique on {target}.recent_failures (id);

-- name: idx_recent_failures_trigger_id
create index idx_recent_failures_trigger_id
    on {target}.recent_failures (trigger_id) where trigger_id is not null;

-- name: idx_recent_failures_executed_at
create index idx_recent_failures_executed_at on {target}.recent_failures (executed_at desc);

-- name: idx_recent_failures_action_type
create index idx_recent_failures_action_type on {target}.recent_failures (action_type);

-- name: idx_recent_failures_error_message
-- the head of the message only: one that is longer than a third of a page would fail every refresh
create index idx_recent_failures_error_message
    on {target}.recent_failures ("left"(error_message, 200)) where error_message is not null;

-- name: recent_failures_comments
comment on materialized view {target}.recent_failures is 'Executions that failed in the last 24 hours.';
comment on column {target}.recent_failures.id is 'The execution.';
comment on column {target}.recent_failures.job_id is 'Its job.';
comment on column {target}.recent_failures.trigger_id is 'Its trigger, where it has one.';
comment on column {target}.recent_failures.event_id is 'Its event, where it has one.';
comment on column {target}.recent_failures.action_type is 'Kind of action.';
comment on column {target}.recent_failures.error_message is 'The error as the application wrote it; may hold personal data.';
comment on column {target}.recent_failures.retry_count is 'Retries before it failed.';
comment on column {target}.recent_failures.executed_at is 'When it was executed.';
comment on column {target}.recent_failures.duration_ms is 'Duration in milliseconds.';
comment on column {target}.recent_failures.response_data is 'The answer that the action got; may hold personal data.';
comment on index {target}.idx_recent_failures_unique is 'Lets the view be refreshed concurrently.';
comment on index {target}.idx_recent_failures_trigger_id is 'Failures of one trigger.';
comment on index {target}.idx_recent_failures_executed_at is 'Newest failures first.';
comment on index {target}.idx_recent_failures_action_type is 'Failures of one action type.';
comment on index {target}.idx_recent_failures_error_message is 'Failures whose message begins alike, by its first 200 characters.';

-- name: action_type_distribution
-- 720 hours, not 30 days: a day has 23 or 25 hours in some zones
create materialized view {target}.action_type_distribution as
select
    r.action_type::text as action_type,
    count(*)::bigint as total_executions,
    (count(*) filter (where r.status = 'success'))::bigint as success_count,
    (count(*) filter (where r.status = 'failed'))::bigint as failure_count,
    round(100.0 * count(*) / nullif(sum(count(*)) over (), 0), 2)::numeric as percentage,
    avg(r.duration_ms)::numeric(12, 2) as avg_duration_ms,
    coalesce(sum(r.retry_count), 0)::bigint as total_retries,
    max(r.executed_at)::timestamptz as last_execution_at
from {app}.action_results r
where r.executed_at >= now() - interval '720 hours'
group by 1
with no data;

-- name: idx_action_type_distribution_unique
create unique index idx_action_type_distribution_unique on {target}.action_type_distribution (action_type);

-- name: idx_action_type_distribution_executions
create index idx_action_type_distribution_executions
    on {target}.action_type_distribution (total_executions desc);

-- name: action_type_distribution_comments
comment on materialized view {target}.action_type_distribution is 'Share of each action type in the executions of the last 30 days.';
comment on column {target}.action_type_distribution.action_type is 'Kind of action.';
comment on column {target}.action_type_distribution.total_executions is 'Executions.';
comment on column {target}.action_type_distribution.success_count is 'Executions with status success.';
comment on column {target}.action_type_distribution.failure_count is 'Executions with status failed.';
comment on column {target}.action_type_distribution.percentage is 'Percent of all executions of these 30 days; 2 decimals, together about 100.';
comment on column {target}.action_type_distribution.avg_duration_ms is 'Mean duration in milliseconds, executions without one left out.';
comment on column {target}.action_type_distribution.total_retries is 'Retries of all executions together.';
comment on column {target}.action_type_distribution.last_execution_at is 'Latest execution.';
comment on index {target}.idx_action_type_distribution_unique is 'Lets the view be refreshed concurrently.';
comment on index {target}.idx_action_type_distribution_executions is 'Most frequent types first.';
