-- narrowed: yes
select toInt64(intDiv(s.number, 24) + 1) as weekday, toInt64(s.number % 24) as hour_of_day,
       ifNull(d.hours, 0) as hours, ifNull(d.executions, 0) as executions, ifNull(d.failures, 0) as failures,
       round(toDecimal128(100 * d.failures, 3) / nullIf(d.executions, 0), 2) as failure_rate_percent
  from numbers(168) as s
  left join (select toUInt64((toDayOfWeek(toDateTime64(g.hour_at, 0, {timezone:String})) - 1) * 24
                             + toHour(toDateTime64(g.hour_at, 0, {timezone:String}))) as place,
                    toInt64(uniqExact(g.hour_at)) as hours, sum(ifNull(h.execution_count, 0)) as executions,
                    sum(ifNull(h.failure_count, 0)) as failures
               from {hours} as g
               left join {hourly} as h on h.hour_at = g.hour_at
              group by place) as d on d.place = s.number
 order by weekday, hour_of_day
