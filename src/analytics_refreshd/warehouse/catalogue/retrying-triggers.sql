-- narrowed: yes
-- rows: database
select s.database as database, s.trigger_id, t.name as trigger_name, t.organization_id, s.total_executions as executions,
       s.avg_retries, s.max_retries, s.total_retries, s.success_rate as success_rate_percent, s.last_execution_at,
       t.enabled, round(toDecimal128(s.total_retries, 3) / nullIf(s.total_executions, 0), 2) as retry_ratio
  from {trigger_summary} as s
  left join {every_trigger} as t on t.database = s.database and t.id = s.trigger_id
 where s.avg_retries > {above:Decimal(38, 9)} and s.total_executions >= {min_executions:Int64}
 order by s.avg_retries desc, s.total_retries desc, s.trigger_id, s.database
 limit {limit:UInt64}
