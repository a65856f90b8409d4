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
    -- before PostgreSQL 17 an infinite time has no difference: one such row would stop the view for ever
    case when isfinite(max(r.executed_at)) and isfinite(min(r.executed_at))
        then (extract(epoch from max(r.executed_at) - min(r.executed_at)) / 3600)::numeric end as hours_active
from {app}.action_results r
where r.trigger_id is not null
group by 1
with no data;
