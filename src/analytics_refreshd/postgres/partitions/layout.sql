-- How action_results is laid out, by the catalogs alone.

-- name: table
select clock_timestamp(), current_database()::text, c.relkind::text, pg_get_userbyid(c.relowner)::text,
    case when c.relkind = 'p' then pg_get_partkeydef(c.oid) end,
    (select format_type(a.atttypid, null) from pg_attribute a
        where a.attrelid = c.oid and a.attname = 'executed_at' and not a.attisdropped),
    greatest(c.reltuples, 0)::int8, pg_has_role(c.relowner, 'USAGE'),
    (select x.extversion || ' ' || n.nspname from pg_extension x join pg_namespace n on n.oid = x.extnamespace
        where x.extname = 'pg_partman')
from pg_class c where c.oid = to_regclass(%(table)s);

-- name: partitions
select n.nspname::text, c.relname::text, pg_get_expr(c.relpartbound, c.oid), greatest(c.reltuples, 0)::int8
from pg_inherits i
join pg_class c on c.oid = i.inhrelid
join pg_namespace n on n.oid = c.relnamespace
where i.inhparent = to_regclass(%(table)s) and not i.inhdetachpending and c.relispartition
order by c.oid;

-- name: hanging
-- what hangs on a table that is to become a partition, and what is in it that a partition may not have
with t as (
    select c.*, n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass(%(table)s)),
types as (
    select y.oid from pg_type y join t on y.typrelid = t.oid
    union all
    select y.typarray from pg_type y join t on y.typrelid = t.oid)
select 'reads' as kind, pg_describe_object(x.classid, x.objid, 0) as described
from (
    select case when w.oid is null then d.classid else 'pg_class'::regclass::oid end as classid,
        coalesce(w.ev_class, d.objid) as objid, d.refobjid
    from t
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = t.oid
        or d.refclassid = 'pg_type'::regclass and d.refobjid in (select y.oid from types y)
    left join pg_rewrite w on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid
    where d.deptype = 'n' and d.classid in ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_policy'::regclass,
        'pg_class'::regclass, 'pg_attrdef'::regclass, 'pg_constraint'::regclass)) x
join t on true
left join pg_class c on x.classid = 'pg_class'::regclass and c.oid = x.objid
left join pg_policy y on x.classid = 'pg_policy'::regclass and y.oid = x.objid
left join pg_constraint k on x.classid = 'pg_constraint'::regclass and k.oid = x.objid
where c.oid is distinct from t.oid and y.polrelid is distinct from t.oid
    -- told apart below
    and k.oid is null
    -- the four are built again by the conversion
    and not coalesce(c.relkind = 'm' and c.relnamespace = t.relnamespace and c.relname = any (%(views)s), false)
    -- and so are those of the API, by the owner of our schema
    and not coalesce(c.relkind = 'v' and c.relnamespace = to_regnamespace('analytics_api') and c.relowner = (
        select o.nspowner from pg_namespace o where o.nspname = 'analytics_refresh'), false)
union
select 'references', pg_describe_object('pg_constraint'::regclass, k.oid, 0)
from t join pg_constraint k on k.confrelid = t.oid and k.contype = 'f' and k.conparentid = 0
union
select 'rule', pg_describe_object('pg_rewrite'::regclass, w.oid, 0) from t join pg_rewrite w on w.ev_class = t.oid
union
select 'trigger', pg_describe_object('pg_trigger'::regclass, g.oid, 0)
from t join pg_trigger g on g.tgrelid = t.oid
where not g.tgisinternal and g.tgname not like 'analytics\_refresh\_%%'
union
select 'publication', 'publication ' || p.pubname
from t join pg_publication_rel r on r.prrelid = t.oid join pg_publication p on p.oid = r.prpubid
union
select 'publication_of_all', 'publication ' || p.pubname
from t join pg_publication p on not p.pubviaroot and (p.puballtables or exists (
    select from pg_publication_namespace m where m.pnpubid = p.oid and m.pnnspid = t.relnamespace))
union
select 'subscription', 'a subscription' from t join pg_subscription_rel s on s.srrelid = t.oid
union
select 'conflict', pg_describe_object('pg_proc'::regclass, f.oid, 0)
from t join pg_proc f on f.prosrc ~* 'on\s+conflict\s*\(\s*"?id"?\s*\)' and f.prosrc ~* 'action_results'
union
select case when k.connoinherit and k.contype in ('c', 'n') then 'no_inherit' else 'unvalidated' end,
    pg_describe_object('pg_constraint'::regclass, k.oid, 0)
from t join pg_constraint k on k.conrelid = t.oid
where k.contype in ('c', 'f', 'n') and k.conname not like 'analytics\_refresh\_%%'
    and (not k.convalidated or k.connoinherit and k.contype in ('c', 'n'))
union
select 'identity', pg_describe_object('pg_class'::regclass, t.oid, a.attnum)
from t join pg_attribute a on a.attrelid = t.oid and a.attidentity <> ''
union
select 'inheritance', pg_describe_object('pg_class'::regclass, case i.inhparent when t.oid then i.inhrelid else i.inhparent end, 0)
from t join pg_inherits i on t.oid in (i.inhparent, i.inhrelid)
union
select 'typed', pg_describe_object('pg_type'::regclass, t.reloftype, 0) from t where t.reloftype <> 0
union
select 'unlogged', pg_describe_object('pg_class'::regclass, t.oid, 0) from t where t.relpersistence <> 'p'
union
select 'taken', pg_describe_object('pg_class'::regclass, c.oid, 0)
from t join pg_class c on c.relnamespace = t.relnamespace and c.relname = any (%(needed)s)
union
select 'create', 'role ' || pg_get_userbyid(t.relowner)
from t where not has_schema_privilege(t.relowner, t.relnamespace, 'CREATE')
union
select 'key', coalesce(pg_describe_object('pg_constraint'::regclass, k.oid, 0), pg_describe_object('pg_class'::regclass, i.indexrelid, 0))
from t
join pg_index i on i.indrelid = t.oid and (i.indisunique or i.indisexclusion) and i.indisvalid
left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = t.oid and k.contype in ('p', 'u', 'x')
where not {timed}
union
select 'statistics', pg_describe_object('pg_statistic_ext'::regclass, s.oid, 0) from t join pg_statistic_ext s on s.stxrelid = t.oid
order by 1, 2;

-- name: timed
-- whether the unique index i contains executed_at
(i.indisunique and exists (
    select from pg_attribute e
    where e.attrelid = i.indrelid and e.attname = 'executed_at'
        and e.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])))

-- name: reading_views
-- those of the four views that read the table itself, by its number
select distinct v.relname::text
from pg_class v
join pg_namespace n on n.oid = v.relnamespace and n.nspname = %(schema)s
join pg_rewrite w on w.ev_class = v.oid
join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass
    and d.refobjid = to_regclass(%(table)s)
where v.relkind = 'm' and v.relname = any (%(views)s)
order by 1;

-- name: stale_views
-- those of the four views that read a partition, and not the whole
select distinct v.relname::text
from pg_class v
join pg_namespace n on n.oid = v.relnamespace and n.nspname = %(schema)s
join pg_rewrite w on w.ev_class = v.oid
join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass
join pg_inherits i on i.inhrelid = d.refobjid and i.inhparent = to_regclass(%(table)s)
where v.relkind = 'm' and v.relname = any (%(views)s)
order by 1;

-- name: held
-- whether the DEFAULT holds rows of a month
select exists (select from {default} r where r.executed_at >= %(since)s and r.executed_at < %(until)s);

-- name: tables
select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and c.relname = any (%(names)s);

-- name: leftovers
-- CHECKs of a run that ended before it had made its month
select k.conname::text from pg_constraint k
where k.conrelid = to_regclass(%(table)s) and k.contype = 'c' and k.conname ~ '^analytics_refresh_[0-9]+_[0-9]+$'
order by 1;

-- name: indexes
-- The commands that create the indexes of {source} on {target}: `whole` those that a partitioned table may have, which each
-- partition then has, and otherwise the keys without executed_at, which each partition has for itself.
select case when k.oid is not null
    then format('alter table %%s add %%s', %(target)s::text, pg_get_constraintdef(k.oid))
    else format('create %%sindex on %%s using %%s', case when i.indisunique then 'unique ' else '' end, %(target)s::text,
        substr(d.text, strpos(d.text, d.place) + length(d.place))) end
from pg_index i
join pg_class x on x.oid = i.indexrelid
join pg_class c on c.oid = i.indrelid
join pg_namespace n on n.oid = c.relnamespace
left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = i.indrelid and k.contype in ('p', 'u', 'x')
cross join lateral (
    select pg_get_indexdef(i.indexrelid) as text, format(' ON %%I.%%I USING ', n.nspname, c.relname) as place) d
where i.indrelid = to_regclass(%(source)s) and i.indisvalid and x.relname !~ '^analytics_refresh_failures_[0-9]+$'
    and %(whole)s = ({timed} or not i.indisunique and not i.indisexclusion)
order by not i.indisprimary, x.relname;

-- name: foreign_keys
select format('alter table %%s add constraint %%I %%s', %(target)s::text, k.conname, pg_get_constraintdef(k.oid)),
    format('%%I.%%I', n.nspname, c.relname)
from pg_constraint k
join pg_class c on c.oid = k.confrelid
join pg_namespace n on n.oid = c.relnamespace
where k.conrelid = to_regclass(%(source)s) and k.contype = 'f' and k.convalidated
order by k.conname;

-- name: rights
-- the commands that give {target} the rights, the row security and the comment of {source}
with s as (select c.* from pg_class c where c.oid = to_regclass(%(source)s))
select g.command
from (
    select 1 as place, format('revoke all on table %%s from %%s', %(target)s::text,
        case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end) as command
    from s join pg_default_acl d on d.defaclrole = s.relowner and d.defaclobjtype = 'r', aclexplode(d.defaclacl) a
    where a.grantee <> s.relowner
    union
    select 2, format('grant %%s on table %%s to %%s%%s', string_agg(a.privilege_type, ', ' order by a.privilege_type),
        %(target)s::text, case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
        case when a.is_grantable then ' with grant option' else '' end)
    from s, aclexplode(s.relacl) a
    where a.grantee <> s.relowner
    group by a.grantee, a.is_grantable
    union all
    select 3, format('grant %%s (%%s) on table %%s to %%s%%s', a.privilege_type,
        string_agg(quote_ident(t.attname), ', ' order by t.attnum), %(target)s::text,
        case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
        case when a.is_grantable then ' with grant option' else '' end)
    from s join pg_attribute t on t.attrelid = s.oid and t.attnum > 0 and not t.attisdropped, aclexplode(t.attacl) a
    where a.grantee <> s.relowner
    group by a.privilege_type, a.grantee, a.is_grantable
    union all
    select 4, format('create policy %%I on %%s as %%s for %%s to %%s%%s%%s', p.polname, %(target)s::text,
        case when p.polpermissive then 'permissive' else 'restrictive' end,
        case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete'
            else 'all' end,
        (select string_agg(case when r = 0 then 'public' else quote_ident(pg_get_userbyid(r)) end, ', ')
            from unnest(p.polroles) r),
        ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
        ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
    from s join pg_policy p on p.polrelid = s.oid
    union all
    select 5, format('alter table %%s enable row level security', %(target)s::text) from s where s.relrowsecurity
    union all
    select 6, format('alter table %%s force row level security', %(target)s::text) from s where s.relforcerowsecurity
    union all
    select 7, format('comment on table %%s is %%L', %(target)s::text, obj_description(s.oid, 'pg_class'))
    from s where %(commented)s and obj_description(s.oid, 'pg_class') is not null) g
order by g.place, g.command;

-- name: storage
-- the commands that give a partition the storage of {source}
with s as (select c.* from pg_class c where c.oid = to_regclass(%(source)s) and c.relkind = 'r')
select format('alter table %%s set (%%s)', %(target)s::text, array_to_string(s.reloptions, ', '))
from s where s.reloptions is not null
union all
select format('alter table %%s replica identity full', %(target)s::text) from s where s.relreplident = 'f'
union all
select format('alter table %%s set tablespace %%I', %(target)s::text, t.spcname)
from s join pg_tablespace t on t.oid = s.reltablespace;

-- name: captured
-- whether our triggers are on {table}
select count(*) from pg_trigger t where t.tgrelid = to_regclass(%(table)s) and t.tgname like 'analytics\_refresh\_%%';

-- name: failures_indexed
select exists (
    select from pg_index i join pg_class c on c.oid = i.indexrelid
    where i.indrelid = to_regclass(%(table)s) and c.relname ~ '^analytics_refresh_failures_[0-9]+$');

-- name: view_query
-- a view's own query, with the whole in the place of the partition
select replace(rtrim(pg_get_viewdef(v.oid), ';'), %(partition)s::text, %(table)s::text)
from pg_class v join pg_namespace n on n.oid = v.relnamespace and n.nspname = %(schema)s
where v.relname = %(view)s and v.relkind = 'm';

-- name: api_views
-- what the API reads of a table, as it is now: carried out once another table has that name, it reads that one
select distinct format('create or replace view %%I.%%I%%s as %%s', n.nspname, c.relname,
    ' with (' || array_to_string(c.reloptions, ', ') || ')', rtrim(pg_get_viewdef(c.oid), ';'))
from pg_class c
join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'analytics_api'
join pg_namespace o on o.nspname = 'analytics_refresh' and o.nspowner = c.relowner
join pg_rewrite w on w.ev_class = c.oid
join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass
where c.relkind = 'v' and d.refobjid = to_regclass(%(table)s);

-- name: view_columns
select array(select a.attname::text from pg_attribute a where a.attrelid = v.oid and a.attnum > 0 order by a.attnum)
from pg_class v join pg_namespace n on n.oid = v.relnamespace and n.nspname = %(schema)s
where v.relname = %(view)s and v.relkind = 'm';

-- name: last_duration
select l.duration_ms / 1000.0 from analytics_refresh.last_refresh l where l.view_name = %(view)s;

-- name: partition_read
-- the partitions that a view reads
select distinct format('%%I.%%I', n.nspname, c.relname)
from pg_class v
join pg_namespace m on m.oid = v.relnamespace and m.nspname = %(schema)s
join pg_rewrite w on w.ev_class = v.oid
join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass
join pg_inherits i on i.inhrelid = d.refobjid and i.inhparent = to_regclass(%(table)s)
join pg_class c on c.oid = i.inhrelid
join pg_namespace n on n.oid = c.relnamespace
where v.relkind = 'm' and v.relname = %(view)s;

-- name: note_capture
-- a fold holds this row; what was not current before is not made current
select set_config('analytics_refresh.capture_was_current', coalesce((
    select (i.capture = analytics_refresh.capture_now())::text from analytics_refresh.incremental i for update), 'false'), true);

-- name: keep_capture
-- no row came or went: what is captured now is what was built
update analytics_refresh.incremental set capture = analytics_refresh.capture_now()
where current_setting('analytics_refresh.capture_was_current', true) = 'true';

-- name: index_failures
do $index$
begin
    execute format('create index analytics_refresh_failures_%s on %s (executed_at) where status = ''failed''',
        {table}::regclass::oid, {table}::regclass);
end
$index$;

-- name: create_whole
create table {whole} (
    like {table} including defaults including constraints including generated including storage including compression
        including comments)
    partition by range (executed_at);

-- name: create_month
create table {month} (
    like {table} including defaults including constraints including generated including storage including compression
        including comments);

-- name: short_locks
-- everybody behind this one waits as long
set local lock_timeout = {milliseconds};

-- name: lock
lock table {table} in access exclusive mode;

-- name: rename
alter table {table} rename to {name};

-- name: attach_default
alter table {table} attach partition {partition} default;

-- name: attach
alter table {table} attach partition {partition} for values from ({since}) to ({until});

-- name: add_check
-- of that month alone: a row of any other time, or of none, can be inserted at every moment
alter table {table} add constraint {check}
    check (executed_at is null or executed_at < {since} or executed_at >= {until}) not valid;

-- name: add_bounds
-- so that nothing is read under a lock
alter table {table} add constraint {check}
    check (executed_at is not null and executed_at >= {since} and executed_at < {until});

-- name: validate
alter table {table} validate constraint {check};

-- name: drop_check
alter table {table} drop constraint if exists {check};
