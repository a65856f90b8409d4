-- name: anomalies
-- section: system health
-- endpoint: anomalies
-- purpose: Which hours of an action type are not as the same hours of four weeks let expect? Hints where to look.
-- parameter: hours integer default 24 min 1 max 744; Hours of the window; the last one is not over, and not judged
-- parameter: every boolean default false; Show all hours, with what was expected, not only the unusual ones
-- window: hours in hours, 675 before
-- organizations: yes
-- column: hour timestamp; Start of the hour, UTC
-- column: action_type text; One of the twenty busiest
-- column: measure text; One of volume, share (of all executions), failure_rate (0 to 1) and p95_seconds (of successes)
-- column: value number; What it was
-- column: expected number; Median of the same hours of this kind of day, workday or weekend, in four weeks
-- column: lower number; Three standard deviations below, by the median absolute deviation
-- column: upper number; Three standard deviations above
-- column: deviations number; How many standard deviations it was off; of the volume of its cube root, of the p95 of
--   its logarithm
-- column: unusual boolean; Whether this hour and the one before deviate together
-- note: hours are judged once the view holds later ones; a type needs six earlier days, and 20 executions in an hour
--   for rates (30 successes for a p95)
-- argument: hours default 24 min 1 max 40
-- argument: every default false
-- argument: limit default 100 min 1 max 1000
-- fields: hour, action_type, measure, value, expected, lower, upper, deviations, unusual
-- cost: 5
with cells as materialized (
    select h.hour, h.action_type,
           sum(h.execution_count)::double precision as executions,
           sum(h.failure_count)::double precision as failures,
           sum(h.success_count)::double precision as successes,
           (max(h.p95_duration_ms) filter (where h.status = 'success'))::double precision / 1000 as p95_seconds
      from {hourly} as h
     where h.action_type is not null
     group by h.hour, h.action_type
), busiest as materialized (
    select action_type, min(hour) as first_hour
      from cells
     group by action_type
     order by sum(executions) desc, action_type collate "C"
     limit 20
), totals as materialized (
    select hour, sum(executions) as executions from cells join busiest using (action_type) group by hour
), hours as materialized (
    -- whether an hour is over, the newest one of the view cannot tell
    select g.hour, extract(isodow from g.hour at time zone 'UTC') >= 6 as weekend,
           g.hour < (select max(hour) from cells) and g.hour < %(until)s::timestamptz as known
      from generate_series(%(since)s::timestamptz, %(until)s::timestamptz + interval '2 hours', interval '1 hour')
           as g (hour)
), known as materialized (
    select b.action_type, m.measure, h.hour, h.weekend, m.value, m.executions
      from hours as h
      join busiest as b on b.first_hour <= h.hour
      left join cells as c on c.hour = h.hour and c.action_type = b.action_type
      left join totals as t on t.hour = h.hour
     cross join lateral (
           values ('volume', cbrt(coalesce(c.executions, 0)), 1::double precision),
                  ('share', case when t.executions >= 20 then coalesce(c.executions, 0) / t.executions end, t.executions),
                  ('failure_rate', case when c.executions >= 20 then c.failures / c.executions end, c.executions),
                  ('p95_seconds', case when c.successes >= 30 and c.p95_seconds > 0 then ln(c.p95_seconds) end,
                   c.successes)) as m (measure, value, executions)
     where h.known and m.value is not null
), past as materialized (
    select b.action_type, v.measure, h.hour, count(*) as days,
           percentile_cont(0.5) within group (order by v.value) as centre,
           array_agg(v.value) as earlier
      from hours as h
     cross join busiest as b
     cross join generate_series(1, 28) as d (day)
      join known as v on v.action_type = b.action_type and v.hour = h.hour - d.day * interval '24 hours'
                     and v.weekend = h.weekend
     where h.hour >= %(since)s::timestamptz + interval '672 hours'
     group by b.action_type, v.measure, h.hour
), spread as (
    select p.action_type, p.measure, p.hour, p.centre,
           greatest(1.4826 * percentile_cont(0.5) within group (order by abs(x.value - n.centre)),
                    (array_agg(abs(x.value - n.centre) order by abs(x.value - n.centre)))
                        [floor(0.95::double precision * count(*))::integer + 1] / 1.96) as sigma
      from past as p
      join past as n on n.action_type = p.action_type and n.measure = p.measure
                    and n.hour between p.hour - interval '2 hours' and p.hour + interval '2 hours'
     cross join unnest(n.earlier) as x (value)
     where p.days >= 6 and p.hour >= %(since)s::timestamptz + interval '674 hours'
     group by p.action_type, p.measure, p.hour, p.centre
), judged as materialized (
    select v.action_type, v.measure, v.hour, v.value, s.centre as expected, least_of.sigma,
           (v.value - s.centre) / least_of.sigma as deviations
      from known as v
      join spread as s using (action_type, measure, hour)
     cross join lateral (
           -- no hour is surer than the floor, nor than chance with so many executions
           select greatest(s.sigma,
               case v.measure
                   when 'volume' then sqrt((0.05 * s.centre) ^ 2 + 1 / (9 * greatest(s.centre, 1)))
                   when 'share' then sqrt(0.015 ^ 2 + s.centre * (1 - s.centre) / v.executions)
                   when 'failure_rate' then sqrt(0.02 ^ 2 + s.centre * (1 - s.centre) / v.executions)
                   else sqrt(0.12 ^ 2 + 1.3 ^ 2 / v.executions) end) as sigma) as least_of
), paired as (
    select j.*, coalesce(e.deviations, 0) as earlier
      from judged as j
      left join judged as e on e.action_type = j.action_type and e.measure = j.measure
                           and e.hour = j.hour - interval '1 hour'
     where j.hour >= %(since)s::timestamptz + interval '675 hours'
), told as (
    select p.*,
           exists (select from (values ('volume', 2.2, 4.2, 1), ('volume', 2.2, 4.2, -1), ('share', 1.5, 3.5, -1),
                                       ('failure_rate', 2.5, 5.0, 1), ('p95_seconds', 1.5, 3.4, 1))
                               as r (measure, each, together, side)
                    where r.measure = p.measure
                      and least(r.side * p.earlier, r.side * p.deviations) >= r.each
                      and (least(r.side * p.earlier, 5) + least(r.side * p.deviations, 5)) / sqrt(2) >= r.together)
               as unusual
      from paired as p
)
select t.hour, t.action_type, t.measure, u.value, u.expected, u.lower, u.upper,
       round(t.deviations::numeric, 2) as deviations, t.unusual
  from told as t
 cross join lateral (
       select max(s.figure) filter (where b.bound = 0) as value, max(s.figure) filter (where b.bound = 1) as expected,
              max(s.figure) filter (where b.bound = 2) as lower, max(s.figure) filter (where b.bound = 3) as upper
         from (values (0, t.value), (1, t.expected), (2, t.expected - 3 * t.sigma), (3, t.expected + 3 * t.sigma))
              as b (bound, scaled)
        cross join lateral (
              select round((case t.measure
                                when 'volume' then greatest(b.scaled, 0) ^ 3
                                when 'p95_seconds' then exp(b.scaled)
                                else least(greatest(b.scaled, 0), 1) end)::numeric, 4) as figure) as s) as u
 where t.unusual or %(every)s
 order by t.hour desc, t.measure collate "C", t.action_type collate "C"
