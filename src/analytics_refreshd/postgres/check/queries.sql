-- The slowest statements that concern the log, its views and our own tables, by pg_stat_statements.

-- name: extension
-- its own view only: another of this name would run another's code
select n.nspname::text as schema, pg_catalog.has_table_privilege(c.oid, 'select')
        and pg_catalog.has_schema_privilege(n.oid, 'usage') as readable,
    pg_catalog.pg_has_role('pg_read_all_stats', 'usage') as sees_all
from pg_catalog.pg_extension e
join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass and d.refobjid = e.oid
    and d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.deptype = 'e'
join pg_catalog.pg_class c on c.oid = d.objid and c.relname = 'pg_stat_statements' and c.relkind = 'v'
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where e.extname = 'pg_stat_statements';

-- name: since
select i.stats_reset from {info} i;

-- name: slowest
select pg_catalog.left(s.query, 4000) as query, s.calls, s.mean_exec_time as mean_ms, s.max_exec_time as max_ms,
    s.total_exec_time as total_ms, s.rows, s.shared_blks_hit as blocks_hit, s.shared_blks_read as blocks_read,
    s.temp_blks_written * pg_catalog.current_setting('block_size')::bigint as temporary_bytes,
    s.wal_bytes::bigint as wal_bytes
from {statements} s
where s.dbid = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
    and exists (select from pg_catalog.unnest(%(names)s::text[]) as named (name)
        where pg_catalog.strpos(pg_catalog.lower(s.query), named.name) > 0)
order by s.mean_exec_time desc, s.queryid
limit %(limit)s;
