-- What a covering index would gain, measured on a copy in a temporary table: the log itself is only read.

-- name: log
-- the log with its partitions: rows by the planner's estimate, and how wide a row is in the table
select coalesce(sum(greatest(c.reltuples, 0)), 0)::int8,
    coalesce(sum(pg_catalog.pg_relation_size(c.oid)) / nullif(sum(greatest(c.reltuples, 0)), 0), 0)::int4,
    array_agg(n.nspname::text order by c.oid), array_agg(c.relname::text order by c.oid)
from (
    select to_regclass(%(table)s)::oid as relation
    union
    select p.relid from pg_catalog.pg_partition_tree(to_regclass(%(table)s)) p) t
join pg_catalog.pg_class c on c.oid = t.relation and c.relkind = 'r'
join pg_catalog.pg_namespace n on n.oid = c.relnamespace;

-- name: indexes
-- those that begin with executed_at, and whether all of the columns are in them
select i.relname::text, %(columns)s::text[] <@ array(
    select a.attname::text from pg_catalog.pg_attribute a
    where a.attrelid = x.indrelid and a.attnum = any (x.indkey::int2[]))
from pg_catalog.pg_index x
join pg_catalog.pg_class i on i.oid = x.indexrelid
join pg_catalog.pg_attribute f on f.attrelid = x.indrelid and f.attnum = x.indkey[0]
where x.indrelid = to_regclass(%(table)s) and f.attname = 'executed_at' and x.indisvalid and x.indpred is null
order by i.relname;

-- name: copy
-- as wide as the original: most of what an index saves is reading past texts that nobody asked for
create temporary table action_rows as
select r.executed_at, r.action_type, r.status, r.duration_ms, r.trigger_id, r.retry_count, null::text as id,
    null::text as job_id, null::text as event_id, repeat('x', {filler}) as filler
from (
    select l.executed_at, l.action_type, l.status, l.duration_ms, l.trigger_id, l.retry_count
    from {table} l where l.executed_at <= statement_timestamp()
    order by l.executed_at desc limit {rows}) r
order by r.executed_at;

-- name: plain_index
create index on pg_temp.action_rows (executed_at);

-- name: covering_index
create index covering on pg_temp.action_rows (executed_at) include (action_type, status, duration_ms, trigger_id, retry_count);

-- name: vacuum
-- an index answers alone only for pages that VACUUM has seen
vacuum (analyze) pg_temp.action_rows;

-- name: window
-- the newest tenth
select count(*), min(a.executed_at) filter (where a.place <= greatest(a.n / 10, 1)), max(a.executed_at) + interval '1 second'
from (
    select r.executed_at, row_number() over (order by r.executed_at desc) as place, count(*) over () as n
    from pg_temp.action_rows r) a;

-- name: explain
explain (analyze, buffers, format json) {query};

-- name: size
select pg_catalog.pg_relation_size('pg_temp.covering'::regclass);

-- name: written
create temporary table written (like pg_temp.action_rows including indexes);

-- name: write
insert into pg_temp.written select * from pg_temp.action_rows;

-- name: empty
truncate pg_temp.written;

-- name: cover_written
create index on pg_temp.written (executed_at) include (action_type, status, duration_ms, trigger_id, retry_count);
