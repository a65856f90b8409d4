-- name: present
select exists (
    select from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'analytics_refresh' and {trusted} and c.relname = 'alerts');

-- name: load
select a.alert, a.view_name as view, a.state, a.severity, a.active_at, a.fired_at, a.resolved_at,
    pg_catalog.left(a.summary, 4096) as summary, pg_catalog.left(a.description, 4096) as description, a.run_id
from analytics_refresh.alerts a
order by a.alert, a.view_name;

-- name: save
insert into analytics_refresh.alerts (
    alert, view_name, state, severity, active_at, fired_at, resolved_at, summary, description, run_id, updated_at)
select %(alert)s, %(view)s, %(state)s, %(severity)s, %(active_at)s::timestamptz, %(fired_at)s::timestamptz,
    %(resolved_at)s::timestamptz, %(summary)s, %(description)s, %(run_id)s::uuid, pg_catalog.clock_timestamp()
on conflict (alert, view_name) do update set
    state = excluded.state,
    severity = excluded.severity,
    active_at = excluded.active_at,
    fired_at = excluded.fired_at,
    resolved_at = excluded.resolved_at,
    summary = excluded.summary,
    description = excluded.description,
    run_id = excluded.run_id,
    updated_at = excluded.updated_at;

-- name: lead_over
-- without pg_read_all_stats another role's start is null: then nothing is known of it, as where the epoch is 0
select %(epoch)s <> 0 and not exists (
    select from pg_catalog.pg_locks l
    cross join lateral pg_catalog.pg_stat_get_activity(l.pid) a
    where l.locktype = 'advisory' and l.classid = 2583 and l.objid = 1 and l.objsubid = 2 and l.granted
        and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
        and (a.backend_start is null or (1000 * extract(epoch from a.backend_start))::bigint = %(epoch)s));

-- name: remove
delete from analytics_refresh.alerts a where a.alert = %(alert)s and a.view_name = %(view)s;

-- name: load_deliveries
select d.receiver, d.alert_key, d.status, d.sent_at from analytics_refresh.deliveries d;

-- name: save_delivery
insert into analytics_refresh.deliveries (receiver, alert_key, status, sent_at)
values (%(receiver)s, %(alert_key)s, %(status)s, %(sent_at)s)
on conflict (receiver, alert_key, status) do update set
    sent_at = greatest(excluded.sent_at, analytics_refresh.deliveries.sent_at);

-- name: prune_deliveries
delete from analytics_refresh.deliveries d
where d.sent_at < pg_catalog.clock_timestamp() - %(retention)s::interval;
