-- What operators ask for, as the leader reads and does it.

-- name: usable
-- without these tables, or the grants on them, nobody's request is taken: `check` tells
select true
from pg_catalog.pg_namespace n
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = 'operator_requests' and c.relkind = 'r'
join pg_catalog.pg_class s on s.relnamespace = n.oid and s.relname = 'operator_request_steps' and s.relkind = 'r'
where n.nspname = 'analytics_refresh' and {trusted}
    and pg_catalog.has_schema_privilege(n.oid, 'usage')
    and pg_catalog.has_table_privilege(c.oid, 'select')
    and pg_catalog.has_table_privilege(s.oid, 'select') and pg_catalog.has_table_privilege(s.oid, 'insert');

-- name: open
-- what is older was given up: its state says so without a step
select r.request_id, r.kind, r.actor, r.reason, r.pause_for as length, r.requested_at,
    t.step is null and r.expires_at <= pg_catalog.clock_timestamp() as expired,
    t.run_id, u.outcome as run_outcome, u.reason as run_reason,
    t.step is not null and u.run_id is null
        and t.noted_at < pg_catalog.clock_timestamp() - interval '10 minutes' as lost
from analytics_refresh.operator_requests r
left join analytics_refresh.operator_request_steps t on t.request_id = r.request_id and t.step = 'taken'
left join analytics_refresh.runs u on u.run_id = t.run_id
where r.requested_at > pg_catalog.clock_timestamp() - interval '2 days'
    and not exists (
        select from analytics_refresh.operator_request_steps e where e.request_id = r.request_id and e.step = 'ended')
order by r.requested_at, r.request_id
limit 1000;

-- name: take
-- another leader that was quicker has its row there
insert into analytics_refresh.operator_request_steps (request_id, step, replica, run_id, joined)
select r.request_id, 'taken', %(replica)s, %(run_id)s, %(joined)s
from pg_catalog.unnest(%(request_ids)s::uuid[]) as r (request_id)
on conflict do nothing
returning request_id;

-- name: end
insert into analytics_refresh.operator_request_steps (request_id, step, replica, outcome, detail, paused_until, pauses_ended)
values (%(request_id)s, 'ended', %(replica)s, %(outcome)s, %(detail)s, %(paused_until)s, %(pauses_ended)s)
on conflict do nothing
returning request_id;

-- name: name_actor
-- the row that this transaction inserted: created_by is who asked, not the daemon's role
update analytics_refresh.pauses set created_by = %(actor)s where xmin = pg_catalog.pg_current_xact_id()::xid;

-- name: prune
delete from analytics_refresh.operator_requests where request_id in (
    select r.request_id from analytics_refresh.operator_requests r
    where r.requested_at < pg_catalog.clock_timestamp() - interval '401 days'
    order by r.requested_at limit 500);
