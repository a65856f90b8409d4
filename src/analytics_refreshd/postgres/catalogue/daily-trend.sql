-- name: daily-trend
-- section: success rate
-- endpoint: actions/daily
-- purpose: How do executions and the success rate move from day to day? Days without actions are shown.
-- parameter: days integer default 30 min 1 max 3650; Days of the window; the last is today
-- window: days in days
-- organizations: yes
-- horizon: days
-- column: day timestamp; Start of the day, in UTC or --timezone
-- column: executions count; Actions of any status
-- column: successes count; Actions that succeeded
-- column: failures count; Actions that failed
-- column: retrying count; Actions still being retried
-- column: success_rate_percent percent; Successes in all executions, retrying ones included; empty without executions
-- column: approx_avg_duration_ms ms; Average duration
-- approximated: approx_avg_duration_ms; hourly averages weighted by execution_count. Within 0.01 ms of the exact one
--   where every action has a duration; otherwise an estimate between the lowest and the highest hourly average
-- argument: days default 30 min 1 max 365
-- argument: limit default 365 min 1 max 365
-- fields: day, executions as total_executions, successes, failures, success_rate_percent as success_rate,
--   approx_avg_duration_ms as avg_duration_ms
select s.day,
       coalesce(d.executions, 0) as executions,
       coalesce(d.successes, 0) as successes,
       coalesce(d.failures, 0) as failures,
       coalesce(d.retrying, 0) as retrying,
       d.success_rate_percent,
       d.approx_avg_duration_ms
  from (select g.local_day at time zone %(timezone)s::text as day
          from generate_series(date_trunc('day', %(since)s::timestamptz at time zone %(timezone)s::text),
                               (%(until)s::timestamptz at time zone %(timezone)s::text) - interval '24 hours',
                               interval '24 hours') as g (local_day)) as s
  left join (select date_trunc('day', h.hour, %(timezone)s::text) as day,
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
