-- narrowed: yes
select s.number as hour_of_day, ifNull(d.executions, 0) as executions,
       round(toDecimal128(ifNull(d.executions, 0) * 86400, 3) / ({until:Int64} - {since:Int64}), 2) as executions_per_day,
       round(toDecimal128(100 * ifNull(d.executions, 0), 3) / nullIf(sum(d.executions) over (), 0), 2) as share_percent,
       round(toDecimal128(100 * d.successes, 3) / nullIf(d.executions, 0), 2) as success_rate_percent,
       ifNull(d.hours, 0) as hours,
       round(toDecimal128(d.executions, 3) / d.hours, 2) as executions_per_hour,
       d.most as most_executions, d.fewest as fewest_executions
  from (select toInt64(number) as number from numbers(24)) as s
  left join (select toInt64(toHour(toDateTime64(e.hour_at, 0, {timezone:String}))) as hour_of_day, toInt64(count()) as hours,
                    sum(e.count) as executions, sum(e.success) as successes, max(e.count) as most, min(e.count) as fewest
               from (select g.hour_at as hour_at, sum(ifNull(h.execution_count, 0)) as count,
                            sum(ifNull(h.success_count, 0)) as success
                       from {hours} as g
                       left join {hourly} as h on h.hour_at = g.hour_at
                      group by hour_at) as e
              group by hour_of_day) as d on d.hour_of_day = s.number
 order by executions desc, hour_of_day
