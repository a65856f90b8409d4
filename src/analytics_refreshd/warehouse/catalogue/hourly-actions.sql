-- narrowed: no; its percentiles are of all actions: the warehouse has no durations of an organization or trigger by hour
select s.hour_at * 1000000 as hour, ifNull(d.executions, 0) as executions, ifNull(d.successes, 0) as successes,
       ifNull(d.failures, 0) as failures, ifNull(d.retrying, 0) as retrying,
       round(toDecimal128(100 * d.successes, 3) / nullIf(d.executions, 0), 2) as success_rate_percent,
       d.average as approx_avg_duration_ms, d.p95 as approx_p95_duration_ms
  from {hours} as s
  left join (select h.hour_at as hour_at, sum(h.execution_count) as executions, sum(h.success_count) as successes,
                    sum(h.failure_count) as failures, sum(h.retrying_count) as retrying,
                    round(sum(h.avg_duration_ms * h.execution_count)
                          / nullIf(sumIf(h.execution_count, h.avg_duration_ms is not null), 0), 2) as average,
                    round(sum(h.p95_duration_ms * h.execution_count)
                          / nullIf(sumIf(h.execution_count, h.p95_duration_ms is not null), 0), 2) as p95
               from {hourly} as h
              group by hour_at) as d on d.hour_at = s.hour_at
 order by hour
