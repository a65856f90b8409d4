-- narrowed: yes
-- rows: database
select d.owner as database, s.at as day, d.trigger as trigger_id, t.name as trigger_name, t.organization_id,
       d.executions as executions, d.failures, round(toDecimal128(100 * d.failures, 3) / d.executions, 2) as failure_rate_percent
  from (select u.database as owner, assumeNotNull(u.trigger_id) as trigger,
               toInt32(toDate32(toDateTime64(u.hour_at, 0, {timezone:String}))) as local_day,
               sum(u.executions) as executions, sumIf(u.executions, u.status = 'failed') as failures
          from {trigger_hours} as u
         where u.trigger_id is not null
         group by owner, trigger, local_day
        having executions > 0) as d
  join (select u.database as owner, assumeNotNull(u.trigger_id) as trigger, sum(u.executions) as executions
          from {trigger_hours} as u
         where u.trigger_id is not null
         group by owner, trigger
        having executions > 0
         order by executions desc, trigger, owner
         limit 50) as b on b.owner = d.owner and b.trigger = d.trigger
  join {steps} as s on s.day = d.local_day
  left join {every_trigger} as t on t.database = d.owner and t.id = d.trigger
 order by day desc, d.executions desc, d.trigger, d.owner
 limit {limit:UInt64}
