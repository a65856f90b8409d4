-- name: organization-usage
-- section: organizations
-- endpoint: organizations/usage
-- purpose: What did each organization use? For billing: exact, from rows and frozen days. Without a limit, one row
--   without an organization holds what belongs to none, so the rows add up to everything.
-- parameter: days integer default 30 min 1 max 400; Days of the window; the last is today
-- window: days in days
-- organizations: yes
-- horizon: days
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
-- column: avg_duration_ms ms; Average duration
-- argument: days default 30 min 1 max 90
-- argument: limit default 20 min 1 max 100
-- cost: 10
-- fields: organization_id, organization_name, triggers as active_triggers, executions as total_executions, successes,
--   success_rate_percent as success_rate, avg_duration_ms, total_retries
select u.organization_id, o.name as organization_name, o.plan,
       sum(u.executions)::bigint as executions,
       sum(u.successes)::bigint as successes,
       sum(u.failures)::bigint as failures,
       sum(u.retrying)::bigint as retrying,
       round(100.0 * sum(u.successes) / sum(u.executions), 2) as success_rate_percent,
       count(distinct u.trigger_id) as triggers,
       sum(u.total_retries)::bigint as total_retries,
       sum(u.total_duration_ms)::bigint as total_duration_ms,
       round(sum(u.total_duration_ms) / nullif(sum(u.measured), 0), 2) as avg_duration_ms
  from {usage} as u
  left join {organizations} as o on o.id = u.organization_id
 group by u.organization_id, o.name, o.plan
 order by executions desc, u.organization_id collate "C" nulls last
