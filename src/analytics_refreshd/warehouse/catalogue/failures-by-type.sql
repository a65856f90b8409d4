-- narrowed: yes
select r.type as action_type, r.failures,
       round(toDecimal128(100 * r.failures, 3) / sum(r.failures) over (), 2) as share_percent,
       r.triggers, round(toDecimal128(r.retries, 3) / r.failures, 2) as avg_retries, r.last_at as last_failure_at
  from (select f.action_type as type, toInt64(count()) as failures,
               toInt64(uniqExactIf((f.database, f.trigger_id), f.trigger_id is not null)) as triggers,
               sum(toInt64(ifNull(f.retry_count, 0))) as retries, max(f.executed_at) as last_at
          from {failures} as f
         group by type) as r
 order by failures desc, action_type
