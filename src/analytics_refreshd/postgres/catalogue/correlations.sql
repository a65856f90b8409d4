-- name: correlations
-- section: capacity
-- endpoint: actions/correlations
-- purpose: Do failures, latency and retries rise with the volume? Each pair of the four, hour by hour.
-- parameter: days integer default 28 min 1 max 3650; Days of the window, which ends with the current hour
-- window: days in hours
-- organizations: yes
-- column: measure text; One of total_executions, failure_rate, p95_duration_ms and total_retries
-- column: other_measure text; Another of them
-- column: hours count; Hours that are over and have both; one without executions has neither rate nor percentile
-- column: correlation number; Pearson's, from -1 to 1; empty where one of the two is the same in all hours
-- approximated: correlation; of p95_duration_ms only: an hour's is the mean of its types' and statuses' percentiles,
--   weighted by executions
-- argument: days default 28 min 1 max 90
-- fields: measure, other_measure, hours as data_points, correlation
select m.measure,
       m.other_measure,
       count(*) filter (where m.x is not null and m.y is not null) as hours,
       -- sums of equal numbers differ by their rounding: corr would find a correlation of that
       case when min(m.x) filter (where m.y is not null) < max(m.x) filter (where m.y is not null)
             and min(m.y) filter (where m.x is not null) < max(m.y) filter (where m.x is not null)
            then round(corr(m.y, m.x)::numeric, 4) end as correlation
  from (select coalesce(sum(h.execution_count), 0)::double precision as executions,
               (1.0 * sum(h.failure_count) / nullif(sum(h.execution_count), 0))::double precision as failure_rate,
               (sum(h.p95_duration_ms * h.execution_count)
                / nullif(sum(h.execution_count) filter (where h.p95_duration_ms is not null), 0))::double precision
                   as p95_duration_ms,
               coalesce(sum(h.total_retries), 0)::double precision as retries,
               g.hour + interval '1 hour' <= %(now)s::timestamptz as complete
          from generate_series(%(since)s::timestamptz, %(until)s::timestamptz - interval '1 hour', interval '1 hour')
               as g (hour)
          left join {hourly} as h on h.hour = g.hour
         group by g.hour) as e
 cross join lateral (
       values (1, 'total_executions', 'failure_rate', e.executions, e.failure_rate),
              (2, 'total_executions', 'p95_duration_ms', e.executions, e.p95_duration_ms),
              (3, 'total_executions', 'total_retries', e.executions, e.retries),
              (4, 'failure_rate', 'p95_duration_ms', e.failure_rate, e.p95_duration_ms),
              (5, 'failure_rate', 'total_retries', e.failure_rate, e.retries),
              (6, 'p95_duration_ms', 'total_retries', e.p95_duration_ms, e.retries)
       ) as v (place, measure, other_measure, x, y)
 cross join lateral (
       select v.measure, v.other_measure, v.place,
              case when e.complete then v.x end as x, case when e.complete then v.y end as y) as m
 group by m.place, m.measure, m.other_measure
 order by m.place
