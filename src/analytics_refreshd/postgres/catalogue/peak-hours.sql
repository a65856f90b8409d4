-- name: peak-hours
-- section: capacity
-- endpoint: throughput/peak-hours
-- purpose: At which hours of the day does most run? All 24 are shown, busiest first.
-- parameter: days integer default 7 min 1 max 3650; Days of the window, which ends with the current hour
-- window: days in hours
-- organizations: yes
-- column: hour_of_day number; 0 to 23, in UTC or --timezone
-- column: executions count; Actions of any status
-- column: executions_per_day number; The same per day of the window
-- column: share_percent percent; Share of all actions of the window; empty without actions
-- column: success_rate_percent percent; Successes in all executions; empty without executions
-- column: hours count; Hours of the window that begin at this hour of the day
-- column: executions_per_hour number; Executions in the average one of them
-- column: most_executions count; Executions in the busiest of them
-- column: fewest_executions count; Executions in the quietest of them; the current one counts as far as it went
-- argument: days default 7 min 1 max 90
-- argument: limit default 24 min 1 max 24
-- fields: hour_of_day, hours as data_points, executions as total_executions,
--   executions_per_hour as avg_executions_per_hour, most_executions as peak_executions,
--   fewest_executions as min_executions
select s.hour_of_day,
       coalesce(d.executions, 0) as executions,
       round(coalesce(d.executions, 0) * 86400
             / extract(epoch from %(until)s::timestamptz - %(since)s::timestamptz), 2) as executions_per_day,
       round(100.0 * coalesce(d.executions, 0) / nullif(sum(d.executions) over (), 0), 2) as share_percent,
       round(100.0 * d.successes / nullif(d.executions, 0), 2) as success_rate_percent,
       coalesce(d.hours, 0) as hours,
       round(d.executions::numeric / d.hours, 2) as executions_per_hour,
       d.most_executions,
       d.fewest_executions
  from generate_series(0, 23) as s (hour_of_day)
  left join (select extract(hour from e.hour at time zone %(timezone)s::text)::integer as hour_of_day,
                    count(*) as hours,
                    sum(e.executions)::bigint as executions,
                    sum(e.successes)::bigint as successes,
                    max(e.executions) as most_executions,
                    min(e.executions) as fewest_executions
               from (select g.hour,
                            coalesce(sum(h.execution_count), 0)::bigint as executions,
                            coalesce(sum(h.success_count), 0)::bigint as successes
                       from generate_series(%(since)s::timestamptz, %(until)s::timestamptz - interval '1 hour',
                                            interval '1 hour') as g (hour)
                       left join {hourly} as h on h.hour = g.hour
                      group by g.hour) as e
              group by 1) as d on d.hour_of_day = s.hour_of_day
 order by executions desc, s.hour_of_day
