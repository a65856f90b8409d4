-- narrowed: no; its percentiles are of all actions: the warehouse has no durations of an organization or trigger by hour
select s.hour_at * 1000000 as hour, ifNull(d.executions, 0) as executions,
       if(complete, round(toDecimal128(ifNull(d.executions, 0), 3) / 60, 2), null) as executions_per_minute,
       ifNull(d.retries, 0) as total_retries, ifNull(d.with_retries, 0) as actions_with_retries,
       s.hour_at * 1000000 + 3600000000 <= {now:Int64} as complete,
       ifNull(d.successes, 0) as successes, ifNull(d.failures, 0) as failures,
       round(toDecimal128(100 * d.successes, 3) / nullIf(d.executions, 0), 2) as success_rate_percent,
       d.average as approx_avg_duration_ms, d.p95 as approx_p95_duration_ms,
       if(complete, round(toDecimal128(ifNull(d.executions, 0), 5) / 3600, 4), null) as executions_per_second
  from {hours} as s
  left join (select h.hour_at as hour_at, sum(h.execution_count) as executions, sum(h.total_retries) as retries,
                    sum(h.actions_with_retries) as with_retries, sum(h.success_count) as successes,
                    sum(h.failure_count) as failures,
                    round(sum(h.avg_duration_ms * h.execution_count)
                          / nullIf(sumIf(h.execution_count, h.avg_duration_ms is not null), 0), 2) as average,
                    round(sum(h.p95_duration_ms * h.execution_count)
                          / nullIf(sumIf(h.execution_count, h.p95_duration_ms is not null), 0), 2) as p95
               from {hourly} as h
              group by hour_at) as d on d.hour_at = s.hour_at
 order by hour
