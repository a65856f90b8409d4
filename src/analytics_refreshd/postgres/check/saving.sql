-- What plain refreshes cost here, and how much changes between them.

-- name: mode
select i.mode from analytics_refresh.installation i;

-- name: runs
-- whole runs of a day; a schema before migration 16 has no columns for their cost
select pg_catalog.count(*)::integer, pg_catalog.avg(r.duration_seconds),
    pg_catalog.avg((pg_catalog.to_jsonb(r) ->> 'wal_bytes')::numeric)::bigint,
    pg_catalog.avg((pg_catalog.to_jsonb(r) ->> 'blocks_read')::numeric)::bigint
from analytics_refresh.runs r
where r.started_at > pg_catalog.clock_timestamp() - interval '24 hours' and r.outcome = 'ok';

-- name: log
-- about how many rows the log has, and how many were written for each one inserted; of a partitioned one in its partitions
select (pg_catalog.sum(c.reltuples) filter (where c.reltuples >= 0))::bigint,
    (pg_catalog.sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del)
        / nullif(pg_catalog.sum(s.n_tup_ins), 0))::float8
from pg_catalog.pg_class root
join pg_catalog.pg_namespace n on n.oid = root.relnamespace
join pg_catalog.pg_class c on c.oid = root.oid and root.relkind = 'r' or c.oid in (
    select t.relid from pg_catalog.pg_partition_tree(root.oid) t where t.isleaf)
left join pg_catalog.pg_stat_all_tables s on s.relid = c.oid
where n.nspname = %(schema)s and root.relname = 'action_results';

-- name: hours
-- executions of the last whole day, and how many of them failed
select coalesce(pg_catalog.sum(h.execution_count), 0)::bigint, coalesce(pg_catalog.sum(h.failure_count), 0)::bigint
from {hours} h
where h.hour >= pg_catalog.date_trunc('hour', pg_catalog.now() - interval '24 hours')
    and h.hour < pg_catalog.date_trunc('hour', pg_catalog.now());
