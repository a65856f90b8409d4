-- Whole partitions of the action log: taken, kept for a while, dropped.

-- name: old
-- direct partitions by time that are older than a bound, as a whole
select n.nspname::text, c.relname::text, case when isfinite(b.since) then b.since end, b.until,
    greatest(c.reltuples, 0)::int8
from pg_inherits i
join pg_partitioned_table p on p.partrelid = i.inhparent and p.partstrat = 'r' and p.partnatts = 1
join pg_attribute a on a.attrelid = i.inhparent and a.attnum = p.partattrs[0] and a.attname = 'executed_at'
    and a.atttypid = 'timestamptz'::regtype
join pg_class c on c.oid = i.inhrelid and c.relkind = 'r'
join pg_namespace n on n.oid = c.relnamespace
cross join lateral (
    -- another table's bounds may be no times
    select case when a.atttypid = 'timestamptz'::regtype and p.partstrat = 'r'
            then substring(pg_get_expr(c.relpartbound, c.oid) from 'FROM \(''([^'']+)''\)')::timestamptz end as since,
        case when a.atttypid = 'timestamptz'::regtype and p.partstrat = 'r'
            then substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \(''([^'']+)''\)')::timestamptz end as until) b
where i.inhparent = to_regclass(%(table)s) and not i.inhdetachpending and b.until <= %(bound)s
order by b.until;

-- name: owner
select clock_timestamp(), pg_get_userbyid(c.relowner)::text, pg_has_role(c.relowner,
    case when current_setting('server_version_num')::integer >= 160000 then 'SET' else 'MEMBER' end)
from pg_class c where c.oid = to_regclass(%(table)s);

-- name: recorded
-- before its migration there is no such table, and a role that was made before that may not read it
select coalesce(has_table_privilege(to_regclass('analytics_refresh.retention_months'), 'SELECT'), false);

-- name: records
select r.schema_name, r.table_name, r.since, r.until, r.rows_estimated, r.relation::int8, r.state, r.changed_at,
    exists (
        select from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.oid = r.relation and c.relname = r.table_name and n.nspname = r.schema_name
            and (r.state <> 'detached' or not c.relispartition))
from analytics_refresh.retention_months r
where r.state <> 'dropped'
order by r.until;

-- name: rows_of
select count(*) from only {partition} r where r.executed_at < %(bound)s;

-- name: become
set local role {owner};

-- name: lock
lock table only {table} in access exclusive mode;

-- name: incremental
select to_regclass('analytics_refresh.deltas') is not null;

-- name: pending
-- what waits to be folded of this partition would be counted after its rows are gone
select exists (
    select from analytics_refresh.deltas d
    where d.executed_at >= coalesce(%(since)s, '-infinity'::timestamptz) and d.executed_at < %(until)s);

-- name: attached
select c.oid::int8 from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = to_regclass(%(table)s) and i.inhrelid = to_regclass(%(partition)s);

-- name: detach
alter table {table} detach partition {partition};

-- name: note_detached
-- the number of a table that is gone may be given again
insert into analytics_refresh.retention_months as r (
    relation, schema_name, table_name, since, until, rows_estimated, run_id)
values (%(relation)s, %(schema)s, %(name)s, %(since)s, %(until)s, %(rows)s, %(run_id)s)
on conflict (relation) do update set schema_name = excluded.schema_name, table_name = excluded.table_name,
    since = excluded.since, until = excluded.until, rows_estimated = excluded.rows_estimated, run_id = excluded.run_id,
    detached_at = excluded.detached_at, state = 'detached', changed_at = excluded.changed_at, actor = excluded.actor;

-- name: drop
drop table {partition};

-- name: note_state
update analytics_refresh.retention_months set state = %(state)s, changed_at = clock_timestamp()
where relation = %(relation)s;

-- name: note_returned
update analytics_refresh.retention_months set state = 'returned', changed_at = clock_timestamp()
where relation = {relation};

-- name: triggers
select count(*) from pg_trigger t where t.tgrelid = to_regclass(%(partition)s) and t.tgname like 'analytics\_refresh\_%%';
