-- name: privileges
select
    current_setting('server_version_num')::integer as server_version,
    current_user::text as role,
    has_database_privilege(current_database(), 'CREATE') as creates_schemas,
    app.oid is not null as app_exists,
    coalesce(has_schema_privilege(app.oid, 'USAGE'), false) as uses_app,
    coalesce(has_schema_privilege(app.oid, 'CREATE'), false) as creates_in_app,
    coalesce(pg_has_role(app.nspowner, 'USAGE'), false) as owns_app,
    pg_get_userbyid(app.nspowner)::text as app_owner,
    ours.oid is not null as ours_exists,
    coalesce(pg_has_role(ours.nspowner, 'USAGE'), false) as owns_ours,
    pg_get_userbyid(ours.nspowner)::text as ours_owner,
    coalesce(v.oid is not null, false) as versioned,
    coalesce(has_schema_privilege(ours.oid, 'USAGE') and has_table_privilege(v.oid, 'SELECT')
        and has_table_privilege(i.oid, 'SELECT'), false) as reads_version,
    -- receipts of erasures stay when the rest is dropped
    (select count(*) from pg_class c where c.relnamespace = ours.oid and left(c.relname, 8) <> 'erasures') as relations_in_ours
from (select) one
left join pg_namespace app on app.nspname = %(schema)s
left join pg_namespace ours on ours.nspname = 'analytics_refresh'
left join pg_class v on v.relnamespace = ours.oid and v.relname = 'schema_version'
left join pg_class i on i.relnamespace = ours.oid and i.relname = 'installation';

-- name: actors
-- what this role may do as another, and what that one may do here; SET ROLE asks for the session's role
select
    r.rolname::text as name,
    r.rolname = current_user
        or pg_has_role(r.oid, m.privilege) and pg_has_role(session_user, r.oid, m.privilege) as may_become,
    r.rolsuper as superuser,
    has_database_privilege(r.oid, current_database(), 'CREATE') as creates_schemas,
    coalesce(has_schema_privilege(r.oid, n.oid, 'USAGE'), false) as uses_app,
    coalesce(has_schema_privilege(r.oid, n.oid, 'CREATE'), false) as creates_in_app
from pg_roles r
cross join (
    select case when current_setting('server_version_num')::integer >= 160000 then 'SET' else 'MEMBER' end) m (privilege)
left join pg_namespace n on n.nspname = %(schema)s
where r.rolname = any(%(names)s);

-- name: foreign
-- What would run somebody else's code with the rights of whoever uses our schema: what belongs to another role, what is no
-- table under a table's name, and what a role with less than a table's owner's rights hangs on it. Casts belong to nobody:
-- they come with a type, and the types of our columns are looked at.
with ours as (
    select n.oid from pg_namespace n where n.nspname = 'analytics_refresh'),
accepted as (
    select r.oid from pg_roles r where r.rolname = any(%(accepted)s)),
tables as (
    select c.oid, c.relkind from pg_class c join ours o on o.oid = c.relnamespace where c.relname = any(%(tables)s)),
owned (classid, objid, owner) as (
    select 'pg_namespace'::regclass, n.oid, n.nspowner from pg_namespace n join ours o on o.oid = n.oid
    union all
    select 'pg_class'::regclass, c.oid, c.relowner from pg_class c join ours o on o.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    union all
    select 'pg_type'::regclass, t.oid, t.typowner from pg_type t join ours o on o.oid = t.typnamespace
    where t.typelem = 0 and not exists (select from pg_class c where c.oid = t.typrelid and c.relkind <> 'c')
    union all
    select 'pg_proc'::regclass, p.oid, p.proowner from pg_proc p join ours o on o.oid = p.pronamespace
    union all
    select 'pg_operator'::regclass, p.oid, p.oprowner from pg_operator p join ours o on o.oid = p.oprnamespace
    union all
    select 'pg_opclass'::regclass, p.oid, p.opcowner from pg_opclass p join ours o on o.oid = p.opcnamespace
    union all
    select 'pg_opfamily'::regclass, p.oid, p.opfowner from pg_opfamily p join ours o on o.oid = p.opfnamespace
    union all
    select 'pg_collation'::regclass, p.oid, p.collowner from pg_collation p join ours o on o.oid = p.collnamespace
    union all
    select 'pg_conversion'::regclass, p.oid, p.conowner from pg_conversion p join ours o on o.oid = p.connamespace),
hung (classid, objid) as (
    select 'pg_trigger'::regclass, g.oid
    from pg_trigger g join tables t on t.oid = g.tgrelid join pg_proc p on p.oid = g.tgfoid
    where not g.tgisinternal and p.proowner not in (select a.oid from accepted a)
    union all
    -- a foreign key onto one of ours brings the triggers of the table that has it
    select 'pg_constraint'::regclass, k.oid
    from pg_constraint k join tables t on t.oid = k.confrelid join pg_class c on c.oid = k.conrelid
    where c.relowner not in (select a.oid from accepted a)),
-- defaults, checks, rules, policies, index expressions, and columns that use another's function, operator or type
parts (classid, objid) as (
    select 'pg_rewrite'::regclass, w.oid from pg_rewrite w join tables t on t.oid = w.ev_class
    union all
    select 'pg_policy'::regclass, p.oid from pg_policy p join tables t on t.oid = p.polrelid
    union all
    select 'pg_attrdef'::regclass, d.oid from pg_attrdef d join tables t on t.oid = d.adrelid
    union all
    select 'pg_constraint'::regclass, k.oid from pg_constraint k join tables t on t.oid = k.conrelid
    union all
    select 'pg_class'::regclass, i.indexrelid from pg_index i join tables t on t.oid = i.indrelid
    union all
    select 'pg_class'::regclass, t.oid from tables t),
uses as (
    select d.classid, d.objid, d.objsubid
    from parts a
    join pg_depend d on d.classid = a.classid and d.objid = a.objid
    left join pg_proc p on d.refclassid = 'pg_proc'::regclass and p.oid = d.refobjid
    left join pg_operator o on d.refclassid = 'pg_operator'::regclass and o.oid = d.refobjid
    left join pg_type y on d.refclassid = 'pg_type'::regclass and y.oid = d.refobjid
    where coalesce(p.proowner, o.oprowner, y.typowner) not in (select c.oid from accepted c))
select pg_describe_object(o.classid, o.objid, 0) || ', which belongs to ' || pg_get_userbyid(o.owner) as described
from owned o where o.owner not in (select a.oid from accepted a)
union
select pg_describe_object('pg_class'::regclass, t.oid, 0) || ', which is not a table' from tables t where t.relkind <> 'r'
union
select pg_describe_object(h.classid, h.objid, 0) || ', which runs code of another role' from hung h
union
select pg_describe_object(u.classid, u.objid, u.objsubid) || ', which uses what belongs to another role' from uses u
order by described;

-- name: gifts
-- the commands that give our schema and what is in it to the role %(home)s; what belongs to a table goes with that
select format('alter schema %%I owner to %%I', n.nspname, %(home)s::text) as command, 1 as place
from pg_namespace n where n.nspname = 'analytics_refresh' and pg_get_userbyid(n.nspowner) <> %(home)s
union all
select format('alter %%s %%I.%%I owner to %%I', case c.relkind when 'v' then 'view' when 'm' then 'materialized view'
    when 'S' then 'sequence' else 'table' end, n.nspname, c.relname, %(home)s::text), 2
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'analytics_refresh' and c.relkind in ('r', 'p', 'v', 'm', 'S') and pg_get_userbyid(c.relowner) <> %(home)s
    and not exists (
        select from pg_depend d
        where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i') and d.refobjsubid > 0)
union all
select format('alter routine %%I.%%I(%%s) owner to %%I', n.nspname, p.proname, oidvectortypes(p.proargtypes),
    %(home)s::text), 3
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'analytics_refresh' and pg_get_userbyid(p.proowner) <> %(home)s
order by place, command;

-- name: installed
-- an earlier version has no such column
select i.app_schema, i.mode, (select max(v.version) from analytics_refresh.schema_version v) as version,
    coalesce((to_jsonb(i) ->> 'failures_redacted')::boolean, false) as failures_redacted
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
    (select md5(w.ev_action::text) from pg_rewrite w where w.ev_class = c.oid limit 1) as fingerprint,
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
-- the GRANT commands that give a new view what this one grants, columns included
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

-- name: sibling_grants
-- the GRANT commands that give a view, which was dropped with its grants, what every other of the views that there are grants;
-- of recent_failures, whose rows hold people's data, a role that refreshes may only count the rows
with siblings as (
    select v.oid, v.relacl, v.relowner
    from pg_class v join pg_namespace n on n.oid = v.relnamespace
    where n.nspname = %(schema)s and v.relkind = 'm' and v.relname = any(%(views)s) and v.relname <> %(name)s
        and v.relname <> 'recent_failures'),
shared as (
    select a.grantee, a.privilege_type
    from siblings s, aclexplode(s.relacl) a
    where a.grantee <> s.relowner
    group by a.grantee, a.privilege_type
    having count(distinct s.oid) = (select count(*) from siblings)),
refreshers as (
    select a.grantee
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace, aclexplode(p.proacl) a
    where n.nspname = %(schema)s and p.proname = 'refresh_action_analytics' and p.pronargs = 0 and a.grantee <> 0)
select format('grant %%s on table %%I.%%I to %%s',
    case when %(name)s = 'recent_failures' and s.privilege_type = 'SELECT' then 'select (id)' else lower(s.privilege_type) end,
    %(schema)s::text, %(name)s::text,
    case when s.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(s.grantee)) end) as command
from shared s
where %(name)s <> 'recent_failures' or s.privilege_type = 'MAINTAIN'
    or s.privilege_type = 'SELECT' and s.grantee in (select r.grantee from refreshers r)
order by command;

-- name: function_grants
select format('grant execute on function %%I.%%I(%%s) to %%s%%s', n.nspname, p.proname, oidvectortypes(p.proargtypes),
    case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
    case when a.is_grantable then ' with grant option' else '' end) as command
from pg_proc p join pg_namespace n on n.oid = p.pronamespace, aclexplode(p.proacl) a
where n.nspname = %(schema)s and p.proname = %(name)s and oidvectortypes(p.proargtypes) = %(arguments)s
    and a.grantee <> p.proowner
order by command;

-- name: callers
-- the GRANT commands that let whoever could refresh go on where PUBLIC may not call a function any more
select distinct format('grant execute on function %%I.%%I(%%s) to %%I', n.nspname, %(name)s::text, %(arguments)s::text,
    pg_get_userbyid(g.grantee)) as command
from pg_namespace n
join lateral (
    select a.grantee from pg_proc p, aclexplode(p.proacl) a
    where p.pronamespace = n.oid and p.proname = 'refresh_action_analytics' and p.pronargs = 0
    union all
    select a.grantee from pg_class v, aclexplode(v.relacl) a
    where v.relnamespace = n.oid and v.relname = any(%(views)s) and v.relkind = 'm' and a.privilege_type = 'MAINTAIN'
    union all
    select v.relowner from pg_class v where v.relnamespace = n.oid and v.relname = any(%(views)s) and v.relkind = 'm'
) g on g.grantee <> 0
where n.nspname = %(schema)s
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
