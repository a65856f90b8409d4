-- name: trigger-stats
-- section: trigger health
-- endpoint: triggers/{trigger_id}/stats
-- purpose: What is known of one trigger, over all history? No row where there is no such trigger.
-- parameter: trigger-id text default -; The trigger
-- organizations: yes
-- column: trigger_id text; The trigger
-- column: trigger_name text; Its name; empty where the trigger is gone
-- column: organization_id text; The organization it belongs to
-- column: enabled boolean; Whether it is enabled; empty where the trigger is gone
-- column: total_executions count; Actions of any status
-- column: success_count count; Actions that succeeded
-- column: failure_count count; Actions that failed
-- column: retrying_count count; Actions still being retried
-- column: success_rate percent; Successes in all executions; empty without executions
-- column: avg_duration_ms ms; Average duration
-- column: min_duration_ms ms; Shortest
-- column: max_duration_ms ms; Longest
-- column: p50_duration_ms ms; Median duration
-- column: p95_duration_ms ms; 95th percentile
-- column: p99_duration_ms ms; 99th percentile
-- column: total_retries count; Retries of its actions
-- column: avg_retries number; Retries per action that has a count of them
-- column: max_retries count; Most retries of one action
-- column: last_execution_at timestamp; Last execution
-- column: first_execution_at timestamp; First execution
-- column: hours_active number; Hours from the first to the last execution; empty where one of the two times is infinite
-- answer: object
select coalesce(s.trigger_id, t.id) as trigger_id, t.name as trigger_name, t.organization_id, t.enabled,
       coalesce(s.total_executions, 0) as total_executions, coalesce(s.success_count, 0) as success_count,
       coalesce(s.failure_count, 0) as failure_count, coalesce(s.retrying_count, 0) as retrying_count,
       s.success_rate, s.avg_duration_ms, s.min_duration_ms, s.max_duration_ms, s.p50_duration_ms, s.p95_duration_ms,
       s.p99_duration_ms, coalesce(s.total_retries, 0) as total_retries, s.avg_retries, s.max_retries,
       s.last_execution_at, s.first_execution_at, round(s.hours_active, 2) as hours_active
  from (select %(trigger_id)s::text as id) as asked
  left join {trigger_summary} as s on s.trigger_id = asked.id
  left join {triggers} as t on t.id = asked.id
 where s.trigger_id is not null or t.id is not null
