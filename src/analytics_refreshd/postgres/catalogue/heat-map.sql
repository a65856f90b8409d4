-- name: heat-map
-- section: capacity
-- endpoint: actions/heatmap
-- purpose: At which hours of the week does most run, and most fail? All 168 are shown.
-- parameter: days integer default 28 min 1 max 3650; Days of the window, which ends with the current hour
-- window: days in hours
-- organizations: yes
-- column: weekday number; 1 is Monday, 7 Sunday, in UTC or --timezone
-- column: hour_of_day number; 0 to 23, in UTC or --timezone
-- column: hours count; Hours of the window that are this hour of the week
-- column: executions count; Actions of any status; of the current hour those so far
-- column: failures count; Actions that failed
-- column: failure_rate_percent percent; Failures in all executions; empty without executions
-- argument: days default 28 min 1 max 90
-- argument: limit default 168 min 1 max 168
-- fields: weekday, hour_of_day, hours as data_points, executions as total_executions, failures,
--   failure_rate_percent as failure_rate
select s.weekday,
       t.hour_of_day,
       coalesce(d.hours, 0) as hours,
       coalesce(d.executions, 0) as executions,
       coalesce(d.failures, 0) as failures,
       round(100.0 * d.failures / nullif(d.executions, 0), 2) as failure_rate_percent
  from generate_series(1, 7) as s (weekday)
 cross join generate_series(0, 23) as t (hour_of_day)
  left join (select extract(isodow from g.hour at time zone %(timezone)s::text)::integer as weekday,
                    extract(hour from g.hour at time zone %(timezone)s::text)::integer as hour_of_day,
                    count(distinct g.hour) as hours,
                    coalesce(sum(h.execution_count), 0)::bigint as executions,
                    coalesce(sum(h.failure_count), 0)::bigint as failures
               from generate_series(%(since)s::timestamptz, %(until)s::timestamptz - interval '1 hour',
                                    interval '1 hour') as g (hour)
               left join {hourly} as h on h.hour = g.hour
              group by 1, 2) as d on d.weekday = s.weekday and d.hour_of_day = t.hour_of_day
 order by s.weekday, t.hour_of_day
