-- narrowed: yes
-- rows: database
select s.database as database, s.trigger_id, t.name as trigger_name, t.organization_id, s.total_executions as executions,
       s.p50_duration_ms, s.p95_duration_ms, s.p99_duration_ms, s.avg_duration_ms, s.max_duration_ms,
       s.last_execution_at, s.success_rate as success_rate_percent, s.total_retries
  from {trigger_summary} as s
  left join {every_trigger} as t on t.database = s.database and t.id = s.trigger_id
 where s.total_executions >= {min_executions:Int64} and s.p95_duration_ms is not null
 order by multiIf({metric:String} = 'avg_duration_ms', s.avg_duration_ms,
                  {metric:String} = 'max_duration_ms', toDecimal128(s.max_duration_ms, 3), s.p95_duration_ms) desc,
          s.trigger_id, s.database
 limit {limit:UInt64}
