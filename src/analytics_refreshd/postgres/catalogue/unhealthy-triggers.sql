-- name: unhealthy-triggers
-- section: trigger health
-- endpoint: triggers/low-success-rate
-- purpose: Which triggers succeed too rarely? By what [thresholds] says, unless it is asked otherwise.
-- parameter: below-percent number default 80 min 0 max 101; A success rate below this is unhealthy
-- parameter: critical-percent number default 50 min 0 max 101; Critical below this
-- parameter: min-executions integer default 1 min 1 max 1000000000; Leave out triggers with fewer executions
-- parameter: limit integer default 1000 min 1 max 100000; Rows at most
-- organizations: yes
-- thresholds: below-percent, critical-percent
-- column: trigger_id text; The trigger
-- column: trigger_name text; Its name; empty where the trigger is gone
-- column: organization_id text; The organization it belongs to
-- column: severity text; critical or warning
-- column: success_rate_percent percent; Successes in all executions over all history
-- column: executions count; Actions of any status
-- column: successes count; Actions that succeeded
-- column: failures count; Actions that failed
-- column: retrying count; Actions still being retried
-- column: last_execution_at timestamp; Last execution
-- column: enabled boolean; Whether it is enabled; empty where the trigger is gone
-- column: total_retries count; Retries over all history
-- column: health_status text; CRITICAL or WARNING by the thresholds of its organization, else OK
-- also: triggers/health
-- summary: trigger-health
-- argument: threshold of below-percent default 80 min 0 max 100
-- argument: limit default 20 min 1 max 100
-- fields: trigger_id, trigger_name, organization_id, enabled, executions as total_executions,
--   successes as success_count, failures as failure_count, success_rate_percent as success_rate, total_retries,
--   last_execution_at, health_status
select s.trigger_id, t.name as trigger_name, t.organization_id,
       case when s.success_rate
                 < coalesce(%(critical_percent)s::numeric, o.success_critical_percent, e.success_critical_percent)
            then 'critical' else 'warning' end as severity,
       s.success_rate as success_rate_percent, s.total_executions as executions, s.success_count as successes,
       s.failure_count as failures, s.retrying_count as retrying, s.last_execution_at,
       t.enabled, s.total_retries,
       case when s.success_rate < coalesce(o.success_critical_percent, e.success_critical_percent) then 'CRITICAL'
            when s.success_rate < coalesce(o.success_warning_percent, e.success_warning_percent) then 'WARNING'
            else 'OK' end as health_status
  from {trigger_summary} as s
  left join {triggers} as t on t.id = s.trigger_id
  left join {thresholds} as o on o.organization_id = t.organization_id
  join {thresholds} as e on e.organization_id is null and e.action_type is null
 where s.success_rate < coalesce(%(below_percent)s::numeric, o.success_warning_percent, e.success_warning_percent)
   and s.total_executions >= %(min_executions)s
 order by s.success_rate, s.total_executions desc, s.trigger_id collate "C"
 limit %(limit)s
