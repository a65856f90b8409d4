-- narrowed: no; its percentiles are of all actions: the warehouse has no durations of an organization or trigger by hour
select ifNull(sum(h.execution_count), 0) as executions, ifNull(sum(h.success_count), 0) as successes,
       ifNull(sum(h.failure_count), 0) as failures, ifNull(sum(h.retrying_count), 0) as retrying,
       round(toDecimal128(100 * successes, 3) / nullIf(executions, 0), 2) as success_rate_percent,
       round(sum(h.avg_duration_ms * h.execution_count)
             / nullIf(sumIf(h.execution_count, h.avg_duration_ms is not null), 0), 2) as approx_avg_duration_ms,
       round(sum(h.p95_duration_ms * h.execution_count)
             / nullIf(sumIf(h.execution_count, h.p95_duration_ms is not null), 0), 2) as approx_p95_duration_ms,
       min(h.min_duration_ms) as min_duration_ms, max(h.max_duration_ms) as max_duration_ms,
       ifNull(sum(h.total_retries), 0) as total_retries,
       (select toInt64(count())
          from {every_trigger} as t
          join (select t.database as owner, t.trigger_id as trigger, sum(t.n) as executions
                  from {target}.trigger_totals as t
                 where {cells}
                 group by owner, trigger
                having executions > 0) as c on c.owner = t.database and c.trigger = t.id
         where t.last_at >= {since_us:Int64} and t.last_at < {until_us:Int64}) as active_triggers,
       round(sum(h.p99_duration_ms * h.execution_count)
             / nullIf(sumIf(h.execution_count, h.p99_duration_ms is not null), 0), 2) as approx_p99_duration_ms,
       toInt64(uniqExact(h.hour_at)) as hours_with_data,
       multiIf(executions = 0, null,
               toDecimal128(100 * successes, 9) >= toDecimal128({healthy_percent:Decimal(38, 9)}, 9) * executions, 'healthy',
               toDecimal128(100 * successes, 9) >= toDecimal128({degraded_percent:Decimal(38, 9)}, 9) * executions, 'degraded',
               'unhealthy') as status,
       concat(toString({hours:Int64}), ' hours') as time_window
  from {hourly} as h
