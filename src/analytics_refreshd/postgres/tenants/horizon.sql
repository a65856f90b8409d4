-- The frozen horizon, and the days before it, for the role of the API. Both are named in plpgsql, which looks for them when it
-- is called: the mode may come and go. Only tables of our own are read there.

-- name: functions
create or replace function analytics_api.has_days() returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select 3 = (
        select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'analytics_refresh' and c.relkind = 'r' and pg_get_userbyid(c.relowner) = current_user
            and c.relname in ('incremental', 'frozen_series', 'frozen_days'));
end;
comment on function analytics_api.has_days() is 'Whether the tables of frozen days are there, and ours.';
revoke execute on function analytics_api.has_days() from public;

create or replace function analytics_api.horizon() returns table (frozen_until timestamptz, days_since timestamptz)
language plpgsql stable security definer rows 1 set search_path = pg_catalog, pg_temp
as $horizon$
begin
    if not analytics_api.has_days() then
        return;
    end if;
    return query
    select i.frozen_until, nullif(i.days_since, '-infinity') from analytics_refresh.incremental i
    where isfinite(i.frozen_until);
end
$horizon$;
comment on function analytics_api.horizon() is
    'Until when figures are frozen, and since when those of organizations are; no row where nothing is.';
revoke execute on function analytics_api.horizon() from public;

create or replace function analytics_api.frozen_days(since timestamp, until timestamp)
returns table (trigger_id text, organization_id text, day date, action_type text, status text, n integer, timed integer,
    retried integer, duration_total bigint, retry_total bigint)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $frozen_days$
declare
    everything constant boolean := analytics_api.sees_all();
    organizations constant text[] := analytics_api.organizations();
begin
    if not analytics_api.has_days() or not everything and cardinality(organizations) = 0 then
        return;
    end if;
    return query
    select s.trigger_id, s.organization_id, d.day, d.action_type, d.status, d.n, d.timed, d.retried, d.duration_total,
        d.retry_total
    from analytics_refresh.frozen_series s
    join analytics_refresh.frozen_days d on d.series = s.series
    where (everything or s.organization_id = any (organizations))
        and d.day >= frozen_days.since and d.day < frozen_days.until;
end
$frozen_days$;
comment on function analytics_api.frozen_days(timestamp, timestamp) is
    'Frozen days (UTC) of the admitted organizations, under the organization of that time.';
revoke execute on function analytics_api.frozen_days(timestamp, timestamp) from public;

-- name: readable
-- an older `migrate --tenants` made no such functions
select exists (
    select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'analytics_api' and p.proname = 'horizon' and p.pronargs = 0
        and pg_catalog.has_function_privilege(p.oid, 'execute'));

-- name: horizon
select h.frozen_until, h.days_since from analytics_api.horizon() as h;
