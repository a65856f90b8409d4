-- name: daily-trend
-- section: success rate
-- endpoint: actions/daily
-- purpose: How do executions and the success rate move from day to day? Days without actions are shown.
-- parameter: days integer default 30 min 1 max 3650; UTC days of the window; the last is today
-- window: days in days
-- organizations: yes
-- column: day timestamp; Start of the day, UTC
-- column: executions count; Actions of any status
-- column: successes count; Actions that succeeded
-- column: failures count; Actions that failed
-- column: retrying count; Actions still being retried
-- column: success_rate_percent percent; Successes in all executions, retrying ones included; empty without executions
-- column: approx_avg_duration_ms ms; Average duration
-- approximated: approx_avg_duration_ms; hourly averages weighted by execution_count. Within 0.01 ms of the exact one
--   where every action has a duration; otherwise an estimate between the lowest and the highest hourly average
select s.day,
       coalesce(d.executions, 0) as executions,
       coalesce(d.successes, 0) as successes,
       coalesce(d.failures, 0) as failures,
       coalesce(d.retrying, 0) as retrying,
       d.success_rate_percent,
       d.approx_avg_duration_ms
  from generate_series(%(since)s::timestamptz, %(until)s::timestamptz - interval '24 hours', interval '24 hours')
       as s (day)
  left join (select date_trunc('day', h.hour, 'UTC') as day,
                    sum(h.execution_count)::bigint as executions,
                    sum(h.success_count)::bigint as successes,
                    sum(h.failure_count)::bigint as failures,
                    sum(h.retrying_count)::bigint as retrying,
                    round(100.0 * sum(h.success_count) / nullif(sum(h.execution_count), 0), 2)
                        as success_rate_percent,
                    round(sum(h.avg_duration_ms * h.execution_count)
                          / nullif(sum(h.execution_count) filter (where h.avg_duration_ms is not null), 0), 2)
                        as approx_avg_duration_ms
               from {hourly} as h
              group by 1) as d on d.day = s.day
 order by s.day
