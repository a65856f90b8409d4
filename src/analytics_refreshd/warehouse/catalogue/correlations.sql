-- narrowed: no; its percentiles are of all actions: the warehouse has no durations of an organization or trigger by hour
select m.measure, m.other_measure, toInt64(countIf(m.x is not null and m.y is not null)) as hours,
       -- sums of equal numbers differ by their rounding: a correlation would be found in that
       if(minIf(m.x, m.y is not null) < maxIf(m.x, m.y is not null)
              and minIf(m.y, m.x is not null) < maxIf(m.y, m.x is not null),
          toDecimal128(toInt64(round(corrStableIf(assumeNotNull(m.y), assumeNotNull(m.x), m.x is not null and m.y is not null)
                                     * 10000)), 4) / 10000, null) as correlation
  from (select v.1 as place, v.2 as measure, v.3 as other_measure, v.4 as x, v.5 as y
          from (select arrayJoin([
                           (1, 'total_executions', 'failure_rate', e.executions, e.failure_rate),
                           (2, 'total_executions', 'p95_duration_ms', e.executions, e.p95),
                           (3, 'total_executions', 'total_retries', e.executions, e.retries),
                           (4, 'failure_rate', 'p95_duration_ms', e.failure_rate, e.p95),
                           (5, 'failure_rate', 'total_retries', e.failure_rate, e.retries),
                           (6, 'p95_duration_ms', 'total_retries', e.p95, e.retries)]) as v
                  from (select if(complete, toNullable(toFloat64(sum(ifNull(h.execution_count, 0)))), null) as executions,
                               if(complete, sum(h.failure_count) / nullIf(sum(h.execution_count), 0), null) as failure_rate,
                               if(complete,
                                  toFloat64(sum(h.p95_duration_ms * h.execution_count))
                                      / nullIf(sumIf(h.execution_count, h.p95_duration_ms is not null), 0), null) as p95,
                               if(complete, toNullable(toFloat64(sum(ifNull(h.total_retries, 0)))), null) as retries,
                               g.hour_at * 1000000 + 3600000000 <= {now:Int64} as complete
                          from {hours} as g
                          left join {hourly} as h on h.hour_at = g.hour_at
                         group by g.hour_at) as e)) as m
 group by m.place, m.measure, m.other_measure
 order by m.place
