-- name: hour_cells
-- Of the busiest types: nobody knows how many an application has. Along the index on hour.
with cells as materialized (
    select h.hour, h.action_type, h.status, h.execution_count, h.failure_count, h.success_count, h.p95_duration_ms
    from {app}.action_metrics_hourly h
    where h.hour >= %(since)s and h.hour < %(until)s and h.action_type is not null
), busiest as (
    select action_type
    from cells
    group by action_type
    order by pg_catalog.sum(execution_count) desc, action_type
    limit %(most)s
)
select c.hour, c.action_type,
    pg_catalog.sum(c.execution_count)::int8 as executions,
    pg_catalog.sum(c.failure_count)::int8 as failures,
    pg_catalog.sum(c.success_count)::int8 as successes,
    (pg_catalog.max(c.p95_duration_ms) filter (where c.status = 'success') / 1000)::float8 as p95_seconds
from cells c
join busiest using (action_type)
group by c.hour, c.action_type;
