-- name: sla-violations
-- section: performance
-- endpoint: triggers/sla-violations
-- purpose: Which triggers exceed the agreed 95th percentile? Agreed is what [thresholds] says, unless it is asked otherwise.
-- parameter: above-ms integer default 5000 min 0 max 2147483647; A violation is a p95 above this many milliseconds
-- parameter: critical-ms integer default 10000 min 0 max 2147483647; Critical above this many milliseconds
-- parameter: limit integer default 1000 min 1 max 100000; Rows at most
-- organizations: yes
-- thresholds: above-ms, critical-ms
-- column: trigger_id text; The trigger
-- column: trigger_name text; Its name; empty where the trigger is gone
-- column: organization_id text; The organization it belongs to
-- column: severity text; critical or warning
-- column: executions count; Executions over all history
-- column: p95_duration_ms ms; 95th percentile over all history
-- column: over_ms ms; By how much it exceeds above-ms
-- column: last_execution_at timestamp; Last execution
-- column: enabled boolean; Whether it is enabled; empty where the trigger is gone
-- column: success_rate_percent percent; Successes in all executions over all history
-- column: sla_status text; CRITICAL or WARNING by the thresholds of its organization, else OK
-- argument: threshold_ms of above-ms default 5000 min 0 max 2147483647
-- argument: limit default 20 min 1 max 100
-- fields: trigger_id, trigger_name, organization_id, enabled, executions as total_executions, p95_duration_ms,
--   success_rate_percent as success_rate, sla_status
select s.trigger_id, t.name as trigger_name, t.organization_id,
       case when s.p95_duration_ms > coalesce(%(critical_ms)s::numeric, o.latency_critical_ms, e.latency_critical_ms)
            then 'critical' else 'warning' end as severity,
       s.total_executions as executions, s.p95_duration_ms,
       s.p95_duration_ms - coalesce(%(above_ms)s::numeric, o.latency_warning_ms, e.latency_warning_ms) as over_ms,
       s.last_execution_at, t.enabled, s.success_rate as success_rate_percent,
       case when s.p95_duration_ms > coalesce(o.latency_critical_ms, e.latency_critical_ms) then 'CRITICAL'
            when s.p95_duration_ms > coalesce(o.latency_warning_ms, e.latency_warning_ms) then 'WARNING'
            else 'OK' end as sla_status
  from {trigger_summary} as s
  left join {triggers} as t on t.id = s.trigger_id
  left join {thresholds} as o on o.organization_id = t.organization_id
  join {thresholds} as e on e.organization_id is null and e.action_type is null
 where s.p95_duration_ms > coalesce(%(above_ms)s::numeric, o.latency_warning_ms, e.latency_warning_ms)
 order by s.p95_duration_ms desc, s.trigger_id collate "C"
 limit %(limit)s
