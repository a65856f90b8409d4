-- name: throughput
-- section: capacity
-- endpoint: throughput/hourly
-- purpose: How many actions run per hour, and how many retries do they cost? Hours without actions are shown.
-- parameter: hours integer default 24 min 1 max 2160; Hours of the window; the last is the current one
-- window: hours in hours
-- organizations: yes
-- column: hour timestamp; Start of the hour, UTC
-- column: executions count; Actions of any status
-- column: executions_per_minute number; The same per minute; empty while the hour is not over
-- column: total_retries count; Retries of these actions
-- column: actions_with_retries count; Actions that were retried
-- column: complete boolean; Whether the hour is over
select s.hour,
       coalesce(d.executions, 0) as executions,
       case when s.hour + interval '1 hour' <= %(now)s::timestamptz
            then round(coalesce(d.executions, 0) / 60.0, 2) end as executions_per_minute,
       coalesce(d.total_retries, 0) as total_retries,
       coalesce(d.actions_with_retries, 0) as actions_with_retries,
       s.hour + interval '1 hour' <= %(now)s::timestamptz as complete
  from generate_series(%(since)s::timestamptz, %(until)s::timestamptz - interval '1 hour', interval '1 hour')
       as s (hour)
  left join (select h.hour,
                    sum(h.execution_count)::bigint as executions,
                    sum(h.total_retries)::bigint as total_retries,
                    sum(h.actions_with_retries)::bigint as actions_with_retries
               from {hourly} as h
              group by h.hour) as d on d.hour = s.hour
 order by s.hour
