-- name: recent-failures
-- section: failures
-- endpoint: failures/recent
-- purpose: What failed last, and with what context?
-- parameter: limit integer default 20 min 1 max 1000; Rows at most
-- parameter: hours integer default 24 min 1 max 745; Hours up to now; over 24 are read from rows
-- window: hours exactly
-- organizations: yes
-- column: executed_at timestamp; When
-- column: action_type text; Type of the action
-- column: error_message message; The error
-- column: trigger_id text; The trigger, if any
-- column: trigger_name text; Its name
-- column: organization_id text; The organization it belongs to
-- column: retry_count count; Retries so far
-- column: duration_ms ms; Duration
-- column: id text; The action
-- column: job_id text; Its job
-- column: event_id text; Its event, if any
-- column: response_data json; What the other side answered
-- argument: limit default 20 min 1 max 100
-- cost: 2
-- fields: id, trigger_id, trigger_name, action_type, error_message, retry_count, executed_at, duration_ms, event_id,
--   organization_id
select f.executed_at, f.action_type, f.error_message, f.trigger_id, t.name as trigger_name, t.organization_id,
       f.retry_count, f.duration_ms, f.id, f.job_id, f.event_id, f.response_data
  from {failures} as f
  left join {triggers} as t on t.id = f.trigger_id
 order by f.executed_at desc, f.id collate "C"
 limit %(limit)s
