-- name: idle-triggers
-- section: trigger health
-- endpoint: triggers/idle
-- purpose: Which triggers have not run for a while? One younger than the window that never ran is not idle yet.
-- parameter: days integer default 7 min 1 max 3650; Idle is: no execution for this many days
-- parameter: include-disabled boolean default false; Show disabled triggers too
-- parameter: limit integer default 1000 min 1 max 100000; Rows at most
-- window: days exactly
-- organizations: yes
-- column: trigger_id text; The trigger
-- column: trigger_name text; Its name
-- column: organization_id text; The organization it belongs to
-- column: enabled boolean; Whether it is enabled
-- column: executions count; Executions over all history
-- column: last_execution_at timestamp; Last execution; empty where it never ran
-- column: idle_days days; Days since then, or since it was created; empty where that is -infinity
-- column: created_at timestamp; When it was made
-- argument: days default 7 min 1 max 90
-- argument: limit default 20 min 1 max 100
-- fields: trigger_id, trigger_name, organization_id, enabled, created_at, last_execution_at, idle_days as days_idle
select t.id as trigger_id, t.name as trigger_name, t.organization_id, t.enabled,
       coalesce(s.total_executions, 0) as executions, s.last_execution_at,
       case when isfinite(coalesce(s.last_execution_at, t.created_at))
           then round(extract(epoch from %(now)s::timestamptz - coalesce(s.last_execution_at, t.created_at)) / 86400, 2)
       end as idle_days, t.created_at
  from {triggers} as t
  left join {trigger_summary} as s on s.trigger_id = t.id
 where coalesce(s.last_execution_at, t.created_at) < %(since)s::timestamptz
   and (t.enabled or %(include_disabled)s)
 order by coalesce(s.last_execution_at, t.created_at), t.id collate "C"
 limit %(limit)s
