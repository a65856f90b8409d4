-- narrowed: yes
-- rows: database
select t.database as database, t.id as trigger_id, t.name as trigger_name, t.organization_id, t.enabled,
       ifNull(s.total_executions, 0) as executions, s.last_execution_at,
       round(toDecimal128({now:Int64} - coalesce(s.last_execution_at, t.created_at), 3) / 86400000000, 2) as idle_days,
       t.created_at
  from {triggers} as t
  left join {trigger_summary} as s on s.database = t.database and s.trigger_id = t.id
 where coalesce(s.last_execution_at, t.created_at) < {since_us:Int64} and (t.enabled or {include_disabled:Bool})
 order by coalesce(s.last_execution_at, t.created_at), t.id, t.database
 limit {limit:UInt64}
