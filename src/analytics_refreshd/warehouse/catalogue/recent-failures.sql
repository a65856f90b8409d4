-- narrowed: yes
-- rows: database
select f.database as database, f.executed_at, f.action_type, f.error_message, f.trigger_id, t.name as trigger_name,
       t.organization_id, f.retry_count, f.duration_ms, f.id, f.job_id, f.event_id{response}
  from {failures} as f
  left join {every_trigger} as t on t.database = f.database and t.id = f.trigger_id
 order by f.executed_at desc, f.id, f.database
 limit {limit:UInt64}
