-- What every command that changes the action log in portions asks.

-- name: leaves
-- where rows lie, with the planner's estimate; -1 where the table was never analyzed
with recursive tree as (
    select to_regclass(%(table)s)::oid as relation
    union all
    select i.inhrelid from tree join pg_inherits i on i.inhparent = tree.relation)
select n.nspname::text, c.relname::text, c.relkind = 'f', c.reltuples::float8, row_security_active(c.oid),
    exists (
        select from pg_index x
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'executed_at'
        where x.indrelid = c.oid and x.indisvalid and x.indpred is null and x.indkey[0] = a.attnum)
from tree
join pg_class c on c.oid = tree.relation
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'f')
order by 1, 2;

-- name: database
select clock_timestamp(), current_database()::text;

-- name: claim
select pg_try_advisory_lock(2583, %(claim)s);

-- name: take_key
select pg_try_advisory_xact_lock(2583, 2);

-- name: standbys
-- what this role may not see has no state; a standby that has everything says no lag
select max(case when r.state is not null then date_part('epoch', r.replay_lag) end),
    max(case when r.state is not null and not pg_is_in_recovery()
        then pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn) end)::int8,
    count(*) filter (where r.state is null)
from pg_stat_replication r;
