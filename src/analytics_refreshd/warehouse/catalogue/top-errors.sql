-- narrowed: yes
select r.message as error_message, r.failures,
       round(toDecimal128(100 * r.failures, 3) / sum(r.failures) over (), 2) as share_percent,
       r.triggers, r.first_at as first_failure_at, r.last_at as last_failure_at,
       round(toDecimal128(r.retries, 3) / r.failures, 2) as avg_retries, r.types as action_types
  from (select nullIf(f.error_message, '') as message, toInt64(count()) as failures,
               toInt64(uniqExactIf((f.database, f.trigger_id), f.trigger_id is not null)) as triggers,
               min(f.executed_at) as first_at, max(f.executed_at) as last_at,
               sum(toInt64(ifNull(f.retry_count, 0))) as retries,
               arraySort(groupUniqArray(toString(f.action_type))) as types
          from {failures} as f
         group by message) as r
 order by failures desc, r.message nulls last
 limit {limit:UInt64}
