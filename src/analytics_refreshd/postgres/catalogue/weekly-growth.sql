-- name: weekly-growth
-- section: capacity
-- endpoint: growth/weekly
-- purpose: How does the number of actions grow from week to week? Weeks begin on Monday, 00:00 in UTC or --timezone.
-- parameter: weeks integer default 8 min 1 max 520; Weeks of the window; the last is the current one
-- window: weeks in weeks, 1 before
-- organizations: yes
-- horizon: days
-- column: week timestamp; Monday of the week
-- column: executions count; Actions of any status
-- column: previous_executions count; Those of the week before
-- column: growth_percent percent; Growth over the week before; empty after a week without actions, and while the
--   week is not over
-- column: success_rate_percent percent; Successes in all executions; empty without executions
-- column: complete boolean; Whether the week is over
-- column: successes count; Actions that succeeded
-- column: approx_avg_duration_ms ms; Average duration
-- approximated: approx_avg_duration_ms; hourly averages weighted by execution_count. Within 0.01 ms of the exact one
--   where every action has a duration; otherwise an estimate between the lowest and the highest hourly average
-- argument: weeks default 8 min 1 max 520
-- argument: limit default 520 min 1 max 520
-- fields: week, executions as total_executions, successes, approx_avg_duration_ms as avg_duration_ms,
--   previous_executions as prev_week_executions, growth_percent as growth_percentage
select w.week, w.executions, w.previous_executions,
       case when w.complete then round(100.0 * (w.executions - w.previous_executions)
                                       / nullif(w.previous_executions, 0), 2) end as growth_percent,
       w.success_rate_percent, w.complete, w.successes, w.approx_avg_duration_ms
  from (select s.week,
               coalesce(d.executions, 0) as executions,
               lag(coalesce(d.executions, 0)) over (order by s.week) as previous_executions,
               round(100.0 * d.successes / d.executions, 2) as success_rate_percent,
               s.next_week <= %(now)s::timestamptz as complete,
               coalesce(d.successes, 0) as successes,
               d.approx_avg_duration_ms
          from (select g.local_week at time zone %(timezone)s::text as week,
                       (g.local_week + interval '168 hours') at time zone %(timezone)s::text as next_week
                  from generate_series(date_trunc('day', %(since)s::timestamptz at time zone %(timezone)s::text),
                                       (%(until)s::timestamptz at time zone %(timezone)s::text) - interval '168 hours',
                                       interval '168 hours') as g (local_week)) as s
          left join (select date_trunc('week', h.hour, %(timezone)s::text) as week,
                            sum(h.execution_count)::bigint as executions,
                            sum(h.success_count)::bigint as successes,
                            round(sum(h.avg_duration_ms * h.execution_count)
                                  / nullif(sum(h.execution_count) filter (where h.avg_duration_ms is not null), 0), 2)
                                as approx_avg_duration_ms
                       from {hourly} as h
                      group by 1) as d on d.week = s.week) as w
 where w.week > %(since)s::timestamptz
 order by w.week
