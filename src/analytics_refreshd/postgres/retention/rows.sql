-- name: incremental
select to_regclass('analytics_refresh.incremental') is not null;

-- name: frozen
select max(i.frozen_until)::text from analytics_refresh.incremental i where i.built;

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

-- name: survey
select count(*) filter (where r.executed_at < %(bound)s), count(*) filter (where r.executed_at is null),
    min(r.executed_at) filter (where isfinite(r.executed_at))
from {table} r
where r.executed_at < %(bound)s or r.executed_at is null;

-- name: count_rows
select count(*) from {table};

-- name: database
select clock_timestamp(), current_database()::text;

-- name: claim
select pg_try_advisory_lock(2583, 4);

-- name: abandon_earlier
-- who holds the claim is alone: a run without an end was killed
update analytics_refresh.retention_runs set outcome = 'abandoned', finished_at = clock_timestamp() where outcome is null;

-- name: begin_run
insert into analytics_refresh.retention_runs (run_id, bound, keep_figures) values (%(run_id)s, %(bound)s, %(keep_figures)s);

-- name: take_key
select pg_try_advisory_xact_lock(2583, 2);

-- name: delete_rows
-- from where the last portion ended: before that lie dead entries of the index
with gone as (
    delete from only {leaf}
    where ctid = any (array(
        select r.ctid from only {leaf} r
        where r.executed_at >= %(since)s::timestamptz and r.executed_at < %(bound)s
        order by r.executed_at
        limit %(rows)s))
    returning executed_at)
select count(*), max(gone.executed_at)::text from gone;

-- name: after_next_rows
-- where the rows begin that come after the next few, and after those of the same time
select min(r.executed_at)::text
from only {leaf} r,
    (select max(f.executed_at) as executed_at from (
        select l.executed_at from only {leaf} l
        where l.executed_at >= %(since)s::timestamptz and l.executed_at < %(bound)s
        order by l.executed_at
        limit %(rows)s) f) n
where r.executed_at > n.executed_at and r.executed_at < %(bound)s;

-- name: note_rows
update analytics_refresh.retention_runs
set rows_deleted = rows_deleted + %(rows)s, portions = portions + 1
where run_id = %(run_id)s;

-- name: finish_run
update analytics_refresh.retention_runs
set finished_at = clock_timestamp(), outcome = %(outcome)s, reason = %(reason)s, rows_left = %(rows_left)s
where run_id = %(run_id)s and outcome is null;

-- name: deleted
select rows_deleted, portions from analytics_refresh.retention_runs where run_id = %(run_id)s;

-- name: rows_left
select count(*) from {table} r where r.executed_at < %(bound)s;

-- name: standbys
-- what this role may not see has no state; a standby that has everything says no lag
select max(case when r.state is not null then date_part('epoch', r.replay_lag) end),
    max(case when r.state is not null and not pg_is_in_recovery()
        then pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn) end)::int8,
    count(*) filter (where r.state is null)
from pg_stat_replication r;
