-- The second wall: in the schema analytics_api each relation that queries read is a view that shows the admitted organizations
-- only. Which they are comes from outside the query's text: a transaction is admitted by a token that carries them, a proof
-- that its writer knows the secret of the API, and that it was written for this transaction. The role of the API cannot
-- read the secret, so a query may set another token, and sees nothing then.

-- name: tables
create table if not exists analytics_refresh.api_secrets (
    secret_id text constraint api_secrets_pkey primary key,
    inner_key bytea not null constraint api_secrets_inner check (octet_length(inner_key) = 64),
    outer_key bytea not null constraint api_secrets_outer check (octet_length(outer_key) = 64),
    noted_at timestamptz not null default clock_timestamp());
comment on table analytics_refresh.api_secrets is 'What proves that the API admits a transaction: the newest two secrets.';
comment on column analytics_refresh.api_secrets.secret_id is 'Names the secret, and tells nothing of it.';
comment on column analytics_refresh.api_secrets.inner_key is 'The key of the inner hash of HMAC-SHA-256.';
comment on column analytics_refresh.api_secrets.outer_key is 'The key of the outer one.';
comment on column analytics_refresh.api_secrets.noted_at is 'Since when it is good.';
comment on index analytics_refresh.api_secrets_pkey is 'One row per secret.';

-- name: functions
create or replace function analytics_api.admitted() returns jsonb
language sql stable parallel restricted security definer set search_path = pg_catalog, pg_temp
begin atomic
    -- the proof is of this transaction alone: a token that is read cannot be used in another. Hashes of both proofs are
    -- compared, so that the time which that takes tells nothing.
    select case when sha256(convert_to(encode(
            sha256(s.outer_key || sha256(s.inner_key || convert_to(
                pg_backend_pid() || ' ' || (extract(epoch from transaction_timestamp()) * 1000000)::bigint || ' '
                    || t.payload, 'UTF8'))), 'hex'), 'UTF8')) = sha256(convert_to(t.proof, 'UTF8'))
        then t.payload::jsonb end
    from (
        select split_part(c.token, ' ', 1) as secret_id, split_part(c.token, ' ', 2) as proof,
            substr(c.token, length(split_part(c.token, ' ', 1)) + length(split_part(c.token, ' ', 2)) + 3) as payload
        from (select current_setting('analytics_api.token', true) as token) c) t
    join analytics_refresh.api_secrets s on s.secret_id = t.secret_id;
end;
comment on function analytics_api.admitted() is 'What the token of this transaction admits; null without one that is good.';
revoke execute on function analytics_api.admitted() from public;

create or replace function analytics_api.sees_all() returns boolean
language sql stable parallel restricted security definer set search_path = pg_catalog, pg_temp
begin atomic
    select coalesce(analytics_api.admitted() -> 'organizations' = 'null'::jsonb, false);
end;
comment on function analytics_api.sees_all() is 'Whether this transaction sees all organizations.';
revoke execute on function analytics_api.sees_all() from public;

create or replace function analytics_api.organizations() returns text[]
language sql stable parallel restricted security definer set search_path = pg_catalog, pg_temp
begin atomic
    select array(
        select jsonb_array_elements_text(a.organizations)
        from (select analytics_api.admitted() -> 'organizations' as organizations) a
        where jsonb_typeof(a.organizations) = 'array');
end;
comment on function analytics_api.organizations() is 'The organizations that this transaction sees, if not all.';
revoke execute on function analytics_api.organizations() from public;

create or replace function analytics_api.get_analytics_refresh_status()
returns table (view_name text, row_count bigint, size_bytes bigint, last_refresh timestamptz, age_minutes integer)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    -- sizes tell of every tenant
    select s.view_name, case when a.all then s.row_count end, case when a.all then s.size_bytes end, s.last_refresh,
        s.age_minutes
    from (select analytics_api.sees_all() as all, analytics_api.admitted() is not null as admitted) a
    cross join {app}.get_analytics_refresh_status() s
    where a.admitted;
end;
comment on function analytics_api.get_analytics_refresh_status() is 'How fresh the views are; their sizes for who sees all.';
revoke execute on function analytics_api.get_analytics_refresh_status() from public;

-- name: members
create or replace function analytics_api.memberships()
returns table (kept boolean, organization_id text, role text, plan text)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select true, m.organization_id::text, m.role::text, o.plan::text
    from (select) one
    left join {app}.organization_members m on m.user_id::text = analytics_api.admitted() ->> 'user'
    left join {app}.organizations o on o.id = m.organization_id;
end;

-- name: owners
create or replace function analytics_api.memberships()
returns table (kept boolean, organization_id text, role text, plan text)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select false, o.id::text, 'owner', o.plan::text
    from (select) one
    left join {app}.organizations o on o.owner_id::text = analytics_api.admitted() ->> 'user';
end;

-- name: memberships_comment
comment on function analytics_api.memberships() is
    'The organizations of the user that this transaction is admitted for; one row without an organization for none.';
revoke execute on function analytics_api.memberships() from public;

create or replace function analytics_api.last_successes() returns table (view_name text, at timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select r.view_name, greatest(r.last_success_at, r.last_checked_at) from analytics_refresh.last_refresh r;
end;
comment on function analytics_api.last_successes() is 'When each view was last refreshed.';
revoke execute on function analytics_api.last_successes() from public;

-- name: views
create or replace view analytics_api.organizations with (security_barrier = true) as
    select o.id, o.name, o.slug, o.plan
    from {app}.organizations o
    where (select analytics_api.sees_all()) or o.id = any ((select analytics_api.organizations())::text[]);
comment on view analytics_api.organizations is 'The admitted organizations.';

create or replace view analytics_api.triggers with (security_barrier = true) as
    select t.id, t.organization_id, t.name, t.enabled, t.created_at
    from {app}.triggers t
    where (select analytics_api.sees_all()) or t.organization_id = any ((select analytics_api.organizations())::text[]);
comment on view analytics_api.triggers is 'Triggers of the admitted organizations.';

create or replace view analytics_api.action_results with (security_barrier = true) as
    select a.id, a.job_id, a.trigger_id, a.event_id, a.action_type, a.status, a.executed_at, a.duration_ms,
        a.error_message, null::jsonb as response_data, a.retry_count
    from {app}.action_results a
    where (select analytics_api.sees_all()) or a.trigger_id in (
        select t.id from {app}.triggers t
        where t.organization_id = any ((select analytics_api.organizations())::text[]));
comment on view analytics_api.action_results is 'Actions of the admitted organizations, without the answers of others.';

create or replace view analytics_api.recent_failures with (security_barrier = true) as
    select f.id, f.job_id, f.trigger_id, f.event_id, f.action_type, f.error_message, f.retry_count, f.executed_at,
        f.duration_ms, null::jsonb as response_data
    from {app}.recent_failures f
    where (select analytics_api.sees_all()) or f.trigger_id in (
        select t.id from {app}.triggers t
        where t.organization_id = any ((select analytics_api.organizations())::text[]));
comment on view analytics_api.recent_failures is 'Failures of the admitted organizations, without the answers of others.';

create or replace view analytics_api.trigger_performance_summary with (security_barrier = true) as
    select s.trigger_id, s.total_executions, s.success_count, s.failure_count, s.retrying_count, s.success_rate,
        s.avg_duration_ms, s.min_duration_ms, s.max_duration_ms, s.p50_duration_ms, s.p95_duration_ms, s.p99_duration_ms,
        s.total_retries, s.avg_retries, s.max_retries, s.last_execution_at, s.first_execution_at, s.hours_active
    from {app}.trigger_performance_summary s
    where (select analytics_api.sees_all()) or s.trigger_id in (
        select t.id from {app}.triggers t
        where t.organization_id = any ((select analytics_api.organizations())::text[]));
comment on view analytics_api.trigger_performance_summary is 'Triggers of the admitted organizations.';

create or replace view analytics_api.action_metrics_hourly with (security_barrier = true) as
    select h.hour, h.action_type, h.status, h.execution_count, h.avg_duration_ms, h.min_duration_ms, h.max_duration_ms,
        h.p50_duration_ms, h.p95_duration_ms, h.p99_duration_ms, h.success_count, h.failure_count, h.retrying_count,
        h.total_retries, h.actions_with_retries
    from {app}.action_metrics_hourly h
    where (select analytics_api.sees_all());
comment on view analytics_api.action_metrics_hourly is 'Figures of all organizations together, for who sees all.';

create or replace view analytics_api.action_type_distribution with (security_barrier = true) as
    select d.action_type, d.total_executions, d.success_count, d.failure_count, d.percentage, d.avg_duration_ms,
        d.total_retries, d.last_execution_at
    from {app}.action_type_distribution d
    where (select analytics_api.sees_all());
comment on view analytics_api.action_type_distribution is 'Figures of all organizations together, for who sees all.';

-- name: note_secret
with noted as (
    insert into analytics_refresh.api_secrets (secret_id, inner_key, outer_key)
    values (%(secret_id)s, %(inner_key)s, %(outer_key)s)
    on conflict (secret_id) do nothing
    returning noted_at),
-- the one before stays good until every process has the new one
dropped as (
    delete from analytics_refresh.api_secrets s
    where exists (select from noted) and s.secret_id <> %(secret_id)s and s.secret_id not in (
        select o.secret_id from analytics_refresh.api_secrets o where o.secret_id <> %(secret_id)s
        order by o.noted_at desc limit 1))
select exists (select from noted);

-- name: secret_noted
select exists (select from analytics_refresh.api_secrets);

-- name: transaction
select pg_catalog.pg_backend_pid() || ' '
    || (extract(epoch from pg_catalog.transaction_timestamp()) * 1000000)::pg_catalog.int8;

-- name: admit
select pg_catalog.set_config('analytics_api.token', %(token)s, true);

-- name: memberships
select m.kept, m.organization_id, m.role, m.plan from analytics_api.memberships() m;
