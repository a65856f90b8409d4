-- name: organization-usage
-- section: organizations
-- endpoint: organizations/usage
-- purpose: What did each organization use? For billing: exact, from rows. Without a limit, one row without an
--   organization holds what belongs to none, so the rows add up to everything.
-- parameter: days integer default 30 min 1 max 400; Days of the window; the last is today
-- window: days in days
-- organizations: yes
-- column: organization_id text; The organization; empty for actions that belong to none
-- column: organization_name text; Its name
-- column: plan text; Its plan
-- column: executions count; Actions of any status
-- column: successes count; Actions that succeeded
-- column: failures count; Actions that failed
-- column: retrying count; Actions still being retried
-- column: success_rate_percent percent; Successes in all executions, retrying ones included; empty without executions
-- column: triggers count; Triggers that ran
-- column: total_retries count; Retries of these actions
-- column: total_duration_ms ms; Sum of the durations
select t.organization_id, o.name as organization_name, o.plan,
       sum(a.executions)::bigint as executions,
       sum(a.successes)::bigint as successes,
       sum(a.failures)::bigint as failures,
       sum(a.retrying)::bigint as retrying,
       round(100.0 * sum(a.successes) / sum(a.executions), 2) as success_rate_percent,
       count(a.trigger_id) as triggers,
       sum(a.total_retries)::bigint as total_retries,
       sum(a.total_duration_ms)::bigint as total_duration_ms
  from (select trigger_id,
               count(*) as executions,
               count(*) filter (where status = 'success') as successes,
               count(*) filter (where status = 'failed') as failures,
               count(*) filter (where status = 'retrying') as retrying,
               coalesce(sum(retry_count), 0) as total_retries,
               coalesce(sum(duration_ms), 0) as total_duration_ms
          from {actions} as r
         group by trigger_id) as a
  left join {triggers} as t on t.id = a.trigger_id
  left join {organizations} as o on o.id = t.organization_id
 group by t.organization_id, o.name, o.plan
 order by executions desc, t.organization_id collate "C" nulls last
