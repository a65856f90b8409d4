-- narrowed: yes
select w.at as week, w.executions, w.previous as previous_executions,
       if(w.complete, round(toDecimal128(100 * (w.executions - w.previous), 3) / nullIf(w.previous, 0), 2), null)
           as growth_percent,
       round(toDecimal128(100 * w.successes, 3) / nullIf(w.executions, 0), 2) as success_rate_percent,
       w.complete as complete, w.successes, w.average as approx_avg_duration_ms
  from (select s.at as at, s.ends_at <= {now:Int64} as complete, ifNull(d.executions, 0) as executions,
               lagInFrame(toNullable(ifNull(d.executions, 0))) over (
                   order by s.at rows between unbounded preceding and unbounded following) as previous,
               ifNull(d.successes, 0) as successes, d.average as average
          from {steps} as s
          left join (select h.monday as monday, sum(h.execution_count) as executions, sum(h.success_count) as successes,
                            round(sum(h.avg_duration_ms * h.execution_count)
                                  / nullIf(sumIf(h.execution_count, h.avg_duration_ms is not null), 0), 2) as average
                       from (select toInt32(toDate32(toDateTime64(c.hour_at, 0, {timezone:String}))) as local_day,
                                    -- 1970 began with a Thursday
                                    toInt32(local_day - positiveModulo(local_day + 3, 7)) as monday,
                                    c.execution_count, c.success_count, c.avg_duration_ms
                               from {hourly} as c) as h
                      group by monday) as d on d.monday = s.day) as w
 where w.at > {since_us:Int64}
 order by week
