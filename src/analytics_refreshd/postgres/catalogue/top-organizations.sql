-- name: top-organizations
-- section: organizations
-- endpoint: organizations/top
-- purpose: Which organizations use most, over all history? Actions that belong to none are left out.
-- parameter: limit integer default 10 min 1 max 1000; Rows at most
-- organizations: yes
-- column: organization_id text; The organization
-- column: organization_name text; Its name
-- column: plan text; Its plan
-- column: triggers count; Triggers that ever ran
-- column: executions count; Actions of any status
-- column: successes count; Actions that succeeded
-- column: failures count; Actions that failed
-- column: retrying count; Actions still being retried
-- column: success_rate_percent percent; Successes in all executions, retrying ones included; empty without executions
-- column: approx_avg_duration_ms ms; Average duration
-- column: total_retries count; Retries of these actions
-- column: last_execution_at timestamp; Last execution
-- approximated: approx_avg_duration_ms; averages of the triggers weighted by total_executions. Within 0.01 ms of
--   the exact one where every action has a duration; otherwise an estimate between the lowest and the highest
--   average of a trigger
-- argument: limit default 10 min 1 max 100
-- fields: organization_id, organization_name, plan, triggers as trigger_count, executions as total_executions,
--   success_rate_percent as success_rate
select t.organization_id, o.name as organization_name, o.plan,
       count(*) as triggers,
       sum(s.total_executions)::bigint as executions,
       sum(s.success_count)::bigint as successes,
       sum(s.failure_count)::bigint as failures,
       sum(s.retrying_count)::bigint as retrying,
       round(100.0 * sum(s.success_count) / nullif(sum(s.total_executions), 0), 2) as success_rate_percent,
       round(sum(s.avg_duration_ms * s.total_executions)
             / nullif(sum(s.total_executions) filter (where s.avg_duration_ms is not null), 0), 2)
           as approx_avg_duration_ms,
       sum(s.total_retries)::bigint as total_retries,
       max(s.last_execution_at) as last_execution_at
  from {trigger_summary} as s
  join {triggers} as t on t.id = s.trigger_id
  left join {organizations} as o on o.id = t.organization_id
 where t.organization_id is not null
 group by t.organization_id, o.name, o.plan
 order by executions desc, t.organization_id collate "C"
 limit %(limit)s
