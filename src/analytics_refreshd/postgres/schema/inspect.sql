-- name: privileges
select
    current_setting('server_version_num')::integer as server_version,
    current_user::text as role,
    has_database_privilege(current_database(), 'CREATE') as creates_schemas,
    app.oid is not null as app_exists,
    coalesce(has_schema_privilege(app.oid, 'USAGE'), false) as uses_app,
    coalesce(has_schema_privilege(app.oid, 'CREATE'), false) as creates_in_app,
    pg_get_userbyid(app.nspowner)::text as app_owner,
    ours.oid is not null as ours_exists,
    coalesce(pg_has_role(ours.nspowner, 'USAGE'), false) as owns_ours,
    pg_get_userbyid(ours.nspowner)::text as ours_owner,
    coalesce(v.oid is not null, false) as versioned,
    coalesce(has_schema_privilege(ours.oid, 'USAGE') and has_table_privilege(v.oid, 'SELECT')
        and has_table_privilege(i.oid, 'SELECT'), false) as reads_version,
    (select count(*) from pg_class c where c.relnamespace = ours.oid) as relations_in_ours
from (select) one
left join pg_namespace app on app.nspname = %(schema)s
left join pg_namespace ours on ours.nspname = 'analytics_refresh'
left join pg_class v on v.relnamespace = ours.oid and v.relname = 'schema_version'
left join pg_class i on i.relnamespace = ours.oid and i.relname = 'installation';

-- name: installed
select i.app_schema, i.mode, (select max(v.version) from analytics_refresh.schema_version v) as version
from analytics_refresh.installation i;

-- name: source
select
    coalesce(has_table_privilege(c.oid, 'SELECT'), false) as readable,
    pg_get_userbyid(c.relowner)::text as owner,
    array(
        select w.name from unnest(%(columns)s::text[]) as w (name)
        where not exists (
            select from pg_attribute a where a.attrelid = c.oid and a.attname = w.name and not a.attisdropped)
    ) as missing
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and c.relname = 'action_results';

-- name: views
select
    c.relname::text as name,
    c.relkind::text as kind,
    pg_get_userbyid(c.relowner)::text as owner,
    pg_has_role(c.relowner, 'USAGE') as owned,
    c.relispopulated as populated,
    obj_description(c.oid, 'pg_class') is not null as commented,
    case when c.relkind = 'm' then pg_get_viewdef(c.oid) else '' end as definition,
    array(
        select format('%%s %%s', a.attname, format_type(a.atttypid, a.atttypmod))
        from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        order by a.attnum) as columns
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and c.relname = any(%(names)s);

-- name: indexes
-- as they would be created on a view of the same name in the schema %(target)s
select
    i.relname::text as name,
    t.relname::text as view_name,
    x.indisvalid as valid,
    replace(
        pg_get_indexdef(i.oid), format(' ON %%I.%%I USING ', n.nspname, t.relname),
        format(' ON %%I.%%I USING ', %(target)s::text, t.relname)) as definition
from pg_index x
join pg_class i on i.oid = x.indexrelid
join pg_class t on t.oid = x.indrelid
join pg_namespace n on n.oid = t.relnamespace
where n.nspname = %(schema)s and t.relname = any(%(names)s) and t.relkind = 'm'
order by i.relname;

-- name: functions
select
    p.proname::text as name,
    oidvectortypes(p.proargtypes) as arguments,
    pg_get_userbyid(p.proowner)::text as owner,
    pg_has_role(p.proowner, 'USAGE') as owned,
    obj_description(p.oid, 'pg_proc') is not null as commented,
    p.prosecdef as definer,
    exists (
        select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0
    ) as public_may_call,
    jsonb_build_array(p.prokind, p.proretset, p.prorettype::regtype, p.proallargtypes::regtype[], p.proargmodes,
        p.proargnames)::text as signature,
    jsonb_build_array(p.prosrc, p.prosecdef, p.proconfig, p.provolatile, p.prorows, p.proisstrict, l.lanname)::text
        as body
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
join pg_language l on l.oid = p.prolang
where n.nspname = %(schema)s and p.proname = any(%(names)s);

-- name: view_dependents
select distinct
    case when w.oid is null then pg_describe_object(d.classid, d.objid, d.objsubid)
    else pg_describe_object('pg_class'::regclass, w.ev_class, 0) end as dependent
from pg_class v
join pg_namespace n on n.oid = v.relnamespace
join pg_type t on t.oid = v.reltype
join pg_depend d on d.deptype = 'n' and (
    d.refclassid = 'pg_class'::regclass and d.refobjid = v.oid
    or d.refclassid = 'pg_type'::regclass and d.refobjid in (t.oid, t.typarray))
left join pg_rewrite w on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid
where n.nspname = %(schema)s and v.relname = %(name)s and w.ev_class is distinct from v.oid
order by dependent;

-- name: function_dependents
select distinct
    case when w.oid is null then pg_describe_object(d.classid, d.objid, d.objsubid)
    else pg_describe_object('pg_class'::regclass, w.ev_class, 0) end as dependent
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
join pg_depend d on d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid and d.deptype in ('n', 'a')
left join pg_rewrite w on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid
where n.nspname = %(schema)s and p.proname = %(name)s and oidvectortypes(p.proargtypes) = %(arguments)s
order by dependent;

-- name: view_grants
-- the GRANT commands that give a view created anew what this one grants, columns included
select format('grant %%s on table %%I.%%I to %%s%%s', a.privilege_type, n.nspname, v.relname,
    case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
    case when a.is_grantable then ' with grant option' else '' end) as command
from pg_class v join pg_namespace n on n.oid = v.relnamespace, aclexplode(v.relacl) a
where n.nspname = %(schema)s and v.relname = %(name)s and a.grantee <> v.relowner
union all
select format('grant %%s (%%I) on table %%I.%%I to %%s%%s', a.privilege_type, c.attname, n.nspname, v.relname,
    case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
    case when a.is_grantable then ' with grant option' else '' end)
from pg_class v join pg_namespace n on n.oid = v.relnamespace
join pg_attribute c on c.attrelid = v.oid, aclexplode(c.attacl) a
where n.nspname = %(schema)s and v.relname = %(name)s and a.grantee <> v.relowner
order by command;

-- name: function_grants
select format('grant execute on function %%I.%%I(%%s) to %%s%%s', n.nspname, p.proname, oidvectortypes(p.proargtypes),
    case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
    case when a.is_grantable then ' with grant option' else '' end) as command
from pg_proc p join pg_namespace n on n.oid = p.pronamespace, aclexplode(p.proacl) a
where n.nspname = %(schema)s and p.proname = %(name)s and oidvectortypes(p.proargtypes) = %(arguments)s
    and a.grantee <> p.proowner
order by command;

-- name: may_record
select has_schema_privilege(%(role)s, 'analytics_refresh', 'USAGE')
    and has_table_privilege(%(role)s, 'analytics_refresh.last_refresh', 'SELECT')
    and has_table_privilege(%(role)s, 'analytics_refresh.last_refresh', 'INSERT')
    and has_table_privilege(%(role)s, 'analytics_refresh.last_refresh', 'UPDATE') as may_record;

-- name: outside_dependents
-- what a person hung on our schema, and what a person put into it
select distinct
    case when w.oid is null then pg_describe_object(d.classid, d.objid, d.objsubid)
    else pg_describe_object('pg_class'::regclass, w.ev_class, 0) end as dependent
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid and d.deptype = 'n'
left join pg_rewrite w on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid
left join pg_class o on o.oid = coalesce(w.ev_class, case when d.classid = 'pg_class'::regclass then d.objid end)
left join pg_constraint k on d.classid = 'pg_constraint'::regclass and k.oid = d.objid
where n.nspname = 'analytics_refresh'
    and coalesce(o.relnamespace, k.connamespace, 0) <> n.oid
    and d.classid in ('pg_rewrite'::regclass, 'pg_class'::regclass, 'pg_constraint'::regclass, 'pg_proc'::regclass)
union
select pg_describe_object('pg_class'::regclass, c.oid, 0)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'analytics_refresh' and c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relname <> all(%(ours)s)
order by dependent;
