-- name: trigger-days
-- section: trigger health
-- endpoint: triggers/daily
-- purpose: How do volume and failure rate of the fifty busiest triggers move from day to day?
-- parameter: days integer default 28 min 1 max 90; Days of the window; the last is the current one
-- parameter: limit integer default 1000 min 1 max 100000; Rows at most
-- window: days in days
-- organizations: yes
-- column: day timestamp; Start of the day, 00:00 in UTC or --timezone; without actions a trigger has no row
-- column: trigger_id text; The trigger
-- column: trigger_name text; Its name; empty where the trigger is gone
-- column: organization_id text; The organization it belongs to
-- column: executions count; Actions of any status
-- column: failures count; Actions that failed
-- column: failure_rate_percent percent; Failures in all executions
-- argument: days default 7 min 1 max 28
-- argument: limit default 100 min 1 max 1000
-- order: -day
-- fields: day, trigger_id, trigger_name, organization_id, executions as total_executions, failures,
--   failure_rate_percent as failure_rate
with by_day as materialized (
    select a.trigger_id,
           date_trunc('day', a.executed_at, %(timezone)s::text) as day,
           count(*) as executions,
           count(*) filter (where a.status = 'failed') as failures
      from {actions} as a
     where a.trigger_id is not null
     group by 1, 2
)
select d.day, d.trigger_id, t.name as trigger_name, t.organization_id, d.executions, d.failures,
       round(100.0 * d.failures / d.executions, 2) as failure_rate_percent
  from by_day as d
  join (select trigger_id from by_day group by 1 order by sum(executions) desc, trigger_id collate "C" limit 50)
       as b on b.trigger_id = d.trigger_id
  left join {triggers} as t on t.id = d.trigger_id
 order by d.day desc, d.executions desc, d.trigger_id collate "C"
 limit %(limit)s
