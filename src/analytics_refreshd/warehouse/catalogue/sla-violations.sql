-- narrowed: yes
-- rows: database
select s.database as database, s.trigger_id, t.name as trigger_name, t.organization_id as organization_id,
       if(s.p95_duration_ms > coalesce({critical_ms:Array(Nullable(Decimal(38, 9)))}[1], o.latency_critical_ms, e.latency_critical_ms),
          'critical', 'warning') as severity,
       s.total_executions as executions, s.p95_duration_ms,
       s.p95_duration_ms - coalesce({above_ms:Array(Nullable(Decimal(38, 9)))}[1], o.latency_warning_ms, e.latency_warning_ms)
           as over_ms,
       s.last_execution_at, t.enabled, s.success_rate as success_rate_percent,
       multiIf(s.p95_duration_ms > coalesce(o.latency_critical_ms, e.latency_critical_ms), 'CRITICAL',
               s.p95_duration_ms > coalesce(o.latency_warning_ms, e.latency_warning_ms), 'WARNING', 'OK') as sla_status
  from {trigger_summary} as s
  left join {every_trigger} as t on t.database = s.database and t.id = s.trigger_id
  left join (select * from {thresholds} as h where h.organization_id is not null) as o
         on o.organization_id = t.organization_id
 cross join (select * from {thresholds} as h where h.organization_id is null and h.action_type is null) as e
 where s.p95_duration_ms > coalesce({above_ms:Array(Nullable(Decimal(38, 9)))}[1], o.latency_warning_ms, e.latency_warning_ms)
 order by s.p95_duration_ms desc, s.trigger_id, s.database
 limit {limit:UInt64}
