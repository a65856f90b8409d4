-- name: top-errors
-- section: failures
-- endpoint: failures/top-errors
-- purpose: Which error messages are most frequent? Missing and empty messages are one row.
-- parameter: limit integer default 10 min 1 max 1000; Rows at most
-- parameter: hours integer default 24 min 1 max 24; Hours up to now; the view holds 24
-- window: hours exactly
-- organizations: yes
-- column: error_message message; The message; empty where none was recorded. Told apart as stored: where masking hides
--   the difference, rows read alike
-- column: failures count; Failed actions with it
-- column: share_percent percent; Share of all failures of the window
-- column: triggers count; Triggers that show it
-- column: first_failure_at timestamp; First failure of the window
-- column: last_failure_at timestamp; Last failure
select nullif(f.error_message, '') as error_message,
       count(*) as failures,
       round(100.0 * count(*) / sum(count(*)) over (), 2) as share_percent,
       count(distinct f.trigger_id) as triggers,
       min(f.executed_at) as first_failure_at,
       max(f.executed_at) as last_failure_at
  from {failures} as f
 group by 1
 order by 2 desc, nullif(f.error_message, '') collate "C" nulls last
 limit %(limit)s
