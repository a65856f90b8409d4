-- The four views of the incremental mode: same names, columns and types as the plain ones. Three of them read a function
-- that folds first, so that any statement that refreshes them gets what the table holds. The order of the
-- rows is that of their bytes: REFRESH CONCURRENTLY sorts by those to find duplicates, and that sort is most of its cost
-- unless it is done.

-- name: action_metrics_hourly
create materialized view {target}.action_metrics_hourly as
select
    f.hour,
    f.action_type,
    f.status,
    f.execution_count,
    f.avg_duration_ms::numeric(12, 2) as avg_duration_ms,
    f.min_duration_ms,
    f.max_duration_ms,
    f.p50_duration_ms::numeric(12, 2) as p50_duration_ms,
    f.p95_duration_ms::numeric(12, 2) as p95_duration_ms,
    f.p99_duration_ms::numeric(12, 2) as p99_duration_ms,
    f.success_count,
    f.failure_count,
    f.retrying_count,
    f.total_retries,
    f.actions_with_retries
from analytics_refresh.action_metrics_hourly_rows() f
with no data;

-- name: action_metrics_hourly_columns
hour timestamptz,
    action_type text,
    status text,
    execution_count bigint,
    avg_duration_ms numeric,
    min_duration_ms integer,
    max_duration_ms integer,
    p50_duration_ms numeric,
    p95_duration_ms numeric,
    p99_duration_ms numeric,
    success_count bigint,
    failure_count bigint,
    retrying_count bigint,
    total_retries bigint,
    actions_with_retries bigint

-- name: action_metrics_hourly_query
select
    c.hour,
    c.action_type,
    c.status,
    c.n as execution_count,
    (c.duration_total::numeric / nullif(c.timed, 0))::numeric(12, 2) as avg_duration_ms,
    s.min_duration_ms,
    s.max_duration_ms,
    s.p50_duration_ms,
    s.p95_duration_ms,
    s.p99_duration_ms,
    case c.status when 'success' then c.n else 0 end as success_count,
    case c.status when 'failed' then c.n else 0 end as failure_count,
    case c.status when 'retrying' then c.n else 0 end as retrying_count,
    c.retry_total as total_retries,
    c.retried as actions_with_retries
from analytics_refresh.hour_cells c
left join analytics_refresh.duration_stats s on s.cell = c.cell
order by c.hour, c.action_type collate "C", c.status collate "C"

-- name: trigger_performance_summary
create materialized view {target}.trigger_performance_summary as
select
    f.trigger_id,
    f.total_executions,
    f.success_count,
    f.failure_count,
    f.retrying_count,
    f.success_rate,
    f.avg_duration_ms::numeric(12, 2) as avg_duration_ms,
    f.min_duration_ms,
    f.max_duration_ms,
    f.p50_duration_ms::numeric(12, 2) as p50_duration_ms,
    f.p95_duration_ms::numeric(12, 2) as p95_duration_ms,
    f.p99_duration_ms::numeric(12, 2) as p99_duration_ms,
    f.total_retries,
    f.avg_retries::numeric(12, 2) as avg_retries,
    f.max_retries,
    f.last_execution_at,
    f.first_execution_at,
    f.hours_active
from analytics_refresh.trigger_performance_summary_rows() f
with no data;

-- name: trigger_performance_summary_columns
trigger_id text,
    total_executions bigint,
    success_count bigint,
    failure_count bigint,
    retrying_count bigint,
    success_rate numeric,
    avg_duration_ms numeric,
    min_duration_ms integer,
    max_duration_ms integer,
    p50_duration_ms numeric,
    p95_duration_ms numeric,
    p99_duration_ms numeric,
    total_retries bigint,
    avg_retries numeric,
    max_retries integer,
    last_execution_at timestamptz,
    first_execution_at timestamptz,
    hours_active numeric

-- name: trigger_performance_summary_query
select
    c.trigger_id,
    c.n as total_executions,
    c.succeeded as success_count,
    c.failed as failure_count,
    c.retrying as retrying_count,
    round(100.0 * c.succeeded / nullif(c.n, 0), 2) as success_rate,
    (c.duration_total::numeric / nullif(c.timed, 0))::numeric(12, 2) as avg_duration_ms,
    s.min_duration_ms,
    s.max_duration_ms,
    s.p50_duration_ms,
    s.p95_duration_ms,
    s.p99_duration_ms,
    c.retry_total as total_retries,
    (c.retry_total::numeric / nullif(c.tried, 0))::numeric(12, 2) as avg_retries,
    (select max(r.retry_count) from analytics_refresh.retry_counts r where r.cell = c.cell) as max_retries,
    c.last_at as last_execution_at,
    c.first_at as first_execution_at,
    case when isfinite(c.last_at) and isfinite(c.first_at)
        then (extract(epoch from c.last_at - c.first_at) / 3600)::numeric end as hours_active
from analytics_refresh.trigger_cells c
left join analytics_refresh.duration_stats s on s.cell = c.cell
order by c.trigger_id collate "C"

-- name: recent_failures
create materialized view {target}.recent_failures as
select
    r.id::text as id,
    r.job_id::text as job_id,
    r.trigger_id::text as trigger_id,
    r.event_id::text as event_id,
    r.action_type::text as action_type,
    {error_message} as error_message,
    case when r.retry_count between -2147483648 and 2147483647 then r.retry_count::integer end as retry_count,
    r.executed_at::timestamptz as executed_at,
    case when r.duration_ms between -2147483648 and 2147483647 then r.duration_ms::integer end as duration_ms,
    {response_data} as response_data
from {app}.action_results r
where r.status = 'failed' and r.executed_at >= now() - interval '24 hours'
order by r.id collate "C"
with no data;

-- name: action_type_distribution
create materialized view {target}.action_type_distribution as
select
    f.action_type,
    f.total_executions,
    f.success_count,
    f.failure_count,
    f.percentage,
    f.avg_duration_ms::numeric(12, 2) as avg_duration_ms,
    f.total_retries,
    f.last_execution_at
from analytics_refresh.action_type_distribution_rows() f
with no data;

-- name: action_type_distribution_columns
action_type text,
    total_executions bigint,
    success_count bigint,
    failure_count bigint,
    percentage numeric,
    avg_duration_ms numeric,
    total_retries bigint,
    last_execution_at timestamptz

-- name: action_type_distribution_query
select
    w.action_type,
    w.n as total_executions,
    w.succeeded as success_count,
    w.failed as failure_count,
    round(100.0 * w.n / nullif(sum(w.n) over (), 0), 2) as percentage,
    (w.duration_total::numeric / nullif(w.timed, 0))::numeric(12, 2) as avg_duration_ms,
    w.retry_total as total_retries,
    w.last_at as last_execution_at
from analytics_refresh.type_window w
where w.n > 0
order by w.action_type collate "C"
