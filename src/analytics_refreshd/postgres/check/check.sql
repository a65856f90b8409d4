-- name: server
select
    current_setting('server_version') as version,
    current_setting('server_version_num')::integer as version_number,
    pg_catalog.pg_is_in_recovery() as in_recovery,
    pg_catalog.clock_timestamp() as server_now,
    current_user::text as role,
    r.rolsuper as superuser,
    r.rolconnlimit as connection_limit,
    pg_catalog.pg_has_role(r.oid, 'pg_read_all_stats', 'usage') as sees_sessions,
    (select pg_catalog.has_schema_privilege(n.oid, 'usage') from pg_catalog.pg_namespace n
     where n.nspname = %(schema)s) as may_use_schema
from pg_catalog.pg_roles r
where r.rolname = current_user;

-- name: views
select c.relname::text as name, c.relkind::text as kind, c.relispopulated as populated, c.relowner as owner_oid,
    -- the rates read columns of this one; of the others rows are counted, for which any column does
    case when c.relname = 'action_metrics_hourly' then pg_catalog.has_table_privilege(c.oid, 'select')
        else pg_catalog.has_any_column_privilege(c.oid, 'select') end as may_select,
    c.oid::bigint as oid,
    array(
        select a.attname::text from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum) as columns,
    -- an integer has ten digits; shares are of a hundred
    array(
        select a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod) from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.atttypmod > 4
            and a.atttypid = 'pg_catalog.numeric'::regtype
            and a.attname not in ('success_rate', 'percentage')
            and ((a.atttypmod - 4) >> 16 & 65535) - ((a.atttypmod - 4) & 2047) < 10
        order by a.attnum) as narrow_columns,
    coalesce((
        select bool_or(i.indisvalid and i.indisready and i.indimmediate and i.indpred is null and i.indexprs is null)
        from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisunique), false) as usable_index,
    array(
        select ic.relname::text from pg_catalog.pg_index i join pg_catalog.pg_class ic on ic.oid = i.indexrelid
        where i.indrelid = c.oid and i.indisunique and i.indpred is not null order by 1) as partial_indexes,
    array(
        select ic.relname::text from pg_catalog.pg_index i join pg_catalog.pg_class ic on ic.oid = i.indexrelid
        where i.indrelid = c.oid and not i.indisvalid order by 1) as invalid_indexes,
    coalesce(s.n_dead_tup, 0) as dead_rows, coalesce(s.n_live_tup, 0) as live_rows
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_stat_all_tables s on s.relid = c.oid
where n.nspname = %(schema)s and c.relname = any (%(views)s) and c.relkind in ('m', 'v', 'r', 'p', 'f');

-- name: autovacuum
-- what holds for each view: its own settings, else the server's
select c.relname::text as view,
    pg_catalog.current_setting('autovacuum')::boolean and coalesce(o.enabled, true) as enabled,
    extract(epoch from pg_catalog.current_setting('autovacuum_naptime')::interval)::float8 as naptime_seconds,
    coalesce(o.threshold, pg_catalog.current_setting('autovacuum_vacuum_threshold')::float8) as threshold,
    coalesce(o.scale_factor, pg_catalog.current_setting('autovacuum_vacuum_scale_factor')::float8) as scale_factor
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join lateral (
    select pg_catalog.max(s.option_value) filter (where s.option_name = 'autovacuum_enabled')::boolean as enabled,
        pg_catalog.max(s.option_value) filter (where s.option_name = 'autovacuum_vacuum_threshold')::float8 as threshold,
        pg_catalog.max(s.option_value) filter (where s.option_name = 'autovacuum_vacuum_scale_factor')::float8
            as scale_factor
    from pg_catalog.pg_options_to_table(c.reloptions) s) o
where n.nspname = %(schema)s and c.relname = any (%(views)s) and c.relkind = 'm';

-- name: functions
select n.nspname::text as schema, p.proname::text as name, p.pronargs as arguments, p.prokind::text as kind,
    p.prosecdef as definer,
    position('search_path=' in coalesce(array_to_string(p.proconfig, ' '), '')) > 0 as path_fixed,
    -- a standard SQL body is no text
    coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc, '') as source, p.proowner as owner_oid,
    pg_catalog.has_function_privilege(p.oid, 'execute') as may_execute,
    array(
        select out_names.name from unnest(p.proargnames, p.proargmodes) as out_names (name, mode)
        where out_names.mode in ('t', 'o', 'b')) as columns
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
join unnest(%(schemas)s::text[], %(names)s::text[], %(counts)s::integer[]) as wanted (schema, name, arguments)
    on wanted.schema = n.nspname and wanted.name = p.proname and wanted.arguments = p.pronargs;

-- name: uncallable
-- functions of our own schema that a function without its owner's rights calls, and this role may not
select p.oid::regprocedure::text as signature
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'analytics_refresh' and pg_catalog.has_schema_privilege(n.oid, 'usage')
    and not pg_catalog.has_function_privilege(p.oid, 'execute')
    and exists (
        select from unnest(%(sources)s::text[]) as calling (source)
        where position('analytics_refresh.' || p.proname || '(' in calling.source) > 0)
order by 1;

-- name: owns
select pg_catalog.pg_has_role(%(role)s::oid, %(owner)s::oid, 'usage');

-- name: maintains
select pg_catalog.has_table_privilege(%(role)s::oid, %(view)s::oid, 'maintain');

-- name: role_oid
select r.oid::bigint, r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user;

-- name: role_is_superuser
select r.rolsuper from pg_catalog.pg_roles r where r.oid = %(role)s::oid;

-- name: role_name
select r.rolname::text from pg_catalog.pg_roles r where r.oid = %(role)s::oid;

-- name: our_schema
select pg_catalog.has_schema_privilege(n.oid, 'usage') from pg_catalog.pg_namespace n
where n.nspname = 'analytics_refresh';

-- name: owners
-- who owns the application's table and our schema, null where there is none
select
    (select pg_catalog.pg_get_userbyid(c.relowner)::text from pg_catalog.pg_class c
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = %(schema)s and c.relname = 'action_results') as tables,
    (select pg_catalog.pg_get_userbyid(n.nspowner)::text from pg_catalog.pg_namespace n
     where n.nspname = 'analytics_refresh') as ours,
    array(
        select distinct pg_catalog.pg_get_userbyid(p.proowner)::text from pg_catalog.pg_proc p
        join pg_catalog.pg_namespace n on n.oid = p.pronamespace
        where n.nspname = %(schema)s and p.proname = 'get_analytics_refresh_status' and p.pronargs = 0) as status,
    array(
        select distinct pg_catalog.pg_get_userbyid(c.relowner)::text from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = %(schema)s and c.relname = any (%(views)s) and c.relkind = 'm') as views;

-- name: superusers
-- the application's table, and our views, that belong to a superuser; whether the role exists that a remedy names
select c.relname::text as relation, c.relkind = 'm' as is_view, r.rolname::text as owner,
    exists (select from pg_catalog.pg_roles o where o.rolname = %(new_owner)s) as new_owner_exists,
    exists (
        select from pg_catalog.pg_proc p join pg_catalog.pg_namespace f on f.oid = p.pronamespace
        where f.nspname = 'analytics_refresh' and p.proname = 'capture_insert') as incremental
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_roles r on r.oid = c.relowner
where n.nspname = %(schema)s and r.rolsuper
    and (c.relname = 'action_results' or c.relname = any (%(views)s) and c.relkind = 'm')
order by is_view, relation;

-- name: our_functions
select n.nspname::text as schema, p.proname::text as name, pg_catalog.oidvectortypes(p.proargtypes) as arguments,
    p.prosecdef as definer, pg_catalog.pg_get_userbyid(p.proowner)::text as owner, r.rolsuper as owner_is_superuser,
    exists (
        select from pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
        where a.grantee = 0 and a.privilege_type = 'EXECUTE') as public_may_call,
    -- ours look who owns it since version 5
    pg_catalog.strpos(p.prosrc, 'analytics_refresh.') > 0 and pg_catalog.strpos(p.prosrc, 'nspowner') = 0
        as trusts_our_name
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
join pg_catalog.pg_roles r on r.oid = p.proowner
where n.nspname = 'analytics_refresh' or (n.nspname = %(schema)s and (p.proname, p.pronargs) in (
    ('refresh_action_analytics_view', 1), ('refresh_action_analytics', 0), ('get_analytics_refresh_status', 0)))
order by 1, 2, 3;

-- name: missing_rights
select wanted.relation, wanted.privilege, c.oid is not null as exists
from unnest(%(relations)s::text[], %(privileges)s::text[]) as wanted (relation, privilege)
left join (pg_catalog.pg_class c join pg_catalog.pg_namespace n
    on n.oid = c.relnamespace and n.nspname = 'analytics_refresh') on c.relname = wanted.relation
where c.oid is null or not pg_catalog.has_table_privilege(c.oid, wanted.privilege)
order by wanted.relation, wanted.privilege;

-- name: schema_version
select coalesce(max(v.version), 0) from analytics_refresh.schema_version v;

-- name: pause
select p.ends_at, p.reason from analytics_refresh.pauses p
where p.ended_at is null and p.starts_at <= pg_catalog.clock_timestamp() and p.ends_at > pg_catalog.clock_timestamp()
order by p.ends_at desc
limit 1;

-- name: verification_overdue
-- three days: the nightly comparison failed more than twice, or nobody set it up
select i.verified_at, i.verified_at is null or i.verified_at < pg_catalog.clock_timestamp() - interval '3 days'
from analytics_refresh.incremental i;

-- name: fold_idle
select i.folded_at from analytics_refresh.incremental i
where i.folded_at < pg_catalog.clock_timestamp() - %(seconds)s * interval '1 second';

-- name: last_results
-- each view's last result in the newest runs, where it failed
select found.view_name, found.finished_at, found.success, found.reason, found.sqlstate, found.error
from (
    select distinct on (v.view_name) v.view_name, r.finished_at, v.success, v.reason, v.sqlstate, v.error
    from ({newest}) r
    join analytics_refresh.view_results v on v.run_id = r.run_id
    where v.view_name = any (%(views)s::text[])
    order by v.view_name, r.started_at desc) as found
where not found.success;

-- name: executed_at_readable
select exists (
    select from pg_catalog.pg_attribute a
    join pg_catalog.pg_class c on c.oid = a.attrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = %(schema)s and c.relname = 'action_results' and a.attname = 'executed_at'
        and pg_catalog.has_schema_privilege(n.oid, 'usage')
        and pg_catalog.has_column_privilege(c.oid, a.attnum, 'select'));

-- name: infinite_times_held
-- whether the triggers' view, or the function that it reads, computes no difference of infinite times
select coalesce(bool_or(found.text ~ 'isfinite'), false) from (
    select pg_catalog.pg_get_viewdef(c.oid) as text
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = %(schema)s and c.relname = 'trigger_performance_summary' and c.relkind = 'm'
    union all
    select p.prosrc
    from pg_catalog.pg_proc p
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'analytics_refresh' and p.proname = 'trigger_performance_summary_rows') as found;

-- name: cron_readable
select exists (
    select from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'cron' and c.relname = 'job'
        and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'select'));

-- name: cron_jobs
select j.jobid, j.schedule, j.command
from cron.job j
where j.active and j.database = pg_catalog.current_database();

-- name: read_by_role
-- by a grant: who owns a table, or may do anything, is no mistake
select c.relname::text as name
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'analytics_refresh' and c.relname = any (%(tables)s) and exists (
    select from pg_catalog.aclexplode(c.relacl) a
    join pg_catalog.pg_roles r on r.oid = a.grantee and r.rolname = current_user
    where a.privilege_type = 'SELECT' and a.grantee <> c.relowner)
order by 1;

-- name: failures_redacted
-- an earlier version has no such column
select coalesce((pg_catalog.to_jsonb(i) operator(pg_catalog.->>) 'failures_redacted')::pg_catalog.bool, false)
from analytics_refresh.installation i;
