-- name: success-rate
-- section: success rate
-- endpoint: actions/success-rate
-- purpose: Which share of the actions of each type succeeds?
-- parameter: days integer default 7 min 1 max 3650; Days of the window, which ends with the current hour
-- window: days in hours
-- organizations: yes
-- horizon: days
-- column: action_type text; Type of the action
-- column: executions count; Actions of any status
-- column: successes count; Actions that succeeded
-- column: failures count; Actions that failed
-- column: retrying count; Actions still being retried
-- column: success_rate_percent percent; Successes in all executions, retrying ones included; empty without executions
-- column: approx_avg_duration_ms ms; Average duration
-- approximated: approx_avg_duration_ms; hourly averages weighted by execution_count. Within 0.01 ms of the exact one
--   where every action has a duration; otherwise an estimate between the lowest and the highest hourly average
select h.action_type,
       coalesce(sum(h.execution_count), 0)::bigint as executions,
       coalesce(sum(h.success_count), 0)::bigint as successes,
       coalesce(sum(h.failure_count), 0)::bigint as failures,
       coalesce(sum(h.retrying_count), 0)::bigint as retrying,
       round(100.0 * sum(h.success_count) / nullif(sum(h.execution_count), 0), 2) as success_rate_percent,
       round(sum(h.avg_duration_ms * h.execution_count)
             / nullif(sum(h.execution_count) filter (where h.avg_duration_ms is not null), 0), 2)
           as approx_avg_duration_ms
  from {hourly} as h
 group by h.action_type
 order by h.action_type collate "C"
