-- name: recent_failures
create materialized view {target}.recent_failures as
select
    r.id::text as id,
    r.job_id::text as job_id,
    r.trigger_id::text as trigger_id,
    r.event_id::text as event_id,
    r.action_type::text as action_type,
    {error_message} as error_message,
    r.retry_count::integer as retry_count,
    r.executed_at::timestamptz as executed_at,
    r.duration_ms::integer as duration_ms,
    {response_data} as response_data
from {app}.action_results r
where r.status = 'failed' and r.executed_at >= now() - interval '24 hours'
with no data;

-- name: recent_failures_comments
comment on materialized view {target}.recent_failures is 'Executions that failed in the last 24 hours.';
comment on column {target}.recent_failures.id is 'The execution.';
comment on column {target}.recent_failures.job_id is 'Its job.';
comment on column {target}.recent_failures.trigger_id is 'Its trigger, where it has one.';
comment on column {target}.recent_failures.event_id is 'Its event, where it has one.';
comment on column {target}.recent_failures.action_type is 'Kind of action.';
comment on column {target}.recent_failures.error_message is 'The error; may hold personal data unless it is stored redacted.';
comment on column {target}.recent_failures.retry_count is 'Retries before it failed.';
comment on column {target}.recent_failures.executed_at is 'When it was executed.';
comment on column {target}.recent_failures.duration_ms is 'Duration in milliseconds.';
comment on column {target}.recent_failures.response_data is 'The answer that the action got; may hold personal data. Null where errors are stored redacted.';
comment on index {target}.idx_recent_failures_unique is 'Lets the view be refreshed concurrently.';
comment on index {target}.idx_recent_failures_trigger_id is 'Failures of one trigger.';
comment on index {target}.idx_recent_failures_executed_at is 'Newest failures first.';
comment on index {target}.idx_recent_failures_action_type is 'Failures of one action type.';
comment on index {target}.idx_recent_failures_error_message is 'Failures whose message begins alike, by its first 200 characters.';
