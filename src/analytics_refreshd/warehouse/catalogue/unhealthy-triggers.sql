-- narrowed: yes
-- rows: database
select s.database as database, s.trigger_id, t.name as trigger_name, t.organization_id as organization_id,
       if(s.success_rate < coalesce({critical_percent:Array(Nullable(Decimal(38, 9)))}[1], o.success_critical_percent,
                                    e.success_critical_percent), 'critical', 'warning') as severity,
       s.success_rate as success_rate_percent, s.total_executions as executions, s.success_count as successes,
       s.failure_count as failures, s.retrying_count as retrying, s.last_execution_at, t.enabled, s.total_retries,
       multiIf(s.success_rate < coalesce(o.success_critical_percent, e.success_critical_percent), 'CRITICAL',
               s.success_rate < coalesce(o.success_warning_percent, e.success_warning_percent), 'WARNING', 'OK')
           as health_status
  from {trigger_summary} as s
  left join {every_trigger} as t on t.database = s.database and t.id = s.trigger_id
  left join (select * from {thresholds} as h where h.organization_id is not null) as o
         on o.organization_id = t.organization_id
 cross join (select * from {thresholds} as h where h.organization_id is null and h.action_type is null) as e
 where s.success_rate < coalesce({below_percent:Array(Nullable(Decimal(38, 9)))}[1], o.success_warning_percent, e.success_warning_percent)
   and s.total_executions >= {min_executions:Int64}
 order by s.success_rate, s.total_executions desc, s.trigger_id, s.database
 limit {limit:UInt64}
