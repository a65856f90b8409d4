-- What the API needs in the database, created by `migrate --tenants` alone. The schema analytics_api is the only one that the
-- API's role may use. Functions there act as their owner, and are bound to what they name when they are created: whoever puts
-- something of that name in its place later is not called.

-- name: create_schema
create schema if not exists analytics_api authorization {home};

-- name: tables
create table if not exists analytics_refresh.api_keys (
    key_id text constraint api_keys_pkey primary key,
    key_hash bytea not null constraint api_keys_hash unique
        constraint api_keys_hash_sha256 check (octet_length(key_hash) = 32),
    name text not null constraint api_keys_named check (btrim(name) <> ''),
    organizations text[] constraint api_keys_some check (cardinality(organizations) > 0),
    role text not null constraint api_keys_role check (role in ('owner', 'admin', 'member', 'viewer')),
    plan text constraint api_keys_plan check (plan in ('free', 'starter', 'pro', 'enterprise')),
    operator boolean not null default false,
    created_at timestamptz not null default clock_timestamp(),
    created_by text not null default session_user,
    expires_at timestamptz,
    revoked_at timestamptz,
    revoked_by text,
    last_used_at timestamptz);
comment on table analytics_refresh.api_keys is 'The keys of the API, written by `keys`; never a key itself.';
comment on column analytics_refresh.api_keys.key_id is 'Names the key in lists, logs and limits.';
comment on column analytics_refresh.api_keys.key_hash is 'SHA-256 of the key.';
comment on column analytics_refresh.api_keys.name is 'Whose or what for, as the person said.';
comment on column analytics_refresh.api_keys.organizations is 'The organizations that it sees; null: all.';
comment on column analytics_refresh.api_keys.role is 'As in organization_members.';
comment on column analytics_refresh.api_keys.plan is 'By which its limits go; null: the plan of the organization.';
comment on column analytics_refresh.api_keys.operator is 'Whether it may ask for refreshes and pauses.';
comment on column analytics_refresh.api_keys.created_at is 'When it was made.';
comment on column analytics_refresh.api_keys.created_by is 'The database role that made it.';
comment on column analytics_refresh.api_keys.expires_at is 'From when on it is refused; null: never.';
comment on column analytics_refresh.api_keys.revoked_at is 'Since when it is refused.';
comment on column analytics_refresh.api_keys.revoked_by is 'The database role that revoked it.';
comment on column analytics_refresh.api_keys.last_used_at is 'Its last use, written at most once a minute.';
comment on index analytics_refresh.api_keys_pkey is 'One row per key.';
comment on index analytics_refresh.api_keys_hash is 'Finds a key.';

-- name: functions
create or replace function analytics_api.find_key(hash bytea)
returns table (key_id text, name text, organizations text[], role text, plan text, operator boolean,
    created_at timestamptz, created_by text, expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select k.key_id, k.name, k.organizations, k.role,
        coalesce(k.plan, case when cardinality(k.organizations) = 1 then (
            select o.plan::text from {app}.organizations o where o.id = k.organizations[1]) end),
        k.operator, k.created_at, k.created_by, k.expires_at,
        k.revoked_at, k.last_used_at
    from analytics_refresh.api_keys k
    where k.key_hash = find_key.hash;
end;
comment on function analytics_api.find_key(bytea) is 'The key of this SHA-256: who has no key learns of none.';
revoke execute on function analytics_api.find_key(bytea) from public;
create or replace function analytics_api.note_use(hash bytea) returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    -- a revocation under way is not waited for
    update analytics_refresh.api_keys k set last_used_at = clock_timestamp()
    where k.key_id = (
        select o.key_id from analytics_refresh.api_keys o
        where o.key_hash = note_use.hash
            and (o.last_used_at is null or o.last_used_at < clock_timestamp() - interval '1 minute')
        for update skip locked);
end;
comment on function analytics_api.note_use(bytea) is 'Notes that the key of this SHA-256 was used, at most once a minute.';
revoke execute on function analytics_api.note_use(bytea) from public;
create or replace function analytics_api.request(kind text, actor text, reason text, "for" interval) returns uuid
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    select analytics_refresh.request(request.kind, request.actor, request.reason, request."for");
end;
comment on function analytics_api.request(text, text, text, interval) is
    'Asks the leader for a refresh, a pause or its end, within the bounds of analytics_refresh.request().';
revoke execute on function analytics_api.request(text, text, text, interval) from public;
create or replace function analytics_api.request_state(id uuid)
returns table (request_id uuid, kind text, actor text, reason text, pause_for interval, requested_at timestamptz,
    expires_at timestamptz, state text, run_id uuid, joined boolean, ended_at timestamptz, outcome text, detail text,
    paused_until timestamptz, pauses_ended integer, led boolean)
language sql volatile security definer rows 1 set search_path = pg_catalog, pg_temp
begin atomic
    select s.* from analytics_refresh.request_state(request_state.id) s;
end;
comment on function analytics_api.request_state(uuid) is 'What became of the request of this id.';
revoke execute on function analytics_api.request_state(uuid) from public;

-- name: grants
create or replace function analytics_api.allow(api_role text) returns void
language plpgsql volatile security invoker set search_path = pg_catalog, pg_temp
as $allow$
begin
    execute format('grant usage on schema analytics_api to %I', api_role);
    execute format('grant execute on function analytics_api.find_key(bytea), analytics_api.note_use(bytea) to %I', api_role);
    execute format('grant execute on function analytics_api.request(text, text, text, interval) to %I', api_role);
    execute format('grant execute on function analytics_api.request_state(uuid) to %I', api_role);
    execute format('grant execute on function analytics_api.keep_question(text, text, text, text), '
        'analytics_api.replace_question(uuid, text, text, text), analytics_api.remove_question(uuid) to %I', api_role);
    -- the views call these as who reads
    execute format('grant execute on function analytics_api.sees_all(), analytics_api.organizations() to %I', api_role);
    execute format('grant execute on function analytics_api.memberships() to %I', api_role);
    execute format('grant execute on function analytics_api.get_analytics_refresh_status() to %I', api_role);
    execute format('grant execute on function analytics_api.last_successes() to %I', api_role);
    execute format('grant execute on function analytics_api.fold_marker(), analytics_api.last_runs(), '
        'analytics_api.last_cost(), analytics_api.run_days(timestamptz), analytics_api.database_sizes(), '
        'analytics_api.firing_alerts(), analytics_api.waiting_hours(timestamptz, timestamptz), '
        'analytics_api.folded_hours(timestamptz, timestamptz) to %I', api_role);
    execute format('grant execute on function analytics_api.horizon(), analytics_api.frozen_days(timestamp, timestamp) '
        'to %I', api_role);
    -- all of them are views that show what is admitted
    execute format('grant select on all tables in schema analytics_api to %I', api_role);
end
$allow$;
comment on function analytics_api.allow(text) is 'Lets a role serve the API; deploy/sql/api.sql calls it.';
revoke execute on function analytics_api.allow(text) from public;
do $grants$
declare
    allowed text;
begin
    -- what is created again is granted again
    for allowed in
        select distinct pg_get_userbyid(a.grantee)
        from pg_namespace n, aclexplode(n.nspacl) a
        where n.nspname = 'analytics_api' and a.privilege_type = 'USAGE' and a.grantee not in (0, n.nspowner)
    loop
        perform analytics_api.allow(allowed);
    end loop;
end
$grants$;

-- name: note
-- in no table, which a publication of all tables would send
comment on schema analytics_api is {comment};

-- name: found
-- by the catalogue alone: what belongs to others here is not read, and must not be created over
select
    exists (select from pg_namespace n where n.nspname = 'analytics_api') as present,
    (select obj_description(n.oid, 'pg_namespace') from pg_namespace n where n.nspname = 'analytics_api') as comment,
    exists (
        select from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = %(schema)s and c.relname = 'organization_members' and c.relkind in ('r', 'p', 'v')) as members,
    array(
        select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'analytics_api' and c.relkind = 'v'
        union all
        select p.proname::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname = 'analytics_api') as names,
    array(
        select 'schema analytics_api, which belongs to ' || pg_get_userbyid(n.nspowner)
        from pg_namespace n where n.nspname = 'analytics_api' and pg_get_userbyid(n.nspowner) <> %(home)s
        union all
        select pg_describe_object('pg_class'::regclass, c.oid, 0) || ', which belongs to ' || pg_get_userbyid(c.relowner)
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'analytics_api' and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
            and pg_get_userbyid(c.relowner) <> %(home)s
        union all
        select pg_describe_object('pg_proc'::regclass, p.oid, 0) || ', which belongs to ' || pg_get_userbyid(p.proowner)
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname = 'analytics_api' and pg_get_userbyid(p.proowner) <> %(home)s) as foreign_objects,
    -- what is renamed is read on, and what takes its name is not
    array(
        select distinct coalesce(v.relname, f.proname)::text
        from pg_depend d
        join pg_class r on d.refclassid = 'pg_class'::regclass and r.oid = d.refobjid
        join pg_namespace s on s.oid = r.relnamespace
        left join pg_rewrite w on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid
        left join pg_class v on v.oid = w.ev_class
        left join pg_proc f on d.classid = 'pg_proc'::regclass and f.oid = d.objid
        join pg_namespace n on n.oid = coalesce(v.relnamespace, f.pronamespace) and n.nspname = 'analytics_api'
        where s.nspname not in ('analytics_api', 'analytics_refresh', 'pg_catalog') and not (s.nspname = %(schema)s
            and r.relname in ('organizations', 'organization_members', 'triggers', 'action_results', 'recent_failures',
                'trigger_performance_summary', 'action_metrics_hourly', 'action_type_distribution'))) as misled;

-- name: dependents
-- what others hung on it: it would go with the schema
select distinct
    case when w.oid is null then pg_describe_object(d.classid, d.objid, d.objsubid)
    else pg_describe_object('pg_class'::regclass, w.ev_class, 0) end as dependent
from pg_depend d
left join pg_rewrite w on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid
left join pg_class o on o.oid = coalesce(w.ev_class, case when d.classid = 'pg_class'::regclass then d.objid end)
left join pg_proc f on d.classid = 'pg_proc'::regclass and f.oid = d.objid
join pg_namespace n on n.nspname = 'analytics_api'
where d.deptype = 'n' and coalesce(o.relnamespace, f.pronamespace, 0) <> n.oid
    and d.classid in ('pg_rewrite'::regclass, 'pg_class'::regclass, 'pg_proc'::regclass)
    and (d.refclassid = 'pg_class'::regclass and d.refobjid in (
            select c.oid from pg_class c where c.relnamespace = n.oid)
        or d.refclassid = 'pg_proc'::regclass and d.refobjid in (
            select p.oid from pg_proc p where p.pronamespace = n.oid))
order by dependent;

-- name: drop
drop schema analytics_api cascade;
