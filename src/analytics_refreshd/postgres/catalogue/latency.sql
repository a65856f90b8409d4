-- name: latency
-- section: performance
-- endpoint: actions/latency
-- purpose: How are durations distributed, by action type? Exact: computed from the rows of the window.
-- parameter: hours integer default 24 min 1 max 744; Hours of the window; the last is the current one
-- window: hours in hours
-- organizations: yes
-- column: action_type text; Type of the action
-- column: executions count; Actions of any status
-- column: measured count; Those of them that have a duration
-- column: min_duration_ms ms; Shortest
-- column: p50_duration_ms ms; Median, interpolated as percentile_cont does
-- column: p95_duration_ms ms; 95th percentile
-- column: p99_duration_ms ms; 99th percentile
-- column: max_duration_ms ms; Longest
-- column: avg_duration_ms ms; Average
-- column: sla_status text; CRITICAL if the 95th percentile is over 10 s, WARNING over 5 s or what [thresholds] says of
--   the type, else OK; empty without a duration
-- argument: hours default 24 min 1 max 168
-- argument: limit default 100 min 1 max 100
-- cost: 5
-- fields: action_type, measured as sample_count, avg_duration_ms as mean_duration_ms,
--   p50_duration_ms as median_duration_ms, p95_duration_ms, p99_duration_ms, min_duration_ms as fastest_ms,
--   max_duration_ms as slowest_ms, sla_status
select d.action_type, d.executions, d.measured, d.min_duration_ms,
       d.percentiles[1]::numeric(12, 2) as p50_duration_ms,
       d.percentiles[2]::numeric(12, 2) as p95_duration_ms,
       d.percentiles[3]::numeric(12, 2) as p99_duration_ms,
       d.max_duration_ms, d.avg_duration_ms,
       case when d.percentiles[2]::numeric(12, 2) > coalesce(o.latency_critical_ms, e.latency_critical_ms) then 'CRITICAL'
            when d.percentiles[2]::numeric(12, 2) > coalesce(o.latency_warning_ms, e.latency_warning_ms) then 'WARNING'
            when d.measured > 0 then 'OK' end as sla_status
  from (select a.action_type,
               count(*) as executions,
               count(a.duration_ms) as measured,
               min(a.duration_ms) as min_duration_ms,
               max(a.duration_ms) as max_duration_ms,
               round(avg(a.duration_ms), 2) as avg_duration_ms,
               percentile_cont(array[0.50, 0.95, 0.99]) within group (order by a.duration_ms) as percentiles
          from {actions} as a
         group by a.action_type) as d
  left join {thresholds} as o on o.action_type = d.action_type
  join {thresholds} as e on e.organization_id is null and e.action_type is null
 order by d.action_type collate "C"
