-- What `{name}` in a query's FROM stands for: first without a limit, then limited to %(organizations)s.
-- Both forms have the same columns, so a query is written once, and a limit cannot be forgotten in one of them.
-- Windows are part of the relation: %(since)s inclusive, %(until)s exclusive. Where days are frozen with their
-- organizations, a form is asked since the horizon, and `NAME frozen` adds what is older: whole days, those whose noon is
-- in the window. `{days}` is then `frozen days`, or in the API's schema `frozen days walled`, limited as the form is. `NAME rows`
-- stands for a view where a time is asked for that the view does not hold; `{source}` is then the relation `actions`.
-- `monthly` has months of %(timezone)s. `prices` are those of the configuration, and one without a type is that of every other
-- type; `thresholds` have a row by organization, by action type, and one of neither for all others.

-- name: actions
(select id, job_id, trigger_id, event_id, action_type, status, executed_at, duration_ms, retry_count
   from {app}.action_results
  where executed_at >= %(since)s::timestamptz and executed_at < %(until)s::timestamptz)

-- name: actions limited
(select a.id, a.job_id, a.trigger_id, a.event_id, a.action_type, a.status, a.executed_at, a.duration_ms, a.retry_count
   from {app}.action_results as a
   join {app}.triggers as t on t.id = a.trigger_id
  where t.organization_id = any (%(organizations)s::text[])
    and a.executed_at >= %(since)s::timestamptz and a.executed_at < %(until)s::timestamptz)

-- name: hourly
(select *
   from {app}.action_metrics_hourly
  where hour >= %(since)s::timestamptz and hour < %(until)s::timestamptz)

-- name: hourly limited
(select date_trunc('hour', a.executed_at, 'UTC') as hour,
        a.action_type,
        a.status,
        count(*) as execution_count,
        avg(a.duration_ms)::numeric(12, 2) as avg_duration_ms,
        min(a.duration_ms) as min_duration_ms,
        max(a.duration_ms) as max_duration_ms,
        percentile_cont(0.50) within group (order by a.duration_ms)::numeric(12, 2) as p50_duration_ms,
        percentile_cont(0.95) within group (order by a.duration_ms)::numeric(12, 2) as p95_duration_ms,
        percentile_cont(0.99) within group (order by a.duration_ms)::numeric(12, 2) as p99_duration_ms,
        count(*) filter (where a.status = 'success') as success_count,
        count(*) filter (where a.status = 'failed') as failure_count,
        count(*) filter (where a.status = 'retrying') as retrying_count,
        coalesce(sum(a.retry_count), 0)::bigint as total_retries,
        count(*) filter (where a.retry_count > 0) as actions_with_retries
   from {app}.action_results as a
   join {app}.triggers as t on t.id = a.trigger_id
  where t.organization_id = any (%(organizations)s::text[])
    and a.executed_at >= %(since)s::timestamptz and a.executed_at < %(until)s::timestamptz
  group by 1, 2, 3)

-- name: hourly frozen
(select (d.day + time '12:00') at time zone 'UTC',
        d.action_type,
        d.status,
        sum(d.n)::bigint,
        (sum(d.duration_total) / nullif(sum(d.timed), 0))::numeric(12, 2),
        null, null, null, null, null,
        coalesce(sum(d.n) filter (where d.status = 'success'), 0)::bigint,
        coalesce(sum(d.n) filter (where d.status = 'failed'), 0)::bigint,
        coalesce(sum(d.n) filter (where d.status = 'retrying'), 0)::bigint,
        sum(d.retry_total)::bigint,
        sum(d.retried)::bigint
   from {days} as d
  group by d.day, d.action_type, d.status)

-- name: usage
(select a.trigger_id, t.organization_id, a.executions, a.successes, a.failures, a.retrying, a.total_retries,
        a.total_duration_ms, a.measured, a.last_execution_at
   from (select r.trigger_id,
                count(*) as executions,
                count(*) filter (where r.status = 'success') as successes,
                count(*) filter (where r.status = 'failed') as failures,
                count(*) filter (where r.status = 'retrying') as retrying,
                coalesce(sum(r.retry_count), 0) as total_retries,
                coalesce(sum(r.duration_ms), 0) as total_duration_ms,
                count(r.duration_ms) as measured,
                max(r.executed_at) as last_execution_at
           from {app}.action_results as r
          where r.executed_at >= %(since)s::timestamptz and r.executed_at < %(until)s::timestamptz
          group by r.trigger_id) as a
   left join {app}.triggers as t on t.id = a.trigger_id)

-- name: usage limited
(select a.trigger_id, t.organization_id,
        count(*) as executions,
        count(*) filter (where a.status = 'success') as successes,
        count(*) filter (where a.status = 'failed') as failures,
        count(*) filter (where a.status = 'retrying') as retrying,
        coalesce(sum(a.retry_count), 0) as total_retries,
        coalesce(sum(a.duration_ms), 0) as total_duration_ms,
        count(a.duration_ms) as measured,
        max(a.executed_at) as last_execution_at
   from {app}.action_results as a
   join {app}.triggers as t on t.id = a.trigger_id
  where t.organization_id = any (%(organizations)s::text[])
    and a.executed_at >= %(since)s::timestamptz and a.executed_at < %(until)s::timestamptz
  group by a.trigger_id, t.organization_id)

-- name: usage frozen
(select d.trigger_id, d.organization_id,
        sum(d.n)::bigint,
        coalesce(sum(d.n) filter (where d.status = 'success'), 0)::bigint,
        coalesce(sum(d.n) filter (where d.status = 'failed'), 0)::bigint,
        coalesce(sum(d.n) filter (where d.status = 'retrying'), 0)::bigint,
        sum(d.retry_total)::bigint,
        sum(d.duration_total)::bigint,
        sum(d.timed)::bigint,
        null
   from {days} as d
  group by d.trigger_id, d.organization_id)

-- name: monthly
(select a.month, a.trigger_id, t.organization_id, a.action_type, a.executions, a.total_retries, a.total_duration_ms
   from (select date_trunc('month', r.executed_at at time zone %(timezone)s::text) as month,
                r.trigger_id,
                r.action_type,
                count(*) as executions,
                coalesce(sum(r.retry_count), 0) as total_retries,
                coalesce(sum(r.duration_ms), 0) as total_duration_ms
           from {app}.action_results as r
          where r.executed_at >= %(since)s::timestamptz and r.executed_at < %(until)s::timestamptz
          group by 1, 2, 3) as a
   left join {app}.triggers as t on t.id = a.trigger_id)

-- name: monthly limited
(select date_trunc('month', a.executed_at at time zone %(timezone)s::text) as month,
        a.trigger_id,
        t.organization_id,
        a.action_type,
        count(*) as executions,
        coalesce(sum(a.retry_count), 0) as total_retries,
        coalesce(sum(a.duration_ms), 0) as total_duration_ms
   from {app}.action_results as a
   join {app}.triggers as t on t.id = a.trigger_id
  where t.organization_id = any (%(organizations)s::text[])
    and a.executed_at >= %(since)s::timestamptz and a.executed_at < %(until)s::timestamptz
  group by 1, 2, 3, 4)

-- name: monthly frozen
(select date_trunc('month', (d.day + time '12:00') at time zone 'UTC' at time zone %(timezone)s::text),
        d.trigger_id, d.organization_id, d.action_type, sum(d.n)::bigint, sum(d.retry_total)::bigint,
        sum(d.duration_total)::bigint
   from {days} as d
  group by 1, 2, 3, 4)

-- name: prices
(select p.action_type, p.per_execution, p.per_retry, p.per_second
   from unnest(%(price_types)s::text[], %(prices_per_execution)s::numeric[], %(prices_per_retry)s::numeric[],
               %(prices_per_second)s::numeric[]) as p (action_type, per_execution, per_retry, per_second))

-- name: prices limited
(select p.action_type, p.per_execution, p.per_retry, p.per_second
   from unnest(%(price_types)s::text[], %(prices_per_execution)s::numeric[], %(prices_per_retry)s::numeric[],
               %(prices_per_second)s::numeric[]) as p (action_type, per_execution, per_retry, per_second))

-- name: thresholds
(select h.organization_id, h.action_type, h.success_warning_percent, h.success_critical_percent, h.latency_warning_ms,
        h.latency_critical_ms
   from unnest(%(threshold_organizations)s::text[], %(threshold_types)s::text[],
               %(thresholds_success_warning_percent)s::numeric[], %(thresholds_success_critical_percent)s::numeric[],
               %(thresholds_latency_warning_ms)s::numeric[], %(thresholds_latency_critical_ms)s::numeric[])
        as h (organization_id, action_type, success_warning_percent, success_critical_percent, latency_warning_ms,
              latency_critical_ms))

-- name: thresholds limited
(select h.organization_id, h.action_type, h.success_warning_percent, h.success_critical_percent, h.latency_warning_ms,
        h.latency_critical_ms
   from unnest(%(threshold_organizations)s::text[], %(threshold_types)s::text[],
               %(thresholds_success_warning_percent)s::numeric[], %(thresholds_success_critical_percent)s::numeric[],
               %(thresholds_latency_warning_ms)s::numeric[], %(thresholds_latency_critical_ms)s::numeric[])
        as h (organization_id, action_type, success_warning_percent, success_critical_percent, latency_warning_ms,
              latency_critical_ms))

-- name: trigger_summary
(select * from {app}.trigger_performance_summary)

-- name: trigger_summary limited
(select s.*
   from {app}.trigger_performance_summary as s
   join {app}.triggers as t on t.id = s.trigger_id
  where t.organization_id = any (%(organizations)s::text[]))

-- name: failures
(select id, job_id, trigger_id, event_id, action_type, error_message, retry_count, executed_at, duration_ms,
        response_data
   from {app}.recent_failures
  where executed_at >= %(since)s::timestamptz and executed_at < %(until)s::timestamptz)

-- name: failures limited
(select f.id, f.job_id, f.trigger_id, f.event_id, f.action_type, f.error_message, f.retry_count, f.executed_at,
        f.duration_ms, f.response_data
   from {app}.recent_failures as f
   join {app}.triggers as t on t.id = f.trigger_id
  where t.organization_id = any (%(organizations)s::text[])
    and f.executed_at >= %(since)s::timestamptz and f.executed_at < %(until)s::timestamptz)

-- name: distribution
(select * from {app}.action_type_distribution)

-- name: distribution limited
(select a.action_type,
        count(*) as total_executions,
        count(*) filter (where a.status = 'success') as success_count,
        count(*) filter (where a.status = 'failed') as failure_count,
        round(100.0 * count(*) / nullif(sum(count(*)) over (), 0), 2) as percentage,
        avg(a.duration_ms)::numeric(12, 2) as avg_duration_ms,
        coalesce(sum(a.retry_count), 0)::bigint as total_retries,
        max(a.executed_at) as last_execution_at
   from {app}.action_results as a
   join {app}.triggers as t on t.id = a.trigger_id
  where t.organization_id = any (%(organizations)s::text[])
    and a.executed_at >= %(now)s::timestamptz - interval '720 hours'
  group by a.action_type)

-- name: distribution rows
(select a.action_type,
        count(*) as total_executions,
        count(*) filter (where a.status = 'success') as success_count,
        count(*) filter (where a.status = 'failed') as failure_count,
        round(100.0 * count(*) / nullif(sum(count(*)) over (), 0), 2) as percentage,
        avg(a.duration_ms)::numeric(12, 2) as avg_duration_ms,
        coalesce(sum(a.retry_count), 0)::bigint as total_retries,
        max(a.executed_at) as last_execution_at
   from {source} as a
  group by a.action_type)

-- name: distribution frozen
(select p.action_type,
        sum(p.executions)::bigint as total_executions,
        sum(p.successes)::bigint as success_count,
        sum(p.failures)::bigint as failure_count,
        round(100.0 * sum(p.executions) / nullif(sum(sum(p.executions)) over (), 0), 2) as percentage,
        (sum(p.duration_total) / nullif(sum(p.timed), 0))::numeric(12, 2) as avg_duration_ms,
        sum(p.retry_total)::bigint as total_retries,
        max(p.last_at) as last_execution_at
   from (select a.action_type,
                count(*) as executions,
                count(*) filter (where a.status = 'success') as successes,
                count(*) filter (where a.status = 'failed') as failures,
                sum(a.duration_ms)::numeric as duration_total,
                count(a.duration_ms) as timed,
                coalesce(sum(a.retry_count), 0) as retry_total,
                max(a.executed_at) as last_at
           from {source} as a
          group by a.action_type
         union all
         select d.action_type,
                sum(d.n),
                coalesce(sum(d.n) filter (where d.status = 'success'), 0),
                coalesce(sum(d.n) filter (where d.status = 'failed'), 0),
                sum(d.duration_total),
                sum(d.timed),
                sum(d.retry_total),
                null
           from {days} as d
          group by d.action_type) as p
  group by p.action_type)

-- name: failures rows
(select id, job_id, trigger_id, event_id, action_type, error_message, retry_count, executed_at, duration_ms,
        response_data
   from {app}.action_results
  where status = 'failed'
    and executed_at >= %(since)s::timestamptz and executed_at < %(until)s::timestamptz)

-- name: failures rows limited
(select a.id, a.job_id, a.trigger_id, a.event_id, a.action_type, a.error_message, a.retry_count, a.executed_at,
        a.duration_ms, a.response_data
   from {app}.action_results as a
   join {app}.triggers as t on t.id = a.trigger_id
  where t.organization_id = any (%(organizations)s::text[]) and a.status = 'failed'
    and a.executed_at >= %(since)s::timestamptz and a.executed_at < %(until)s::timestamptz)

-- name: triggers
(select id, organization_id, name, enabled, created_at from {app}.triggers)

-- name: triggers limited
(select id, organization_id, name, enabled, created_at
   from {app}.triggers
  where organization_id = any (%(organizations)s::text[]))

-- name: organizations
(select id, name, slug, plan from {app}.organizations)

-- name: organizations limited
(select id, name, slug, plan from {app}.organizations where id = any (%(organizations)s::text[]))

-- name: frozen days
(select s.trigger_id, s.organization_id, f.day, f.action_type, f.status, f.n, f.timed, f.retried, f.duration_total,
        f.retry_total
   from analytics_refresh.frozen_series as s
   join analytics_refresh.frozen_days as f on f.series = s.series
  where f.day >= (%(since)s::timestamptz at time zone 'UTC') - interval '12 hours'
    and f.day < (%(until)s::timestamptz at time zone 'UTC') - interval '12 hours')

-- name: frozen days limited
(select s.trigger_id, s.organization_id, f.day, f.action_type, f.status, f.n, f.timed, f.retried, f.duration_total,
        f.retry_total
   from analytics_refresh.frozen_series as s
   join analytics_refresh.frozen_days as f on f.series = s.series
  where s.organization_id = any (%(organizations)s::text[])
    and f.day >= (%(since)s::timestamptz at time zone 'UTC') - interval '12 hours'
    and f.day < (%(until)s::timestamptz at time zone 'UTC') - interval '12 hours')

-- name: frozen days walled
(select w.*
   from {app}.frozen_days((%(since)s::timestamptz at time zone 'UTC') - interval '12 hours',
                          (%(until)s::timestamptz at time zone 'UTC') - interval '12 hours') as w)

-- name: frozen days walled limited
(select w.*
   from {app}.frozen_days((%(since)s::timestamptz at time zone 'UTC') - interval '12 hours',
                          (%(until)s::timestamptz at time zone 'UTC') - interval '12 hours') as w
  where w.organization_id = any (%(organizations)s::text[]))
