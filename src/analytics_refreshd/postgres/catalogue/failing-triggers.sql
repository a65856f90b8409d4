-- name: failing-triggers
-- section: failures
-- endpoint: failures/by-trigger
-- purpose: Which triggers fail most? Failures without a trigger are one row.
-- parameter: limit integer default 50 min 1 max 10000; Rows at most
-- parameter: hours integer default 24 min 1 max 24; Hours up to now; the view holds 24
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
select f.trigger_id, t.name as trigger_name, t.organization_id, f.failures, f.share_percent, f.messages,
       f.first_failure_at, f.last_failure_at
  from (select trigger_id,
               count(*) as failures,
               round(100.0 * count(*) / sum(count(*)) over (), 2) as share_percent,
               count(distinct nullif(error_message, '')) as messages,
               min(executed_at) as first_failure_at,
               max(executed_at) as last_failure_at
          from {failures} as r
         group by trigger_id) as f
  left join {triggers} as t on t.id = f.trigger_id
 order by f.failures desc, f.trigger_id collate "C" nulls last
 limit %(limit)s
