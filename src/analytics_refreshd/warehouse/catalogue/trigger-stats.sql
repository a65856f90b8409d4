-- narrowed: yes
-- rows: database
select t.database as database, t.id as trigger_id, t.name as trigger_name, t.organization_id, t.enabled,
       ifNull(s.total_executions, 0) as total_executions, ifNull(s.success_count, 0) as success_count,
       ifNull(s.failure_count, 0) as failure_count, ifNull(s.retrying_count, 0) as retrying_count, s.success_rate,
       s.avg_duration_ms, s.min_duration_ms, s.max_duration_ms, s.p50_duration_ms, s.p95_duration_ms, s.p99_duration_ms,
       ifNull(s.total_retries, 0) as total_retries, s.avg_retries, s.max_retries, s.last_execution_at,
       s.first_execution_at,
       round(toDecimal128(s.last_execution_at - s.first_execution_at, 3) / 3600000000, 2) as hours_active
  from (select * from {every_trigger} as e where e.id = {trigger_id:String}) as t
  left join {trigger_summary} as s on s.database = t.database and s.trigger_id = t.id
 where t.present or s.total_executions > 0
 order by t.database
