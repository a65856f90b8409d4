-- name: distribution
-- section: capacity
-- endpoint: actions/distribution
-- purpose: How do the actions of the last 30 days divide among the types?
-- organizations: yes
-- column: action_type text; Type of the action
-- column: executions count; Actions of any status in the last 30 days
-- column: share_percent percent; Share of all actions
-- column: successes count; Actions that succeeded
-- column: failures count; Actions that failed
-- column: success_rate_percent percent; Successes in all executions, retrying ones included
-- column: avg_duration_ms ms; Average duration
-- column: total_retries count; Retries of these actions
-- column: last_execution_at timestamp; Last execution
select d.action_type, d.total_executions as executions, d.percentage as share_percent, d.success_count as successes,
       d.failure_count as failures,
       round(100.0 * d.success_count / nullif(d.total_executions, 0), 2) as success_rate_percent,
       d.avg_duration_ms, d.total_retries, d.last_execution_at
  from {distribution} as d
 order by d.total_executions desc, d.action_type collate "C"
