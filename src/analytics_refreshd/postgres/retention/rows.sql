-- name: incremental
select to_regclass('analytics_refresh.incremental') is not null;

-- name: frozen
select max(i.frozen_until)::text from analytics_refresh.incremental i where i.built;

-- name: survey
select count(*) filter (where r.executed_at < %(bound)s), count(*) filter (where r.executed_at is null),
    min(r.executed_at) filter (where isfinite(r.executed_at))
from {table} r
where r.executed_at < %(bound)s or r.executed_at is null;

-- name: count_rows
select count(*) from {table};

-- name: abandon_earlier
-- who holds the claim is alone: a run without an end was killed
update analytics_refresh.retention_runs set outcome = 'abandoned', finished_at = clock_timestamp() where outcome is null;

-- name: begin_run
insert into analytics_refresh.retention_runs (run_id, bound, keep_figures) values (%(run_id)s, %(bound)s, %(keep_figures)s);

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
