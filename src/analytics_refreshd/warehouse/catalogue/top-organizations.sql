-- narrowed: yes
-- rows: database
select u.owner as database, u.organization as organization_id, o.name as organization_name, o.plan, u.triggers,
       u.executions, u.successes, u.failures, u.retrying,
       round(toDecimal128(100 * u.successes, 3) / nullIf(u.executions, 0), 2) as success_rate_percent,
       u.average as approx_avg_duration_ms, u.retries as total_retries, u.last_at as last_execution_at
  from (select s.database as owner, assumeNotNull(t.organization_id) as organization, toInt64(count()) as triggers,
               sum(s.total_executions) as executions, sum(s.success_count) as successes,
               sum(s.failure_count) as failures, sum(s.retrying_count) as retrying,
               round(sum(s.avg_duration_ms * s.total_executions)
                     / nullIf(sumIf(s.total_executions, s.avg_duration_ms is not null), 0), 2) as average,
               sum(s.total_retries) as retries, max(s.last_execution_at) as last_at
          from {trigger_summary} as s
          join {triggers} as t on t.database = s.database and t.id = s.trigger_id
         where t.organization_id is not null
         group by owner, organization) as u
  left join {organizations} as o on o.database = u.owner and o.id = u.organization
 order by u.executions desc, u.organization, u.owner
 limit {limit:UInt64}
