-- name: most-active
-- section: trigger health
-- endpoint: triggers/most-active
-- purpose: Which triggers ran most in the window? Exact: counted from rows, for the view holds all history.
-- parameter: days integer default 7 min 1 max 90; Days of the window, which ends with the current hour
-- parameter: limit integer default 10 min 1 max 1000; Rows at most
-- window: days in hours
-- organizations: yes
-- horizon: days; last_execution_at
-- column: trigger_id text; The trigger
-- column: trigger_name text; Its name; empty where the trigger is gone
-- column: organization_id text; The organization it belongs to
-- column: executions count; Actions of any status
-- column: successes count; Actions that succeeded
-- column: failures count; Actions that failed
-- column: retrying count; Actions still being retried
-- column: success_rate_percent percent; Successes in all executions, retrying ones included; empty without executions
-- column: last_execution_at timestamp; Last execution of the window
-- column: enabled boolean; Whether it is enabled; empty where the trigger is gone
-- column: avg_duration_ms ms; Average duration
-- column: total_retries count; Retries of these actions
-- column: executions_per_hour number; Executions per hour of the window
-- argument: days default 7 min 1 max 90
-- argument: limit default 10 min 1 max 100
-- cost: 5
-- fields: trigger_id, trigger_name, organization_id, enabled, executions as total_executions,
--   success_rate_percent as success_rate, avg_duration_ms, total_retries, last_execution_at, executions_per_hour
select a.trigger_id, t.name as trigger_name, t.organization_id, a.executions, a.successes, a.failures, a.retrying,
       round(100.0 * a.successes / a.executions, 2) as success_rate_percent, a.last_execution_at, t.enabled,
       a.avg_duration_ms, a.total_retries,
       round(a.executions * 3600 / extract(epoch from %(until)s::timestamptz - %(since)s::timestamptz), 2)
           as executions_per_hour
  from (select u.trigger_id,
               sum(u.executions)::bigint as executions,
               sum(u.successes)::bigint as successes,
               sum(u.failures)::bigint as failures,
               sum(u.retrying)::bigint as retrying,
               max(u.last_execution_at) as last_execution_at,
               round(sum(u.total_duration_ms) / nullif(sum(u.measured), 0), 2) as avg_duration_ms,
               sum(u.total_retries)::bigint as total_retries
          from {usage} as u
         where u.trigger_id is not null
         group by u.trigger_id) as a
  left join {triggers} as t on t.id = a.trigger_id
 order by a.executions desc, a.trigger_id collate "C"
 limit %(limit)s
