-- narrowed: yes
-- rows: database
select u.owner as database, u.organization as organization_id, o.name as organization_name, o.plan, u.executions,
       u.successes, u.failures, u.retrying,
       round(toDecimal128(100 * u.successes, 3) / u.executions, 2) as success_rate_percent, u.triggers,
       u.retries as total_retries, u.total_ms as total_duration_ms,
       round(toDecimal128(u.total_ms, 3) / nullIf(u.measured, 0), 2) as avg_duration_ms
  from (select x.database as owner, x.organization_id as organization, sum(x.executions) as executions,
               sum(x.successes) as successes, sum(x.failures) as failures, sum(x.retrying) as retrying,
               toInt64(uniqExact(x.trigger_id)) as triggers, sum(x.total_retries) as retries,
               sum(x.total_duration_ms) as total_ms, sum(x.measured) as measured
          from {usage} as x
         group by owner, organization) as u
  left join {organizations} as o on o.database = u.owner and o.id = u.organization
 order by u.executions desc, u.organization nulls last, u.owner
