-- name: hourly-actions
-- section: success rate
-- endpoint: actions/hourly
-- purpose: How do executions and the success rate move from hour to hour? Hours without actions are shown.
-- parameter: hours integer default 24 min 1 max 2160; Hours of the window; the last is the current one
-- window: hours in hours
-- organizations: yes
-- column: hour timestamp; Start of the hour, UTC
-- column: executions count; Actions of any status
-- column: successes count; Actions that succeeded
-- column: failures count; Actions that failed
-- column: retrying count; Actions still being retried
-- column: success_rate_percent percent; Successes in all executions, retrying ones included; empty without executions
-- column: approx_avg_duration_ms ms; Average duration
-- approximated: approx_avg_duration_ms; hourly averages weighted by execution_count. Within 0.01 ms of the exact one
--   where every action has a duration; otherwise an estimate between the lowest and the highest hourly average
-- column: approx_p95_duration_ms ms; 95th percentile; the query latency has the exact one by action type
-- approximated: approx_p95_duration_ms; hourly 95th percentiles weighted by execution_count. The exact one lies
--   between the shortest and the longest duration
-- argument: hours default 24 min 1 max 168
-- argument: limit default 168 min 1 max 168
-- order: -hour
-- fields: hour, executions as total_executions, successes, failures, success_rate_percent as success_rate,
--   approx_avg_duration_ms as avg_duration_ms, approx_p95_duration_ms as p95_duration_ms
select s.hour,
       coalesce(d.executions, 0) as executions,
       coalesce(d.successes, 0) as successes,
       coalesce(d.failures, 0) as failures,
       coalesce(d.retrying, 0) as retrying,
       d.success_rate_percent,
       d.approx_avg_duration_ms,
       d.approx_p95_duration_ms
  from generate_series(%(since)s::timestamptz, %(until)s::timestamptz - interval '1 hour', interval '1 hour')
       as s (hour)
  left join (select h.hour as hour,
                    sum(h.execution_count)::bigint as executions,
                    sum(h.success_count)::bigint as successes,
                    sum(h.failure_count)::bigint as failures,
                    sum(h.retrying_count)::bigint as retrying,
                    round(100.0 * sum(h.success_count) / nullif(sum(h.execution_count), 0), 2)
                        as success_rate_percent,
                    round(sum(h.avg_duration_ms * h.execution_count)
                          / nullif(sum(h.execution_count) filter (where h.avg_duration_ms is not null), 0), 2)
                        as approx_avg_duration_ms,
                    round(sum(h.p95_duration_ms * h.execution_count)
                          / nullif(sum(h.execution_count) filter (where h.p95_duration_ms is not null), 0), 2)
                        as approx_p95_duration_ms
               from {hourly} as h
              group by 1) as d on d.hour = s.hour
 order by s.hour
