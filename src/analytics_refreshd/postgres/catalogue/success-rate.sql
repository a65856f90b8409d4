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
-- column: failure_rate_percent percent; Failures in all executions; empty without executions
-- column: total_retries count; Retries of these actions
-- column: health_status text; CRITICAL below 50 %, WARNING below 80 % or what [thresholds] says of the type, else OK
-- argument: days default 7 min 1 max 90
-- argument: limit default 100 min 1 max 100
-- fields: action_type, executions as total_executions, successes, failures, success_rate_percent as success_rate,
--   approx_avg_duration_ms as avg_duration_ms, retrying, failure_rate_percent as failure_rate, total_retries,
--   health_status
select r.*,
       case when r.success_rate_percent < coalesce(o.success_critical_percent, e.success_critical_percent) then 'CRITICAL'
            when r.success_rate_percent < coalesce(o.success_warning_percent, e.success_warning_percent) then 'WARNING'
            else 'OK' end as health_status
  from (select h.action_type,
               coalesce(sum(h.execution_count), 0)::bigint as executions,
               coalesce(sum(h.success_count), 0)::bigint as successes,
               coalesce(sum(h.failure_count), 0)::bigint as failures,
               coalesce(sum(h.retrying_count), 0)::bigint as retrying,
               round(100.0 * sum(h.success_count) / nullif(sum(h.execution_count), 0), 2) as success_rate_percent,
               round(sum(h.avg_duration_ms * h.execution_count)
                     / nullif(sum(h.execution_count) filter (where h.avg_duration_ms is not null), 0), 2)
                   as approx_avg_duration_ms,
               round(100.0 * sum(h.failure_count) / nullif(sum(h.execution_count), 0), 2) as failure_rate_percent,
               coalesce(sum(h.total_retries), 0)::bigint as total_retries
          from {hourly} as h
         group by h.action_type) as r
  left join {thresholds} as o on o.action_type = r.action_type
  join {thresholds} as e on e.organization_id is null and e.action_type is null
 order by r.action_type collate "C"
