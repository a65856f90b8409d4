-- Whether what is installed is whole, by the catalogue alone: it asks for no right on anything.

-- name: unfinished
-- A switch that stopped half way leaves its tables, and may leave its triggers, beside plain views. Not while somebody holds the
-- lock of a migration.
select exists (
    select from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'analytics_refresh' and c.relname = 'incremental')
    and not exists (
        select from pg_catalog.pg_locks l
        where l.locktype = 'advisory' and l.classid = 2583 and l.objid = 3 and l.objsubid = 2 and l.granted
            and l.database = (
                select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()));

-- name: recorded
-- what migrate noted of the views; old notes are of no use after a restore or under another major version
select case when i.views ->> 'anchor' = ({anchor}) then i.views -> 'views' end as views
from analytics_refresh.installation i;

-- name: records
-- an installation before version 6 notes nothing
select exists (
    select from pg_catalog.pg_attribute a
    join pg_catalog.pg_class c on c.oid = a.attrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'analytics_refresh' and c.relname = 'installation' and a.attname = 'views'
        and a.atttypid = 'pg_catalog.jsonb'::regtype and not a.attisdropped);

-- name: anchor
-- moves when everything is created anew, as by a restore, or written in another way, as by another major version
select pg_catalog.md5(pg_catalog.string_agg(c.relname || ':' || c.oid::text, ',' order by c.relname)
    || pg_catalog.left(pg_catalog.current_setting('server_version_num'), 2))
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'analytics_refresh' and c.relname in ('installation', 'runs', 'view_results', 'alerts')

-- name: views
-- What each view reads, directly or by way of plain views, and by which definition; by oid, so that a table that was renamed and
-- replaced is seen.
with recursive views as (
    select c.oid, c.relname
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = %(schema)s and c.relname = any (%(views)s) and c.relkind = 'm'),
reads (root, relation) as (
    select v.oid, v.oid from views v
    union
    select r.root, d.refobjid
    from reads r
    join pg_catalog.pg_class c on c.oid = r.relation and (c.oid = r.root or c.relkind = 'v')
    join pg_catalog.pg_rewrite w on w.ev_class = c.oid
    join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
        and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> c.oid),
source (relation) as (
    select c.oid
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = %(schema)s and c.relname = 'action_results'
    union
    select d.refobjid
    from source s
    join pg_catalog.pg_class c on c.oid = s.relation and c.relkind = 'v'
    join pg_catalog.pg_rewrite w on w.ev_class = c.oid
    join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
        and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> c.oid)
select v.relname::text as name,
    (select pg_catalog.md5(w.ev_action::text) from pg_catalog.pg_rewrite w where w.ev_class = v.oid limit 1) as fingerprint,
    not exists (select from source)
        or exists (select from reads r join source s on s.relation = r.relation where r.root = v.oid)
        -- a partition that is the only one holds every row: so between the two steps of a change to partitions
        or exists (
            select from reads r
            join pg_catalog.pg_inherits i on i.inhrelid = r.relation
            join source s on s.relation = i.inhparent
            where r.root = v.oid and not exists (
                select from pg_catalog.pg_inherits o where o.inhparent = i.inhparent and o.inhrelid <> i.inhrelid))
        as reads_table,
    exists (
        select from reads r
        join pg_catalog.pg_class c on c.oid = r.relation
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname = 'analytics_refresh'
        where r.root = v.oid)
        -- by way of the function that folds first
        or exists (
            select from pg_catalog.pg_rewrite w
            join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
                and d.refclassid = 'pg_catalog.pg_proc'::regclass
            join pg_catalog.pg_proc p on p.oid = d.refobjid and p.proname = v.relname || '_rows'
            join pg_catalog.pg_namespace n on n.oid = p.pronamespace and n.nspname = 'analytics_refresh'
            where w.ev_class = v.oid) as reads_rollups,
    -- what a function reads is not seen here
    exists (
        select from reads r
        join pg_catalog.pg_rewrite w on w.ev_class = r.relation
        join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
            and d.refclassid = 'pg_catalog.pg_proc'::regclass
        where r.root = v.oid) as calls,
    array(
        select distinct pg_catalog.format('%%s.%%s', n.nspname, c.relname)
        from reads r
        join pg_catalog.pg_class c on c.oid = r.relation
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where r.root = v.oid and c.oid <> v.oid
        order by 1) as reads
from views v
order by pg_catalog.array_position(%(views)s::text[], v.relname::text);

-- name: record
update analytics_refresh.installation set views = jsonb_build_object('anchor', ({anchor}), 'views', (
    select jsonb_object_agg(c.relname, jsonb_build_object(
        'fingerprint', case when c.relname <> all ({lost}::text[]) then md5(w.ev_action::text) end,
        'ours', c.relname <> all ({others}::text[])))
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace and n.nspname = {app_name}
    join pg_rewrite w on w.ev_class = c.oid
    where c.relkind = 'm' and c.relname = any (array[
        'action_metrics_hourly', 'trigger_performance_summary', 'recent_failures', 'action_type_distribution'])));
