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
select a.trigger_id, t.name as trigger_name, t.organization_id, a.executions, a.successes, a.failures, a.retrying,
       round(100.0 * a.successes / a.executions, 2) as success_rate_percent, a.last_execution_at
  from (select u.trigger_id,
               sum(u.executions)::bigint as executions,
               sum(u.successes)::bigint as successes,
               sum(u.failures)::bigint as failures,
               sum(u.retrying)::bigint as retrying,
               max(u.last_execution_at) as last_execution_at
          from {usage} as u
         where u.trigger_id is not null
         group by u.trigger_id) as a
  left join {triggers} as t on t.id = a.trigger_id
 order by a.executions desc, a.trigger_id collate "C"
 limit %(limit)s
