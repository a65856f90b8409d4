-- narrowed: yes
-- rows: database
select f.owner as database, f.trigger as trigger_id, t.name as trigger_name, t.organization_id, f.failures,
       round(toDecimal128(100 * f.failures, 3) / f.all_failures, 2) as share_percent, f.messages,
       f.first_at as first_failure_at, f.last_at as last_failure_at,
       round(toDecimal128(f.retries, 3) / f.failures, 2) as avg_retries, f.most as max_retries
  from (select r.owner as owner, r.trigger as trigger, r.failures as failures,
               sum(r.failures) over () as all_failures, r.messages as messages, r.first_at as first_at,
               r.last_at as last_at, r.retries as retries, r.most as most
          from (select x.database as owner, x.trigger_id as trigger, toInt64(count()) as failures,
                       toInt64(uniqExact(nullIf(x.error_message, ''))) as messages, min(x.executed_at) as first_at,
                       max(x.executed_at) as last_at, sum(toInt64(ifNull(x.retry_count, 0))) as retries,
                       max(ifNull(x.retry_count, 0)) as most
                  from {failures} as x
                 group by owner, trigger) as r) as f
  left join {every_trigger} as t on t.database = f.owner and t.id = f.trigger
 order by f.failures desc, f.trigger nulls last, f.owner
 limit {limit:UInt64}
