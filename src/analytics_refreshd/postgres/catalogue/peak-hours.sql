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
select s.hour_of_day,
       coalesce(d.executions, 0) as executions,
       round(coalesce(d.executions, 0) * 86400
             / extract(epoch from %(until)s::timestamptz - %(since)s::timestamptz), 2) as executions_per_day,
       round(100.0 * coalesce(d.executions, 0) / nullif(sum(d.executions) over (), 0), 2) as share_percent,
       round(100.0 * d.successes / d.executions, 2) as success_rate_percent
  from generate_series(0, 23) as s (hour_of_day)
  left join (select extract(hour from h.hour at time zone %(timezone)s::text)::integer as hour_of_day,
                    sum(h.execution_count)::bigint as executions,
                    sum(h.success_count)::bigint as successes
               from {hourly} as h
              group by 1) as d on d.hour_of_day = s.hour_of_day
 order by executions desc, s.hour_of_day
