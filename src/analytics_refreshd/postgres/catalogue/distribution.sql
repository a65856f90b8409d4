-- name: distribution
-- section: capacity
-- endpoint: actions/distribution
-- purpose: How do actions divide among the types? The last 30 days come from the view, other times from rows
--   and frozen days.
-- parameter: days integer default 30 min 1 max 365; Days up to now
-- window: days exactly
-- organizations: yes
-- horizon: days; last_execution_at
-- column: action_type text; Type of the action
-- column: executions count; Actions of any status
-- column: share_percent percent; Share of all actions
-- column: successes count; Actions that succeeded
-- column: failures count; Actions that failed
-- column: success_rate_percent percent; Successes in all executions, retrying ones included
-- column: avg_duration_ms ms; Average duration
-- column: total_retries count; Retries of these actions
-- column: last_execution_at timestamp; Last execution
-- argument: days default 30 min 1 max 365
-- argument: limit default 100 min 1 max 100
-- cost: 2
-- fields: action_type, executions as total_executions, successes as success_count, failures as failure_count,
--   share_percent as percentage, success_rate_percent as success_rate, avg_duration_ms, total_retries,
--   last_execution_at
select d.action_type, d.total_executions as executions, d.percentage as share_percent, d.success_count as successes,
       d.failure_count as failures,
       round(100.0 * d.success_count / nullif(d.total_executions, 0), 2) as success_rate_percent,
       d.avg_duration_ms, d.total_retries, d.last_execution_at
  from {distribution} as d
 order by d.total_executions desc, d.action_type collate "C"
