-- narrowed: no; the warehouse keeps the view, which is of all actions
-- fleet: no; the databases' averages are rounded, and cannot be added up
select d.type as action_type, d.total_executions as executions, d.percentage as share_percent,
       d.success_count as successes, d.failure_count as failures,
       round(toDecimal128(100 * d.success_count, 3) / nullIf(d.total_executions, 0), 2) as success_rate_percent,
       d.avg_duration_ms, d.total_retries, d.last_execution_at
  from {distribution} as d
 order by executions desc, action_type
