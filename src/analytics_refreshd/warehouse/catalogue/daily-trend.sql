-- narrowed: yes
select s.at as day, ifNull(d.executions, 0) as executions, ifNull(d.successes, 0) as successes,
       ifNull(d.failures, 0) as failures, ifNull(d.retrying, 0) as retrying,
       round(toDecimal128(100 * d.successes, 3) / nullIf(d.executions, 0), 2) as success_rate_percent,
       d.average as approx_avg_duration_ms
  from {steps} as s
  left join (select toInt32(toDate32(toDateTime64(h.hour_at, 0, {timezone:String}))) as local_day,
                    sum(h.execution_count) as executions, sum(h.success_count) as successes,
                    sum(h.failure_count) as failures, sum(h.retrying_count) as retrying,
                    round(sum(h.avg_duration_ms * h.execution_count)
                          / nullIf(sumIf(h.execution_count, h.avg_duration_ms is not null), 0), 2) as average
               from {hourly} as h
              group by local_day) as d on d.local_day = s.day
 order by day
