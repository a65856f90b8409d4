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
-- before its migrations there is no such table, or it is another, and a role that was made before that may not read it
select exists (
    select from pg_attribute a
    where a.attrelid = to_regclass('analytics_refresh.retention_months') and a.attname = 'month_id'
        and has_table_privilege(a.attrelid, 'SELECT'));

-- name: records
-- a restored table has another number; it is the one whose comment names the run. Nothing is dropped by its name alone
select r.schema_name, r.table_name, r.since, r.until, r.rows_estimated, r.month_id, r.state, r.changed_at,
    exists (
        select from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relname = r.table_name and n.nspname = r.schema_name and case when r.state = 'returned' then c.relispartition
            else c.relkind = 'r' and not c.relispartition and (c.oid = r.relation
                or position(r.run_id::text in coalesce(obj_description(c.oid, 'pg_class'), '')) > 0) end)
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
select c.oid::int8, obj_description(c.oid, 'pg_class') from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = to_regclass(%(table)s) and i.inhrelid = to_regclass(%(partition)s);

-- name: detach
alter table {table} detach partition {partition};

-- name: comment
comment on table {partition} is {comment};

-- name: comment_of
select obj_description(to_regclass(%(partition)s), 'pg_class');

-- name: note_detached
-- one that was put back has its row already
with again as (
    update analytics_refresh.retention_months r
    set relation = %(relation)s, since = %(since)s::timestamptz, until = %(until)s, rows_estimated = %(rows)s, run_id = %(run_id)s,
        detached_at = clock_timestamp(), state = 'detached', changed_at = clock_timestamp(), actor = session_user
    where r.schema_name = %(schema)s and r.table_name = %(name)s and r.state = 'returned'
    returning r.month_id)
insert into analytics_refresh.retention_months (relation, schema_name, table_name, since, until, rows_estimated, run_id)
select %(relation)s, %(schema)s, %(name)s, %(since)s::timestamptz, %(until)s, %(rows)s, %(run_id)s
where not exists (select from again);

-- name: drop
drop table {partition};

-- name: note_state
update analytics_refresh.retention_months set state = %(state)s, changed_at = clock_timestamp()
where month_id = %(month_id)s;

-- name: note_returned
update analytics_refresh.retention_months set state = 'returned', changed_at = clock_timestamp()
where month_id = {month_id};

-- name: triggers
select count(*) from pg_trigger t where t.tgrelid = to_regclass(%(partition)s) and t.tgname like 'analytics\_refresh\_%%';
