-- What the stream reads: the changes that wait for a fold, the runs and the alerts. What the incremental mode alone has is
-- named in plpgsql, which looks for it when it is called: the mode may come and go. Only tables of our own are read there.

-- name: functions
create or replace function analytics_api.has_rollups() returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select 4 = (
        select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'analytics_refresh' and c.relkind = 'r' and pg_get_userbyid(c.relowner) = current_user
            and c.relname in ('incremental', 'deltas', 'rebuild_marks', 'hour_cells'));
end;
comment on function analytics_api.has_rollups() is 'Whether the tables of the incremental mode are there, and ours.';
revoke execute on function analytics_api.has_rollups() from public;

create or replace function analytics_api.fold_marker() returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $fold_marker$
begin
    if not analytics_api.has_rollups() then
        return null;
    end if;
    return (
        select concat_ws(' ', extract(epoch from i.folded_at), extract(epoch from i.built_at), i.rows_built)
        from analytics_refresh.incremental i
        where i.built and i.capture = analytics_refresh.capture_now()
            and not exists (select from analytics_refresh.rebuild_marks));
end
$fold_marker$;
comment on function analytics_api.fold_marker() is
    'Another text after each fold; null where changes are not captured. While it stays, deltas are only added.';
revoke execute on function analytics_api.fold_marker() from public;

create or replace function analytics_api.waiting_hours(since timestamptz, until timestamptz)
returns table (hour timestamptz, executions bigint, successes bigint, failures bigint, timed bigint,
    duration_total bigint, retries bigint)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $waiting_hours$
declare
    everything constant boolean := analytics_api.sees_all();
    organizations constant text[] := analytics_api.organizations();
begin
    if not analytics_api.has_rollups() or not everything and cardinality(organizations) = 0 then
        return;
    end if;
    return query
    select date_trunc('hour', d.executed_at, 'UTC'), sum(d.sign)::bigint,
        coalesce(sum(d.sign) filter (where d.status = 'success'), 0)::bigint,
        coalesce(sum(d.sign) filter (where d.status = 'failed'), 0)::bigint,
        coalesce(sum(d.sign) filter (where d.duration_ms is not null), 0)::bigint,
        coalesce(sum(d.sign * d.duration_ms::bigint), 0)::bigint,
        coalesce(sum(d.sign * d.retry_count::bigint), 0)::bigint
    from analytics_refresh.deltas d
    where d.executed_at >= waiting_hours.since and d.executed_at < waiting_hours.until
        -- the rollups have no place for a row without type or status; a tenant's rows are counted all
        and (d.unheld < 4 and everything or not everything and d.trigger_id in (
            select t.id from analytics_api.triggers t where t.organization_id = any (organizations)))
    group by 1;
end
$waiting_hours$;
comment on function analytics_api.waiting_hours(timestamptz, timestamptz) is
    'Sums by hour of the changes that wait for a fold, of the admitted organizations. Ask it where fold_marker() is not null.';
revoke execute on function analytics_api.waiting_hours(timestamptz, timestamptz) from public;

create or replace function analytics_api.folded_hours(since timestamptz, until timestamptz)
returns table (hour timestamptz, executions bigint, successes bigint, failures bigint, timed bigint,
    duration_total bigint, retries bigint)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $folded_hours$
begin
    if not analytics_api.has_rollups() or not analytics_api.sees_all() then
        return;
    end if;
    return query
    select c.hour, sum(c.n)::bigint,
        coalesce(sum(c.n) filter (where c.status = 'success'), 0)::bigint,
        coalesce(sum(c.n) filter (where c.status = 'failed'), 0)::bigint,
        sum(c.timed)::bigint, sum(c.duration_total)::bigint, sum(c.retry_total)::bigint
    from analytics_refresh.hour_cells c
    where c.hour >= folded_hours.since and c.hour < folded_hours.until
    group by c.hour;
end
$folded_hours$;
comment on function analytics_api.folded_hours(timestamptz, timestamptz) is
    'Sums by hour of what is folded, for who sees all. Ask it where fold_marker() is not null.';
revoke execute on function analytics_api.folded_hours(timestamptz, timestamptz) from public;

create or replace function analytics_api.last_runs()
returns table (run_id uuid, started_at timestamptz, finished_at timestamptz, outcome text, reason text,
    duration_seconds double precision)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    -- how runs ended is for who sees all
    select case when a.all then r.run_id end, r.started_at, r.finished_at, r.outcome, r.reason, r.duration_seconds
    from (select analytics_api.sees_all() as all, analytics_api.admitted() is not null as admitted) a
    cross join lateral (
        select * from (
            select o.run_id, o.started_at, o.finished_at, o.outcome, o.reason, o.duration_seconds
            from analytics_refresh.runs o where o.outcome is null order by o.started_at desc limit 1) running
        union all
        select * from (
            select e.run_id, e.started_at, e.finished_at, e.outcome, e.reason, e.duration_seconds
            from analytics_refresh.runs e where e.outcome is not null order by e.started_at desc limit 1) ended) r
    where a.admitted and (a.all or r.outcome is null);
end;
comment on function analytics_api.last_runs() is 'The refresh under way, and for who sees all the last one that ended.';
revoke execute on function analytics_api.last_runs() from public;

create or replace function analytics_api.last_cost()
returns table (run_id uuid, rows_folded bigint, wal_bytes bigint, blocks_hit bigint, blocks_read bigint,
    temporary_bytes bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select r.run_id, r.rows_folded, r.wal_bytes, r.blocks_hit, r.blocks_read, r.temporary_bytes
    from analytics_refresh.runs r
    where r.outcome is not null and (select analytics_api.sees_all())
    order by r.started_at desc limit 1;
end;
comment on function analytics_api.last_cost() is
    'What the last refresh that ended cost the server, for who sees all; null is unknown.';
revoke execute on function analytics_api.last_cost() from public;

create or replace function analytics_api.firing_alerts()
returns table (alert text, view_name text, severity text, fired_at timestamptz, summary text)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select f.alert, nullif(f.view_name, ''), f.severity, f.fired_at, left(f.summary, 4096)
    from analytics_refresh.alerts f
    where f.state = 'firing' and (select analytics_api.sees_all())
    order by f.alert, f.view_name;
end;
comment on function analytics_api.firing_alerts() is 'The alerts that fire, for who sees all.';
revoke execute on function analytics_api.firing_alerts() from public;

-- name: readable
-- an older `migrate --tenants` made no such functions
select exists (
    select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'analytics_api' and p.proname = 'fold_marker' and p.pronargs = 0
        and pg_catalog.has_function_privilege(p.oid, 'execute'));

-- name: marker
select analytics_api.fold_marker();

-- name: waiting
select h.hour, h.executions, h.successes, h.failures, h.timed, h.duration_total, h.retries
from analytics_api.waiting_hours(%(since)s::timestamptz, %(until)s::timestamptz) h;

-- name: folded
select h.hour, h.executions, h.successes, h.failures, h.timed, h.duration_total, h.retries
from analytics_api.folded_hours(%(since)s::timestamptz, %(until)s::timestamptz) h;

-- name: rows
-- of one tenant: no rollup holds it by itself. Values that no integer holds are left out, as they are of the deltas
select date_trunc('hour', a.executed_at, 'UTC') as hour, count(*) as executions,
    count(*) filter (where a.status = 'success') as successes, count(*) filter (where a.status = 'failed') as failures,
    count(*) filter (where a.duration_ms between -2147483648 and 2147483647) as timed,
    coalesce(sum(a.duration_ms) filter (where a.duration_ms between -2147483648 and 2147483647), 0)::bigint
        as duration_total,
    coalesce(sum(a.retry_count) filter (where a.retry_count between -2147483648 and 2147483647), 0)::bigint as retries
from analytics_api.action_results a
join analytics_api.triggers t on t.id = a.trigger_id
where t.organization_id = any (%(organizations)s::text[])
    and a.executed_at >= %(since)s::timestamptz and a.executed_at < %(until)s::timestamptz
group by 1;

-- name: runs
select r.run_id::text, r.started_at, r.finished_at, r.outcome, r.reason, r.duration_seconds
from analytics_api.last_runs() r;

-- name: tells_cost
-- an older `migrate --tenants` made no such function
select exists (
    select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'analytics_api' and p.proname = 'last_cost' and p.pronargs = 0
        and pg_catalog.has_function_privilege(p.oid, 'execute'));

-- name: cost
select c.rows_folded, c.wal_bytes, c.blocks_hit, c.blocks_read, c.temporary_bytes from analytics_api.last_cost() c;

-- name: alerts
select f.alert, f.view_name, f.severity, f.fired_at, f.summary from analytics_api.firing_alerts() f;
