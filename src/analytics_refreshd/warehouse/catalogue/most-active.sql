-- narrowed: yes
-- rows: database
-- ends: now; when a trigger ran last is known of all types together, and of a window that ends now
select a.owner as database, a.trigger as trigger_id, t.name as trigger_name, t.organization_id, a.executions, a.successes,
       a.failures, a.retrying, round(toDecimal128(100 * a.successes, 3) / a.executions, 2) as success_rate_percent,
       if(t.last_at >= {since_us:Int64} and t.last_at < {until_us:Int64}, t.last_at, null) as last_execution_at, t.enabled,
       round(toDecimal128(a.total_ms, 3) / nullIf(a.measured, 0), 2) as avg_duration_ms, a.retries as total_retries,
       round(toDecimal128(a.executions * 3600, 3) / ({until:Int64} - {since:Int64}), 2) as executions_per_hour
  from (select u.database as owner, assumeNotNull(u.trigger_id) as trigger, sum(u.executions) as executions,
               sum(u.successes) as successes, sum(u.failures) as failures, sum(u.retrying) as retrying,
               sum(u.total_duration_ms) as total_ms, sum(u.measured) as measured, sum(u.total_retries) as retries
          from {usage} as u
         where u.trigger_id is not null
         group by owner, trigger) as a
  left join {every_trigger} as t on t.database = a.owner and t.id = a.trigger
 order by a.executions desc, a.trigger, a.owner
 limit {limit:UInt64}
