-- narrowed: no; its percentiles are of all actions: the warehouse has no durations of an organization or trigger by hour
select d.type as action_type, d.executions, d.measured, d.least as min_duration_ms, d.p50 as p50_duration_ms,
       d.p95 as p95_duration_ms, d.p99 as p99_duration_ms, d.most as max_duration_ms, d.average as avg_duration_ms,
       multiIf(d.p95 > coalesce(o.latency_critical_ms, e.latency_critical_ms), 'CRITICAL',
               d.p95 > coalesce(o.latency_warning_ms, e.latency_warning_ms), 'WARNING',
               d.measured > 0, 'OK', null) as sla_status
  from (select c.type as type, c.executions as executions, c.measured as measured, p.least as least, p.most as most,
               round(toDecimal128(c.total_ms, 3) / nullIf(c.measured, 0), 2) as average,
               p.p50 as p50, p.p95 as p95, p.p99 as p99
          from (select t.action_type as type, sum(t.n) as executions, sum(t.timed) as measured,
                       sum(t.duration_total) as total_ms
                  from {target}.hour_totals as t
                 where {cells} and t.hour_at >= {since:Int64} and t.hour_at < {until:Int64} {type}
                 group by type
                having executions <> 0) as c
          left join (select h.type as type, min(h.milliseconds) as least, max(h.milliseconds) as most,
                            quantilesExactWeightedInterpolated(0.5, 0.95, 0.99)(h.milliseconds, toUInt64(h.executions))
                                as percentiles,
                            toDecimal128(toInt64(round(percentiles[1] * 100)), 3) / 100 as p50,
                            toDecimal128(toInt64(round(percentiles[2] * 100)), 3) / 100 as p95,
                            toDecimal128(toInt64(round(percentiles[3] * 100)), 3) / 100 as p99
                       from {durations} as h
                      group by type) as p on p.type = c.type) as d
  left join (select * from {thresholds} as t where t.action_type is not null) as o on o.action_type = d.type
 cross join (select * from {thresholds} as t where t.organization_id is null and t.action_type is null) as e
 order by action_type
