-- name: present
select to_regclass('analytics_refresh.alerts') is not null
-- name: load
select alert, view_name, state, severity, active_at, fired_at, resolved_at, summary, description, run_id
from analytics_refresh.alerts
-- name: save
insert into analytics_refresh.alerts (
    alert, view_name, state, severity, active_at, fired_at, resolved_at, summary, description, run_id, updated_at)
values (
    %(alert)s, %(view)s, %(state)s, %(severity)s, %(active_at)s, %(fired_at)s, %(resolved_at)s, %(summary)s,
    %(description)s, %(run_id)s, clock_timestamp())
on conflict (alert, view_name) do update set
    state = excluded.state, severity = excluded.severity, active_at = excluded.active_at,
    fired_at = excluded.fired_at, resolved_at = excluded.resolved_at, summary = excluded.summary,
    description = excluded.description, run_id = excluded.run_id, updated_at = excluded.updated_at
-- name: remove
delete from analytics_refresh.alerts where alert = %(alert)s and view_name = %(view)s
