-- name: failing-triggers
-- section: failures
-- endpoint: failures/by-trigger
-- purpose: Which triggers fail most? Failures without a trigger are one row.
-- parameter: limit integer default 50 min 1 max 10000; Rows at most
-- parameter: hours integer default 24 min 1 max 745; Hours up to now; over 24 are read from rows
-- window: hours exactly
-- organizations: yes
-- column: trigger_id text; The trigger
-- column: trigger_name text; Its name; empty where the trigger is gone
-- column: organization_id text; The organization it belongs to
-- column: failures count; Failed actions
-- column: share_percent percent; Share of all failures of the window
-- column: messages count; Different error messages, empty ones left out
-- column: first_failure_at timestamp; First failure of the window
-- column: last_failure_at timestamp; Last failure
-- column: avg_retries number; Retries per failed action
-- column: max_retries count; Most retries of one failed action
-- argument: hours default 24 min 1 max 168
-- argument: limit default 10 min 1 max 100
-- cost: 2
-- fields: trigger_id, trigger_name, failures as error_count, messages as unique_error_types,
--   first_failure_at as first_error_at, last_failure_at as last_error_at, avg_retries as avg_retry_count,
--   max_retries as max_retry_count
select f.trigger_id, t.name as trigger_name, t.organization_id, f.failures, f.share_percent, f.messages,
       f.first_failure_at, f.last_failure_at, f.avg_retries, f.max_retries
  from (select trigger_id,
               count(*) as failures,
               round(100.0 * count(*) / sum(count(*)) over (), 2) as share_percent,
               count(distinct nullif(error_message, '')) as messages,
               min(executed_at) as first_failure_at,
               max(executed_at) as last_failure_at,
               round(avg(coalesce(retry_count, 0)), 2) as avg_retries,
               max(coalesce(retry_count, 0)) as max_retries
          from {failures} as r
         group by trigger_id) as f
  left join {triggers} as t on t.id = f.trigger_id
 order by f.failures desc, f.trigger_id collate "C" nulls last
 limit %(limit)s
