-- narrowed: yes
select r.type as action_type, r.executions, r.successes, r.failures, r.retrying, r.success_rate as success_rate_percent,
       r.average as approx_avg_duration_ms, r.failure_rate as failure_rate_percent, r.retries as total_retries,
       multiIf(r.success_rate < coalesce(o.success_critical_percent, e.success_critical_percent), 'CRITICAL',
               r.success_rate < coalesce(o.success_warning_percent, e.success_warning_percent), 'WARNING', 'OK')
           as health_status
  from (select h.action_type as type, sum(h.execution_count) as executions, sum(h.success_count) as successes,
               sum(h.failure_count) as failures, sum(h.retrying_count) as retrying,
               round(toDecimal128(100 * successes, 3) / nullIf(executions, 0), 2) as success_rate,
               round(sum(h.avg_duration_ms * h.execution_count)
                     / nullIf(sumIf(h.execution_count, h.avg_duration_ms is not null), 0), 2) as average,
               round(toDecimal128(100 * failures, 3) / nullIf(executions, 0), 2) as failure_rate,
               sum(h.total_retries) as retries
          from {hourly} as h
         group by type) as r
  left join (select * from {thresholds} as t where t.action_type is not null) as o on o.action_type = r.type
 cross join (select * from {thresholds} as t where t.organization_id is null and t.action_type is null) as e
 order by action_type
