-- What hangs on the four views, and the commands that drop it and create it again as it was.

-- name: dependents
-- Every object that goes with a view, the farthest first. `keepable`: it can be created again exactly as it is.
with recursive hung (classid, objid, depth) as (
    select 'pg_class'::regclass::oid, v.oid, 0
    from pg_class v join pg_namespace n on n.oid = v.relnamespace
    where n.nspname = %(schema)s and v.relname = any(%(names)s) and v.relkind = 'm'
    union
    select x.classid, x.objid, h.depth + 1
    from hung h
    cross join lateral (
        select distinct case when w.oid is null then d.classid else 'pg_class'::regclass::oid end as classid,
            coalesce(w.ev_class, d.objid) as objid
        from pg_depend d
        left join pg_rewrite w on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid
        where d.deptype = 'n' and (
                d.refclassid = h.classid and d.refobjid = h.objid
                or h.classid = 'pg_class'::regclass and d.refclassid = 'pg_type'::regclass and d.refobjid in (
                    select t.oid from pg_type t where t.typrelid = h.objid
                    union all
                    select t.typarray from pg_type t where t.typrelid = h.objid))
            and (coalesce(w.ev_class, d.objid) <> h.objid or d.classid = 'pg_proc'::regclass)) x
    where h.depth < 40),
placed as (
    select h.classid, h.objid, max(h.depth) as depth from hung h where h.depth > 0 group by h.classid, h.objid)
select pg_describe_object(p.classid, p.objid, 0) as described,
    coalesce(pg_get_userbyid(coalesce(c.relowner, f.proowner))::text, '') as owner,
    coalesce(n.nspname::text, '') as schema,
    array(
        select r.needed from unnest(array['CREATE', 'USAGE']) r (needed)
        where n.oid is not null and not has_schema_privilege(coalesce(c.relowner, f.proowner), n.oid, r.needed)) as lacking,
    coalesce(
        -- a trigger or a further rule on a view is its user's own work, and is not written down here
        c.relkind in ('v', 'm') and not c.relhastriggers and (
            select count(*) from pg_rewrite r where r.ev_class = c.oid) = 1
        or f.prokind in ('f', 'p'), false) as keepable,
    case when c.oid is not null
        then format('drop %%s %%I.%%I', case c.relkind when 'm' then 'materialized view' else 'view' end, n.nspname, c.relname)
        else format('drop routine %%I.%%I(%%s)', n.nspname, f.proname, oidvectortypes(f.proargtypes)) end as drops,
    case when c.oid is not null
        then format('create %%s %%I.%%I%%s%%s as %%s%%s',
            case c.relkind when 'm' then 'materialized view' else 'view' end, n.nspname, c.relname,
            ' with (' || array_to_string(c.reloptions, ', ') || ')',
            (select format(' tablespace %%I', s.spcname) from pg_tablespace s where s.oid = c.reltablespace),
            rtrim(pg_get_viewdef(c.oid), ';'), case c.relkind when 'm' then ' with no data' else '' end)
        else pg_get_functiondef(f.oid) end as creates,
    array(
        select pg_get_indexdef(i.indexrelid) from pg_index i where i.indrelid = c.oid and i.indisvalid order by i.indexrelid)
    || array(
        select format('alter materialized view %%I.%%I alter column %%I set statistics %%s', n.nspname, c.relname, a.attname,
            a.attstattarget)
        from pg_attribute a
        where a.attrelid = c.oid and c.relkind = 'm' and a.attnum > 0 and coalesce(a.attstattarget, -1) >= 0)
    || array(select pg_get_statisticsobjdef(s.oid) from pg_statistic_ext s where s.stxrelid = c.oid)
    || array(
        select format('comment on %%s %%I.%%I is %%L', case c.relkind when 'm' then 'materialized view' else 'view' end,
            n.nspname, c.relname, t.description)
        from pg_description t where t.classoid = 'pg_class'::regclass and t.objoid = c.oid and t.objsubid = 0)
    || array(
        select format('comment on column %%I.%%I.%%I is %%L', n.nspname, c.relname, a.attname, t.description)
        from pg_attribute a
        join pg_description t on t.classoid = 'pg_class'::regclass and t.objoid = c.oid and t.objsubid = a.attnum
        where a.attrelid = c.oid and a.attnum > 0)
    || array(
        select format('comment on index %%I.%%I is %%L', n.nspname, ic.relname, t.description)
        from pg_index i join pg_class ic on ic.oid = i.indexrelid
        join pg_description t on t.classoid = 'pg_class'::regclass and t.objoid = ic.oid and t.objsubid = 0
        where i.indrelid = c.oid)
    || array(
        select format('comment on routine %%I.%%I(%%s) is %%L', n.nspname, f.proname, oidvectortypes(f.proargtypes),
            t.description)
        from pg_description t where t.classoid = 'pg_proc'::regclass and t.objoid = f.oid)
    -- default privileges may have given the new one what this one did not give
    || array(
        select format('revoke all on %%s from %%s',
            case when c.oid is not null then format('table %%I.%%I', n.nspname, c.relname)
                else format('routine %%I.%%I(%%s)', n.nspname, f.proname, oidvectortypes(f.proargtypes)) end,
            case when g.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end)
        from (
            select a.grantee from pg_default_acl d, aclexplode(d.defaclacl) a
            where d.defaclobjtype = case when c.oid is not null then 'r' else 'f' end and a.grantee <> d.defaclrole
            union
            select 0 where f.oid is not null) g
        order by g.grantee)
    || array(
        select format('grant %%s on %%s to %%s%%s', a.privilege_type,
            case when c.oid is not null then format('table %%I.%%I', n.nspname, c.relname)
                else format('routine %%I.%%I(%%s)', n.nspname, f.proname, oidvectortypes(f.proargtypes)) end,
            case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
            case when a.is_grantable then ' with grant option' else '' end)
        from aclexplode(coalesce(c.relacl, f.proacl, acldefault('f', f.proowner))) a where a.grantee <> coalesce(c.relowner, f.proowner) order by 1)
    || array(
        select format('grant %%s (%%I) on table %%I.%%I to %%s%%s', a.privilege_type, t.attname, n.nspname, c.relname,
            case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
            case when a.is_grantable then ' with grant option' else '' end)
        from pg_attribute t, aclexplode(t.attacl) a
        where t.attrelid = c.oid and t.attnum > 0 and a.grantee <> c.relowner order by 1) as finishes,
    case when c.relkind = 'm' and c.relispopulated
        then format('refresh materialized view %%I.%%I', n.nspname, c.relname) else '' end as fills
from placed p
left join pg_class c on p.classid = 'pg_class'::regclass and c.oid = p.objid
left join pg_proc f on p.classid = 'pg_proc'::regclass and f.oid = p.objid
left join pg_namespace n on n.oid = coalesce(c.relnamespace, f.pronamespace)
order by p.depth desc, described;

-- name: view_comments
-- the commands that copy the comments of this view, its columns and its indexes to the new one
select format('comment on materialized view %%I.%%I is %%L', %(target)s::text, v.relname, d.description)
from pg_class v
join pg_description d on d.classoid = 'pg_class'::regclass and d.objoid = v.oid and d.objsubid = 0
where v.oid = to_regclass(%(view)s)
union all
select format('comment on column %%I.%%I.%%I is %%L', %(target)s::text, v.relname, a.attname, d.description)
from pg_class v
join pg_attribute a on a.attrelid = v.oid and a.attnum > 0
join pg_description d on d.classoid = 'pg_class'::regclass and d.objoid = v.oid and d.objsubid = a.attnum
where v.oid = to_regclass(%(view)s) and a.attname = any(%(columns)s)
union all
select format('comment on index %%I.%%I is %%L', %(target)s::text, i.relname, d.description)
from pg_index x
join pg_class i on i.oid = x.indexrelid
join pg_description d on d.classoid = 'pg_class'::regclass and d.objoid = i.oid and d.objsubid = 0
where x.indrelid = to_regclass(%(view)s) and x.indisvalid;

-- name: view_storage
-- the commands that give the new view this one's storage, before it is filled
select format('alter materialized view %%I.%%I set (%%s)', %(target)s::text, v.relname, array_to_string(v.reloptions, ', '))
from pg_class v where v.oid = to_regclass(%(view)s) and v.reloptions is not null
union all
select format('alter materialized view %%I.%%I set tablespace %%I', %(target)s::text, v.relname, t.spcname)
from pg_class v join pg_tablespace t on t.oid = v.reltablespace where v.oid = to_regclass(%(view)s)
union all
select format('alter materialized view %%I.%%I alter column %%I set statistics %%s', %(target)s::text, v.relname,
    a.attname, a.attstattarget)
from pg_class v join pg_attribute a on a.attrelid = v.oid and a.attnum > 0
where v.oid = to_regclass(%(view)s) and coalesce(a.attstattarget, -1) >= 0;

-- name: view_statistics
select pg_get_statisticsobjdef(s.oid) from pg_statistic_ext s
where s.stxrelid = to_regclass(%(view)s)
order by s.oid;

-- name: lend
grant {privileges} on schema {schema} to {role};

-- name: end_lending
revoke {privileges} on schema {schema} from {role};

-- name: bodies_as_they_are
-- names in the text of a function belong to its callers' search_path, and not to this session's
set local check_function_bodies = off;

-- name: default_grants
-- the commands that take from the new view what default privileges gave it, before the old one's grants are given
select format('revoke all on table %%s from %%s', %(view)s::text,
    case when g.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end)
from (
    select distinct a.grantee from pg_default_acl d, aclexplode(d.defaclacl) a
    where d.defaclobjtype = 'r' and a.grantee <> d.defaclrole) g
order by g.grantee;
