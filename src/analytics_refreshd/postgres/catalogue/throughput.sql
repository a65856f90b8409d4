-- name: throughput
-- section: capacity
-- endpoint: throughput/hourly
-- purpose: How many actions run per hour, and how many retries do they cost? Hours without actions are shown.
-- parameter: hours integer default 24 min 1 max 2160; Hours of the window; the last is the current one
-- window: hours in hours
-- organizations: yes
-- column: hour timestamp; Start of the hour, UTC
-- column: executions count; Actions of any status
-- column: executions_per_minute number; The same per minute; empty while the hour is not over
-- column: total_retries count; Retries of these actions
-- column: actions_with_retries count; Actions that were retried
-- column: complete boolean; Whether the hour is over
-- column: successes count; Actions that succeeded
-- column: failures count; Actions that failed
-- column: success_rate_percent percent; Successes in all executions, retrying ones included; empty without executions
-- column: approx_avg_duration_ms ms; Average duration
-- approximated: approx_avg_duration_ms; hourly averages weighted by execution_count. Within 0.01 ms of the exact one
--   where every action has a duration; otherwise an estimate between the lowest and the highest hourly average
-- column: approx_p95_duration_ms ms; 95th percentile; the query latency has the exact one by action type
-- approximated: approx_p95_duration_ms; hourly 95th percentiles weighted by execution_count. The exact one lies
--   between the shortest and the longest duration
-- column: executions_per_second number; Executions per second; empty while the hour is not over
-- argument: hours default 24 min 1 max 168
-- argument: limit default 168 min 1 max 168
-- fields: hour, executions as total_executions, successes, failures, success_rate_percent as success_rate,
--   approx_avg_duration_ms as avg_duration_ms, executions_per_second, approx_p95_duration_ms as p95_duration_ms
select s.hour,
       coalesce(d.executions, 0) as executions,
       case when s.hour + interval '1 hour' <= %(now)s::timestamptz
            then round(coalesce(d.executions, 0) / 60.0, 2) end as executions_per_minute,
       coalesce(d.total_retries, 0) as total_retries,
       coalesce(d.actions_with_retries, 0) as actions_with_retries,
       s.hour + interval '1 hour' <= %(now)s::timestamptz as complete,
       coalesce(d.successes, 0) as successes,
       coalesce(d.failures, 0) as failures,
       d.success_rate_percent,
       d.approx_avg_duration_ms,
       d.approx_p95_duration_ms,
       case when s.hour + interval '1 hour' <= %(now)s::timestamptz
            then round(coalesce(d.executions, 0) / 3600.0, 4) end as executions_per_second
  from generate_series(%(since)s::timestamptz, %(until)s::timestamptz - interval '1 hour', interval '1 hour')
       as s (hour)
  left join (select h.hour,
                    sum(h.execution_count)::bigint as executions,
                    sum(h.total_retries)::bigint as total_retries,
                    sum(h.actions_with_retries)::bigint as actions_with_retries,
                    sum(h.success_count)::bigint as successes,
                    sum(h.failure_count)::bigint as failures,
                    round(100.0 * sum(h.success_count) / nullif(sum(h.execution_count), 0), 2)
                        as success_rate_percent,
                    round(sum(h.avg_duration_ms * h.execution_count)
                          / nullif(sum(h.execution_count) filter (where h.avg_duration_ms is not null), 0), 2)
                        as approx_avg_duration_ms,
                    round(sum(h.p95_duration_ms * h.execution_count)
                          / nullif(sum(h.execution_count) filter (where h.p95_duration_ms is not null), 0), 2)
                        as approx_p95_duration_ms
               from {hourly} as h
              group by h.hour) as d on d.hour = s.hour
 order by s.hour
