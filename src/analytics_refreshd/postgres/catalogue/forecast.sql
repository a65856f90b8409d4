-- name: forecast
-- section: capacity
-- endpoint: forecast
-- purpose: How many executions and failures do the next 24 hours let expect? They begin with the one that is not over.
-- parameter: days integer default 28 min 1 max 31; Days to learn from; they end with the current hour
-- window: days in hours
-- organizations: yes
-- column: hour timestamp; Start of the hour, UTC
-- column: executions count; Median of the same hours of this kind of day, workday or weekend; empty with fewer than six
-- column: executions_lower count; Three standard deviations below, by the median absolute deviation
-- column: executions_upper count; Three standard deviations above
-- column: failures count; The same of actions that fail
-- column: failures_lower count; Three standard deviations below
-- column: failures_upper count; Three standard deviations above
-- argument: days default 28 min 7 max 28
-- argument: limit default 24 min 1 max 24
-- fields: hour, executions as total_executions, executions_lower, executions_upper, failures, failures_lower,
--   failures_upper
-- cost: 5
with cells as materialized (
    select h.hour, sum(h.execution_count)::double precision as executions,
           sum(h.failure_count)::double precision as failures
      from {hourly} as h
     group by h.hour
), stretch as materialized (
    -- whether the newest hour is over, the view cannot tell
    select min(hour) as first_hour, max(hour) as next_hour from cells
), hours as materialized (
    select g.hour, extract(isodow from g.hour at time zone 'UTC') >= 6 as weekend
      from stretch as s
     cross join generate_series(s.first_hour, s.next_hour + interval '25 hours', interval '1 hour') as g (hour)
), known as materialized (
    select h.hour, h.weekend, m.measure, cbrt(m.figure) as value
      from hours as h
     cross join stretch as s
      left join cells as c on c.hour = h.hour
     cross join lateral (
           values ('executions', coalesce(c.executions, 0)), ('failures', coalesce(c.failures, 0)))
               as m (measure, figure)
     where h.hour < s.next_hour
), past as materialized (
    select h.hour, v.measure, count(*) as days, percentile_cont(0.5) within group (order by v.value) as centre,
           array_agg(v.value) as earlier
      from hours as h
     cross join stretch as s
     cross join generate_series(1, 28) as d (day)
      join known as v on v.hour = h.hour - d.day * interval '24 hours' and v.weekend = h.weekend
     where h.hour >= s.next_hour - interval '2 hours'
     group by h.hour, v.measure
), spread as (
    select p.hour, p.measure, p.centre,
           greatest(1.4826 * percentile_cont(0.5) within group (order by abs(x.value - n.centre)),
                    (array_agg(abs(x.value - n.centre) order by abs(x.value - n.centre)))
                        [floor(0.95::double precision * count(*))::integer + 1] / 1.96,
                    sqrt((0.05 * p.centre) ^ 2 + 1 / (9 * greatest(p.centre, 1)))) as sigma
      from past as p
      join past as n on n.measure = p.measure
                    and n.hour between p.hour - interval '2 hours' and p.hour + interval '2 hours'
     cross join unnest(n.earlier) as x (value)
     where p.days >= 6
     group by p.hour, p.measure, p.centre
), bands as (
    select hour, measure, round((centre ^ 3)::numeric)::bigint as expected,
           round((greatest(centre - 3 * sigma, 0) ^ 3)::numeric)::bigint as lower,
           round(((centre + 3 * sigma) ^ 3)::numeric)::bigint as upper
      from spread
)
select h.hour, e.expected as executions, e.lower as executions_lower, e.upper as executions_upper,
       f.expected as failures, f.lower as failures_lower, f.upper as failures_upper
  from hours as h
 cross join stretch as s
  left join bands as e on e.hour = h.hour and e.measure = 'executions'
  left join bands as f on f.hour = h.hour and f.measure = 'failures'
 where h.hour >= s.next_hour and h.hour < s.next_hour + interval '24 hours'
 order by h.hour
