-- name: failures-by-type
-- section: failures
-- endpoint: failures/by-action-type
-- purpose: Which types of action fail?
-- parameter: hours integer default 24 min 1 max 745; Hours up to now; over 24 are read from rows
-- window: hours exactly
-- organizations: yes
-- column: action_type text; Type of the action
-- column: failures count; Failed actions
-- column: share_percent percent; Share of all failures of the window
-- column: triggers count; Triggers among them
-- column: avg_retries number; Retries per failed action
-- column: last_failure_at timestamp; Last failure
-- argument: hours default 24 min 1 max 168
-- argument: limit default 100 min 1 max 100
-- cost: 2
-- fields: action_type, failures as failure_count, triggers as affected_triggers, avg_retries as avg_retry_count,
--   last_failure_at
select f.action_type,
       count(*) as failures,
       round(100.0 * count(*) / sum(count(*)) over (), 2) as share_percent,
       count(distinct f.trigger_id) as triggers,
       round(avg(coalesce(f.retry_count, 0)), 2) as avg_retries,
       max(f.executed_at) as last_failure_at
  from {failures} as f
 group by f.action_type
 order by failures desc, f.action_type collate "C"
