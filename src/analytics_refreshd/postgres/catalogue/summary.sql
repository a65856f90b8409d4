-- name: summary
-- section: system health
-- endpoint: health/summary
-- purpose: How is the system doing? One row.
-- parameter: hours integer default 24 min 1 max 2160; Hours of the window; the last is the current one
-- window: hours in hours
-- organizations: yes
-- horizon: days; approx_p95_duration_ms, min_duration_ms, max_duration_ms, approx_p99_duration_ms, hours_with_data
-- column: executions count; Actions of any status
-- column: successes count; Actions that succeeded
-- column: failures count; Actions that failed
-- column: retrying count; Actions still being retried
-- column: success_rate_percent percent; Successes in all executions, retrying ones included; empty without executions
-- column: approx_avg_duration_ms ms; Average duration
-- approximated: approx_avg_duration_ms; hourly averages weighted by execution_count. Within 0.01 ms of the exact one
--   where every action has a duration; otherwise an estimate between the lowest and the highest hourly average
-- column: approx_p95_duration_ms ms; 95th percentile; the query latency has the exact one by action type
-- column: min_duration_ms ms; Shortest
-- column: max_duration_ms ms; Longest
-- column: total_retries count; Retries of these actions
-- column: active_triggers count; Triggers whose last execution is in the window
-- approximated: approx_p95_duration_ms; hourly 95th percentiles weighted by execution_count. The exact one lies
--   between min_duration_ms and max_duration_ms
-- column: approx_p99_duration_ms ms; 99th percentile; the query latency has the exact one by action type
-- approximated: approx_p99_duration_ms; hourly 99th percentiles weighted by execution_count. The exact one lies
--   between min_duration_ms and max_duration_ms
-- column: hours_with_data count; Hours of the window in which something ran
-- column: status text; healthy from 95 % success, degraded from 90 %, or what [thresholds] says, else unhealthy;
--   empty without executions
-- column: time_window text; The length of the window
-- answer: object
-- fields: time_window, executions as total_executions, successes as total_successes, failures as total_failures,
--   success_rate_percent as success_rate, approx_avg_duration_ms as avg_duration_ms,
--   approx_p95_duration_ms as p95_duration_ms, approx_p99_duration_ms as p99_duration_ms, total_retries,
--   hours_with_data, status
select
       coalesce(sum(h.execution_count), 0)::bigint as executions,
       coalesce(sum(h.success_count), 0)::bigint as successes,
       coalesce(sum(h.failure_count), 0)::bigint as failures,
       coalesce(sum(h.retrying_count), 0)::bigint as retrying,
       round(100.0 * sum(h.success_count) / nullif(sum(h.execution_count), 0), 2) as success_rate_percent,
       round(sum(h.avg_duration_ms * h.execution_count)
             / nullif(sum(h.execution_count) filter (where h.avg_duration_ms is not null), 0), 2)
           as approx_avg_duration_ms,
       -- frozen days have durations, but neither percentiles nor bounds: those of a part would pass for the whole
       case when bool_and(h.p95_duration_ms is not null or h.avg_duration_ms is null)
            then round(sum(h.p95_duration_ms * h.execution_count)
                       / nullif(sum(h.execution_count) filter (where h.p95_duration_ms is not null), 0), 2) end
           as approx_p95_duration_ms,
       case when bool_and(h.min_duration_ms is not null or h.avg_duration_ms is null)
            then min(h.min_duration_ms) end as min_duration_ms,
       case when bool_and(h.max_duration_ms is not null or h.avg_duration_ms is null)
            then max(h.max_duration_ms) end as max_duration_ms,
       coalesce(sum(h.total_retries), 0)::bigint as total_retries,
       (select count(*)
          from {trigger_summary} as s
         where s.last_execution_at >= %(since)s::timestamptz and s.last_execution_at < %(until)s::timestamptz)
           as active_triggers,
       case when bool_and(h.p99_duration_ms is not null or h.avg_duration_ms is null)
            then round(sum(h.p99_duration_ms * h.execution_count)
                       / nullif(sum(h.execution_count) filter (where h.p99_duration_ms is not null), 0), 2) end
           as approx_p99_duration_ms,
       count(distinct h.hour) as hours_with_data,
       case when 100.0 * sum(h.success_count) / nullif(sum(h.execution_count), 0) >= %(healthy_percent)s::numeric
            then 'healthy'
            when 100.0 * sum(h.success_count) / nullif(sum(h.execution_count), 0) >= %(degraded_percent)s::numeric
            then 'degraded'
            when sum(h.execution_count) > 0 then 'unhealthy' end as status,
       concat(%(hours)s::integer, ' hours') as time_window
  from {hourly} as h
