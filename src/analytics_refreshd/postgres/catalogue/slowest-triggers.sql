-- name: slowest-triggers
-- section: performance
-- endpoint: triggers/slowest
-- purpose: Which triggers are slowest, over all their executions?
-- parameter: limit integer default 10 min 1 max 1000; Rows at most
-- parameter: min-executions integer default 1 min 1 max 1000000000; Leave out triggers with fewer executions
-- parameter: metric text default p95_duration_ms among avg_duration_ms, p95_duration_ms, max_duration_ms; The figure
--   by which they are compared
-- organizations: yes
-- column: trigger_id text; The trigger
-- column: trigger_name text; Its name; empty where the trigger is gone
-- column: organization_id text; The organization it belongs to
-- column: executions count; Executions over all history
-- column: p50_duration_ms ms; Median duration
-- column: p95_duration_ms ms; 95th percentile
-- column: p99_duration_ms ms; 99th percentile
-- column: avg_duration_ms ms; Average duration
-- column: max_duration_ms ms; Longest duration
-- column: last_execution_at timestamp; Last execution
-- column: success_rate_percent percent; Successes in all executions over all history
-- column: total_retries count; Retries over all history
-- argument: limit default 10 min 1 max 100
-- argument: metric default p95_duration_ms
-- fields: trigger_id, trigger_name, organization_id, executions as total_executions,
--   success_rate_percent as success_rate, avg_duration_ms, p95_duration_ms, max_duration_ms, total_retries,
--   last_execution_at
select s.trigger_id, t.name as trigger_name, t.organization_id, s.total_executions as executions, s.p50_duration_ms,
       s.p95_duration_ms, s.p99_duration_ms, s.avg_duration_ms, s.max_duration_ms, s.last_execution_at,
       s.success_rate as success_rate_percent, s.total_retries
  from {trigger_summary} as s
  left join {triggers} as t on t.id = s.trigger_id
 where s.total_executions >= %(min_executions)s and s.p95_duration_ms is not null
 order by case %(metric)s when 'avg_duration_ms' then s.avg_duration_ms when 'max_duration_ms' then s.max_duration_ms
               else s.p95_duration_ms end desc, s.trigger_id collate "C"
 limit %(limit)s
