-- name: top-errors
-- section: failures
-- endpoint: failures/top-errors
-- purpose: Which error messages are most frequent? Missing and empty messages are one row.
-- parameter: limit integer default 10 min 1 max 1000; Rows at most
-- parameter: hours integer default 24 min 1 max 745; Hours up to now; over 24 are read from rows
-- window: hours exactly
-- organizations: yes
-- column: error_message message; The message; empty where none was recorded. Told apart as stored: where masking hides
--   the difference, rows read alike
-- column: failures count; Failed actions with it
-- column: share_percent percent; Share of all failures of the window
-- column: triggers count; Triggers that show it
-- column: first_failure_at timestamp; First failure of the window
-- column: last_failure_at timestamp; Last failure
-- column: avg_retries number; Retries per failed action
-- column: action_types list; The types of action that show it
-- argument: hours default 24 min 1 max 168
-- argument: limit default 10 min 1 max 50
-- cost: 2
-- fields: error_message, failures as occurrence_count, triggers as affected_triggers, first_failure_at as first_seen,
--   last_failure_at as last_seen, avg_retries as avg_retry_count, action_types
select nullif(f.error_message, '') as error_message,
       count(*) as failures,
       round(100.0 * count(*) / sum(count(*)) over (), 2) as share_percent,
       count(distinct f.trigger_id) as triggers,
       min(f.executed_at) as first_failure_at,
       max(f.executed_at) as last_failure_at,
       round(avg(coalesce(f.retry_count, 0)), 2) as avg_retries,
       array_agg(distinct f.action_type::text collate "C" order by f.action_type::text collate "C") as action_types
  from {failures} as f
 group by 1
 order by 2 desc, nullif(f.error_message, '') collate "C" nulls last
 limit %(limit)s
