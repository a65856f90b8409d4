-- name: retrying-triggers
-- section: trigger health
-- endpoint: triggers/high-retries
-- purpose: Which triggers need many retries?
-- parameter: above number default 0.5 min 0 max 1000000; Retries per execution above which a trigger is shown
-- parameter: min-executions integer default 1 min 1 max 1000000000; Leave out triggers with fewer executions
-- parameter: limit integer default 1000 min 1 max 100000; Rows at most
-- organizations: yes
-- column: trigger_id text; The trigger
-- column: trigger_name text; Its name; empty where the trigger is gone
-- column: organization_id text; The organization it belongs to
-- column: executions count; Executions over all history
-- column: avg_retries number; Retries per execution
-- column: max_retries count; Most retries of one action
-- column: total_retries count; Retries over all history
-- column: success_rate_percent percent; Successes in all executions over all history
-- column: last_execution_at timestamp; Last execution
-- column: enabled boolean; Whether it is enabled; empty where the trigger is gone
-- column: retry_ratio number; Retries in all executions, those without a count included
-- argument: threshold of above default 0.5 min 0 max 1000000
-- argument: limit default 20 min 1 max 100
-- fields: trigger_id, trigger_name, organization_id, enabled, executions as total_executions, avg_retries,
--   max_retries, retry_ratio, success_rate_percent as success_rate
select s.trigger_id, t.name as trigger_name, t.organization_id, s.total_executions as executions, s.avg_retries,
       s.max_retries, s.total_retries, s.success_rate as success_rate_percent, s.last_execution_at, t.enabled,
       round(s.total_retries::numeric / nullif(s.total_executions, 0), 2) as retry_ratio
  from {trigger_summary} as s
  left join {triggers} as t on t.id = s.trigger_id
 where s.avg_retries > %(above)s and s.total_executions >= %(min_executions)s
 order by s.avg_retries desc, s.total_retries desc, s.trigger_id collate "C"
 limit %(limit)s
